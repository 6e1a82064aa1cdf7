"""`appliance lab …`: training, export and the judge. Registered as a plug-in, so that the runtime never imports it."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from appliance.lab.datasets.commands import app as data

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Train, export and judge models (needs `make lab`).")

app.add_typer(data, name="data")


@app.command()
def train(
    folder: Annotated[Path, typer.Argument(help="Where checkpoints go; an interrupted run goes on from there.")],
    experiment: Annotated[str, typer.Option(help="tiny, small, base, or a TOML file.")] = "tiny",
    steps: Annotated[int | None, typer.Option(help="Steps in all; empty: the experiment's.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of weights and scenes; empty: the experiment's.")] = None,
    start: Annotated[Path | None, typer.Option("--from", help="Checkpoint that a new folder begins from.")] = None,
    workers: Annotated[int, typer.Option(help="Processes that draw scenes.")] = 1,
    threads: Annotated[int, typer.Option(help="Threads of the network.")] = 1,
    fuse: Annotated[
        bool, typer.Option("--fuse", help="Compile the network first: minutes, then a fifth faster.")
    ] = False,
    device: Annotated[str, typer.Option(help="Where the network learns: cpu or cuda.")] = "cpu",
) -> None:
    """Train DeepASA-Edge on scenes drawn on the fly."""
    from appliance.lab.experiment import load_experiment
    from appliance.lab.train import train as run_training

    run_training(
        load_experiment(experiment, {"steps": steps, "seed": seed}),
        folder,
        start=start,
        workers=workers,
        threads=threads,
        fuse=fuse,
        device=device,
        log=lambda line: print(line, flush=True),
    )


@app.command()
def export(
    checkpoint: Annotated[Path, typer.Argument(help="A last.pt of `appliance lab train`.")],
    name: Annotated[str, typer.Option(help="Name of the model; -fp32 and -int8 are added.")] = "deepasa-edge-tiny",
) -> None:
    """Write the FP32 and INT8 ONNX files with their meta into firmware_configs/models."""
    from appliance.lab.ship import export_checkpoint

    for path in export_checkpoint(checkpoint, name):
        print(path)


@app.command()
def tune(
    model: Annotated[str, typer.Argument(help="Name or path of an exported model.")],
    minutes: Annotated[int, typer.Option(min=1, help="Length of each of the two parts without drones.")] = 30,
    workers: Annotated[int, typer.Option(min=1, help="Processes that render and hear scenes.")] = 2,
) -> None:
    """Find thresholds, calibration of confidence and of sigma on scenes of fold 4; write them into the model's meta file."""
    from appliance.lab.tune import tune as tune_model
    from appliance.model.meta import find_model

    print("class            threshold  recall  false alarms/h")
    tuned = tune_model(find_model(model), minutes=minutes, workers=workers)
    for label, (threshold, recall, per_hour) in tuned.classes.items():
        print(f"{label:16s} {threshold:9.2f} {recall:7.2f} {per_hour:15.1f}")
    if tuned.calibrated:
        before, after = tuned.ece
        print(f"confidence: expected calibration error {before:.3f}, calibrated {after:.3f} (held out by halves)")
    else:
        print("confidence: too few tracks to calibrate it; it stays the score")
    print(
        f"sigma: {tuned.within_sigma:.2f} of errors were within it; multiplied by {tuned.sigma_factor:.2f} it is 0.68"
    )


@app.command()
def evaluate(
    models: Annotated[
        list[str] | None, typer.Argument(help="Names or paths; empty: the shipped INT8 and FP32.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for report.json and report.html.")] = Path("runs/report"),
    quick: Annotated[bool, typer.Option("--quick", help="A part of the suite: within 5 minutes on 2 cores.")] = False,
    workers: Annotated[int, typer.Option(min=1, help="Processes that render and hear scenes.")] = 2,
) -> None:
    """Judge models and baselines on the perimeter benchmark (fold 5); the scores go into the models' meta files too."""
    from rich.console import Console

    from appliance.lab.evaluate import FULL, QUICK
    from appliance.lab.evaluate import evaluate as judge_models
    from appliance.lab.report import keep_scores, summary_table, write_report
    from appliance.model.meta import find_model

    paths = [find_model(model) for model in models or ["deepasa-edge-tiny-int8", "deepasa-edge-tiny-fp32"]]
    report = judge_models(paths, QUICK if quick else FULL, workers=workers, log=lambda line: print(line, flush=True))
    files = write_report(report, out)
    keep_scores(paths, report)
    Console().print(summary_table(report))
    for file in files:
        print(file)


@app.command()
def render(
    recipes: Annotated[list[Path] | None, typer.Argument(help="Recipe files, or folders of them.")] = None,
    count: Annotated[int, typer.Option(min=0, help="Instead of recipes: so many random scenes.")] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Of the random scenes.")] = 0,
    seconds: Annotated[float, typer.Option(min=0.1, help="Length of each random scene.")] = 10.0,
    folds: Annotated[str, typer.Option(help="Folds that random scenes are drawn from, e.g. 1,2,3.")] = "1,2,3",
    out: Annotated[
        Path, typer.Option(help="Folder for audio, metadata and recipes; an interrupted run goes on.")
    ] = Path("runs/scenes"),
    stems: Annotated[bool, typer.Option("--stems", help="Keep each source's part too, as NAME.stems.npz.")] = False,
    workers: Annotated[int, typer.Option(min=1, help="Processes that render.")] = 2,
) -> None:
    """Render scenes: audio of the microphones, DCASE metadata and the recipe of each."""
    from appliance.errors import ConfigError
    from appliance.lab.render_many import drawn_recipes, read_recipes, render_all

    if bool(recipes) == bool(count):
        raise ConfigError("render: give either recipe files or --count")
    numbers = tuple(int(fold) for fold in folds.split(","))
    scenes = read_recipes(recipes) if recipes else drawn_recipes(count, seed, folds=numbers, seconds=seconds)
    done = render_all(list(scenes), out, workers=workers, stems=stems, log=lambda line: print(line, flush=True))
    if done.scenes:
        print(
            f"{done.scenes / done.wall_s:.2f} scenes/s, {done.audio_s / done.wall_s:.0f} × real time; "
            f"an hour of scenes costs {done.cpu_s / done.audio_s * 60.0:.1f} minutes of one core"
        )
    print(f"{done.scenes} scenes rendered, {done.kept} kept, in {out}")


@app.command()
def separation(
    model: Annotated[str, typer.Argument(help="Name or path of an exported model.")] = "deepasa-edge-tiny-int8",
    per_snr: Annotated[int, typer.Option(min=2, help="Scenes at each of 0, -5 and -10 dB.")] = 24,
    workers: Annotated[int, typer.Option(min=1, help="Processes that render and hear scenes.")] = 2,
) -> None:
    """SI-SDR improvement of faint objects by mask, FOA beam and MVDR: with ideal masks, and as the model tracks them."""
    from rich.console import Console
    from rich.table import Table

    from appliance.lab.separation import SNRS_DB, recover, separation_suite, summary_rows
    from appliance.model.meta import find_model

    recovered = recover(find_model(model), list(separation_suite(per_snr=per_snr)), workers=workers)
    table = Table("masks", "method", *(f"{snr_db:g} dB" for snr_db in SNRS_DB), title=f"SI-SDRi in dB, {model}")
    for row in summary_rows(recovered):
        table.add_row(*row)
    Console().print(table)


@app.command()
def novelty(
    model: Annotated[str | None, typer.Argument(help="Name or path of a model that gives `outputs`.")] = None,
    outputs: Annotated[
        list[str] | None, typer.Option("--output", help="Output of the model to use as a vector; repeat it for more.")
    ] = None,
    learn: Annotated[int, typer.Option(min=20, help="Scenes of 10 s that the site is learned from.")] = 120,
    each_label: Annotated[int, typer.Option(min=1, help="Anomalous scenes of each strange sound.")] = 6,
    hours: Annotated[
        float | None,
        typer.Option(
            min=0.1,
            help="Instead: so long of the site's own sounds through the whole pipeline, after as long of learning; "
            "false anomalies per day.",
        ),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes that render and hear scenes.")] = 2,
) -> None:
    """Judge a site's memory: AUC and pAUC (DCASE Task 2) by band levels and by outputs of a model; or false alarms per day."""
    from appliance.config import SiteSettings
    from appliance.lab.novelty import judge_novelty, site_suite
    from appliance.lab.novelty_hours import judge_hours, site_hours
    from appliance.model.meta import find_model

    if hours is not None:
        minutes = round(60.0 * hours)
        scenes = site_hours(learn_minutes=minutes, test_minutes=minutes, each_label=each_label)
        settings = SiteSettings().novelty.model_copy(update={"learning_hours": 0.5 * hours})
        network = find_model(model or SiteSettings().model.file)
        told = judge_hours(scenes, network, settings, workers=workers)
        if not told.learned:
            print(
                "the site was not learned in that time: events of known classes were open for most of it; give more hours"
            )
        print(
            f"{told.false_alarms} false anomalies in {told.test_hours:.2f} h, {told.false_alarms_per_day:.1f} per day"
        )
        print(
            f"of {told.strange_scenes} scenes with a sound that the site never made: {told.anomalies} anomalies, "
            f"{told.named} with an event of a known class"
        )
        for label, (anomalies, named) in sorted(told.by_label.items()):
            print(f"  {label:16s} {anomalies} anomalies, {named} named")
        return

    makers = ["levels", *(outputs or [])]
    path = find_model(model) if model else None
    recipes = list(site_suite(learn=learn, each_label=each_label))
    for maker, found in judge_novelty(recipes, makers, path, workers=workers).items():
        print(f"{maker}: AUC {found.auc:.2f}, pAUC {found.partial_auc:.2f}; beyond the distance of one window in 1000:")
        print(f"  {found.found:.2f} of anomalous scenes, {found.false:.2f} of normal ones; AUC by sound:")
        print("  " + ", ".join(f"{label} {score:.2f}" for label, score in sorted(found.by_label.items())))


@app.command()
def demo() -> None:
    """Render the demonstration recording, its truth and its attribution again."""
    from appliance.lab.demo_scene import write_demo

    write_demo()


@app.command()
def train_accdoa(
    folder: Annotated[Path, typer.Argument(help="Where checkpoints go; an interrupted run goes on from there.")],
    experiment: Annotated[str, typer.Option(help="Whose scenes, steps and rates: tiny, or a TOML file.")] = "tiny",
    steps: Annotated[int | None, typer.Option(help="Steps in all; empty: the experiment's.")] = None,
    workers: Annotated[int, typer.Option(help="Processes that draw scenes.")] = 1,
    threads: Annotated[int, typer.Option(help="Threads of the network.")] = 1,
    device: Annotated[str, typer.Option(help="Where the network learns: cpu or cuda.")] = "cpu",
) -> None:
    """Train the baseline that other work uses, a multi-ACCDOA CRNN of the size of `tiny`, on the same scenes."""
    from appliance.lab.accdoa_train import AccdoaTraining
    from appliance.lab.accdoa_train import train_accdoa as run_training
    from appliance.lab.experiment import load_experiment

    settings = AccdoaTraining(training=load_experiment(experiment, {"steps": steps}))
    log = partial(print, flush=True)
    print(run_training(settings, folder, workers=workers, threads=threads, device=device, log=log))
