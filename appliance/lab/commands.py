"""`appliance lab …`: training, export and the judge. Registered as a plug-in, so that the runtime never imports it."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from appliance.errors import ConfigError
from appliance.lab.data_commands import app as data

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Train, export and judge models (needs `make lab`).")

app.add_typer(data, name="data")

_say = partial(print, flush=True)
"""Progress is read while it is made, by a log file too."""
_SHIPPED = ("deepasa-edge-small-int8", "deepasa-edge-small-fp32")


def _folds(text: str) -> tuple[int, ...]:
    """`4,5` → (4, 5)."""
    numbers = text.split(",")
    if not set(numbers) <= {"1", "2", "3", "4", "5"}:
        raise ConfigError(f"--folds {text}: give numbers from 1 to 5, as in 4,5")
    return tuple(int(number) for number in numbers)


@app.command()
def train(
    folder: Annotated[Path, typer.Argument(help="Where checkpoints go; an interrupted run goes on from there.")],
    experiment: Annotated[
        str, typer.Option(help="small, small-judged, small-final, small-long, tiny, base, or a TOML file.")
    ] = "small",
    steps: Annotated[int | None, typer.Option(help="Steps in all; empty: the experiment's.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Minutes in all, instead of steps.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of weights and scenes; empty: the experiment's.")] = None,
    start: Annotated[Path | None, typer.Option("--from", help="Checkpoint that a new folder begins from.")] = None,
    workers: Annotated[
        int, typer.Option(help="Processes that draw scenes; on a GPU, that synthesise sounds before.")
    ] = 1,
    threads: Annotated[int, typer.Option(help="Threads of the network.")] = 1,
    device: Annotated[str, typer.Option(help="Where the network learns: cpu or cuda.")] = "cpu",
    shards: Annotated[Path | None, typer.Option(help="Folder of `lab shards`, instead of drawing scenes.")] = None,
) -> None:
    """Train DeepASA-Edge on scenes drawn on the fly, or made beforehand."""
    if Path(experiment).stem == "full":
        raise ConfigError(f"--experiment {experiment}: the full DeepASA; train it with `appliance lab train-full`")
    from appliance.lab.edge.experiment import load_experiment
    from appliance.lab.edge.train import train as run_training

    run_training(
        load_experiment(experiment, {"steps": steps, "minutes": minutes, "seed": seed}),
        folder,
        start=start,
        workers=workers,
        threads=threads,
        device=device,
        shards=shards,
        log=_say,
    )


@app.command()
def shards(
    folder: Annotated[Path, typer.Argument(help="Where the batches go; those that are there are kept.")],
    experiment: Annotated[str, typer.Option(help="Whose scenes: small, tiny … or a TOML file.")] = "small",
    batches: Annotated[int, typer.Option(min=1, help="How many in all.")] = 100,
    workers: Annotated[int, typer.Option(min=1, help="Processes that make them.")] = 2,
) -> None:
    """Make training scenes beforehand, a file per batch; an interrupted call goes on."""
    from appliance.lab.edge.experiment import load_experiment
    from appliance.lab.edge.shards import write_shards

    made = write_shards(load_experiment(experiment), folder, batches, workers=workers, log=_say)
    print(f"{made} batches made, {batches - made} kept, in {folder}")


@app.command()
def export(
    checkpoint: Annotated[Path, typer.Argument(help="A last.pt of `appliance lab train`.")],
    name: Annotated[str, typer.Option(help="Name of the model; -fp32 and -int8 are added.")] = "deepasa-edge-small",
    out: Annotated[Path | None, typer.Option(help="Folder; empty: firmware_configs/models.")] = None,
    coi_rounds: Annotated[int | None, typer.Option(help="Rounds of the chain of inference; empty: all.")] = None,
    masks: Annotated[bool, typer.Option(help="With the masks, which `replay --stems` needs.")] = True,
) -> None:
    """Write the FP32 and INT8 ONNX files with their meta."""
    from appliance.lab.edge.export import OUTPUTS
    from appliance.lab.edge.ship import export_checkpoint
    from appliance.model.meta import MODELS_DIR

    outputs = [output for output in OUTPUTS if masks or "mask" not in output]
    for path in export_checkpoint(checkpoint, name, out or MODELS_DIR, coi_rounds=coi_rounds, outputs=outputs):
        print(path)


@app.command()
def tune(
    model: Annotated[str, typer.Argument(help="Name or path of an exported model.")],
    also: Annotated[
        list[str] | None,
        typer.Option(
            help="Models that get the same: trained on fold 4 too, on which they would judge themselves too well."
        ),
    ] = None,
    minutes: Annotated[int, typer.Option(min=1, help="Length of each of the two parts without drones.")] = 30,
    workers: Annotated[int, typer.Option(min=1, help="Processes that render and hear scenes.")] = 2,
) -> None:
    """Find thresholds, calibration of confidence and of sigma on scenes of fold 4; write them into the model's meta file."""
    from appliance.lab.judge.tune import RATES_PER_HOUR
    from appliance.lab.judge.tune import tune as tune_model
    from appliance.model.meta import find_model

    path, *others = [find_model(name) for name in (model, *(also or ()))]
    tuned = tune_model(path, also=others, minutes=minutes, workers=workers, log=_say)
    print("class            threshold  recall  false alarms/h")
    for label, (threshold, recall, per_hour) in tuned.classes.items():
        print(f"{label:16s} {threshold:9.2f} {recall:7.2f} {per_hour:15.1f}")
    rates = ", ".join(f"{rate:g}" for rate in RATES_PER_HOUR)
    print(f"mean recall over classes and {rates} false alarms/h of each: {tuned.mean_recall:.3f}")
    if tuned.calibrated:
        before, after = tuned.ece
        print(f"confidence: expected calibration error {before:.3f}, calibrated {after:.3f} (held out by halves)")
    else:
        print("confidence: too few tracks to calibrate it; it stays the score")
    print(
        f"sigma: {tuned.within_sigma:.2f} of errors were within it; multiplied by {tuned.sigma_factor:.2f} it is 0.68"
    )
    if tuned.heights:
        off_deg, near = tuned.heights
        print(f"heights of planar arrays: {off_deg:.1f}° off by median, {near:.2f} within 10°")


@app.command()
def evaluate(
    models: Annotated[
        list[str] | None, typer.Argument(help="Names or paths; empty: the shipped INT8 and FP32.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for report.json and report.html.")] = Path("runs/report"),
    quick: Annotated[bool, typer.Option("--quick", help="A part of the suite: within 5 minutes on 2 cores.")] = False,
    share: Annotated[float, typer.Option(min=0.01, max=1.0, help="This much of the whole suite instead of all.")] = 1.0,
    workers: Annotated[int, typer.Option(min=1, help="Processes that render and hear scenes.")] = 2,
) -> None:
    """Judge models and baselines on the perimeter benchmark (fold 5); the scores go into the models' meta files too."""
    from rich.console import Console

    from appliance.lab.judge.evaluate import FULL, QUICK
    from appliance.lab.judge.evaluate import evaluate as judge_models
    from appliance.lab.judge.report import keep_scores, summary_table, write_report
    from appliance.model.meta import find_model

    paths = [find_model(model) for model in models or _SHIPPED]
    whole = FULL if share == 1.0 else FULL.scaled(share)
    report = judge_models(paths, QUICK if quick else whole, workers=workers, log=_say)
    files = write_report(report, out)
    keep_scores(paths, report)
    Console().print(summary_table(report))
    for file in files:
        print(file)


@app.command()
def sources(
    models: Annotated[
        list[str] | None, typer.Argument(help="Names or paths; empty: the shipped INT8 and FP32.")
    ] = None,
    folds: Annotated[str, typer.Option(help="Folds whose recordings are used, e.g. 4,5.")] = "5",
    source: Annotated[
        list[str] | None, typer.Option(help="Only these, by the beginning of repo:subclass; repeat it for more.")
    ] = None,
    per_source: Annotated[int, typer.Option(min=1, help="Scenes of each subclass at each of 0 and -5 dB.")] = 12,
    minutes: Annotated[int, typer.Option(min=1, help="Length of the audio without drones.")] = 60,
    out: Annotated[Path, typer.Option(help="File for the figures as JSON.")] = Path("runs/sources.json"),
    workers: Annotated[int, typer.Option(min=1, help="Processes that render and hear scenes.")] = 2,
) -> None:
    """Drone Pd by where the recordings come from: at the model's threshold, and at one false alarm per hour."""
    from rich.console import Console

    from appliance.lab.judge.source_report import judge_sources, source_table, write_sources
    from appliance.lab.judge.source_suite import source_suite
    from appliance.model.meta import find_model

    paths = [find_model(model) for model in models or _SHIPPED]
    numbers = _folds(folds)
    recipes = list(source_suite(folds=numbers, sources=source or (), per_source=per_source, minutes=minutes))
    report = judge_sources(paths, recipes, numbers, workers=workers, log=_say)
    write_sources(report, out)
    for name in report["systems"]:
        Console().print(source_table(report, name))
    print(out)


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
    from appliance.lab.world.render_many import drawn_recipes, read_recipes, render_all

    if bool(recipes) == bool(count):
        raise ConfigError("render: give either recipe files or --count")
    scenes = read_recipes(recipes) if recipes else drawn_recipes(count, seed, folds=_folds(folds), seconds=seconds)
    done = render_all(list(scenes), out, workers=workers, stems=stems, log=_say)
    if done.scenes:
        print(
            f"{done.scenes / done.wall_s:.2f} scenes/s, {done.audio_s / done.wall_s:.0f} × real time; "
            f"an hour of scenes costs {done.cpu_s / done.audio_s * 60.0:.1f} minutes of one core"
        )
    print(f"{done.scenes} scenes rendered, {done.kept} kept, in {out}")


@app.command()
def separation(
    model: Annotated[str, typer.Argument(help="Name or path of an exported model.")] = "deepasa-edge-small-int8",
    per_snr: Annotated[int, typer.Option(min=2, help="Scenes at each of 0, -5 and -10 dB.")] = 24,
    workers: Annotated[int, typer.Option(min=1, help="Processes that render and hear scenes.")] = 2,
) -> None:
    """SI-SDR improvement of faint objects by mask, FOA beam and MVDR: with ideal masks, and as the model tracks them."""
    from rich.console import Console
    from rich.table import Table

    from appliance.lab.judge.separation import SNRS_DB, recover, separation_suite, summary_rows
    from appliance.model.meta import find_model

    recovered = recover(find_model(model), list(separation_suite(per_snr=per_snr)), workers=workers)
    columns = (f"{what}, {snr_db:g} dB" for what in ("direct", "image") for snr_db in SNRS_DB)
    table = Table("masks", "method", *columns, title=f"SI-SDRi in dB of direct sound and of image, {model}")
    for row in summary_rows(recovered):
        table.add_row(*row)
    Console().print(table)


@app.command()
def novelty(
    model: Annotated[str | None, typer.Argument(help="Name or path; empty: the shipped one.")] = None,
    outputs: Annotated[
        list[str] | None,
        typer.Option("--output", help="Output of the model to use as a vector too; repeat it for more."),
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
    false_per_day: Annotated[float, typer.Option(min=0.01, help="With --hours: as [novelty] false_per_day.")] = 1.0,
    workers: Annotated[int, typer.Option(min=1, help="Processes that render and hear scenes.")] = 2,
) -> None:
    """Judge a site's memory: AUC and pAUC (DCASE Task 2) by tracks, as a unit has it, and by band levels; or false alarms per day."""
    from appliance.config import SiteSettings
    from appliance.lab.judge.novelty import judge_novelty, site_suite
    from appliance.lab.judge.novelty_hours import judge_hours, site_hours
    from appliance.model.meta import find_model

    network = find_model(model or SiteSettings().model.file)
    if hours is not None:
        minutes = round(60.0 * hours)
        scenes = site_hours(learn_minutes=minutes, test_minutes=minutes, each_label=each_label)
        settings = SiteSettings().novelty.model_copy(
            update={"learning_hours": 0.5 * hours, "false_per_day": false_per_day}
        )
        told = judge_hours(scenes, network, settings, workers=workers)
        if not told.learned:
            print("the site was not learned in that time: too few sounds; give more hours")
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

    makers = ["tracks", "levels", *(outputs or [])]
    recipes = list(site_suite(learn=learn, each_label=each_label))
    for maker, found in judge_novelty(recipes, makers, network, workers=workers).items():
        print(f"{maker}: AUC {found.auc:.2f}, pAUC {found.partial_auc:.2f}; AUC by sound:")
        print("  " + ", ".join(f"{label} {score:.2f}" for label, score in sorted(found.by_label.items())))


@app.command()
def demo() -> None:
    """Render the demonstration recording, its truth and its attribution again."""
    from appliance.lab.world.demo_scene import write_demo

    write_demo()


@app.command()
def train_full(
    folder: Annotated[Path, typer.Argument(help="Where checkpoints go; an interrupted run goes on from there.")],
    experiment: Annotated[Path | None, typer.Option(help="A TOML file; empty: full.toml of the experiments.")] = None,
    steps: Annotated[int | None, typer.Option(help="Steps in all; empty: the experiment's.")] = None,
    workers: Annotated[int, typer.Option(help="Processes that render scenes.")] = 1,
    device: Annotated[str, typer.Option(help="Where the network learns: cuda, or cpu for a try.")] = "cuda",
) -> None:
    """Train the full DeepASA, which hears whole clips: for a GPU, and a teacher of the network that ships."""
    from appliance.lab.full.train import FULL_EXPERIMENT, load_full_experiment
    from appliance.lab.full.train import train_full as run_training

    settings = load_full_experiment(experiment or FULL_EXPERIMENT, steps=steps)
    print(run_training(settings, folder, workers=workers, device=device, log=_say))


@app.command()
def train_tagger(
    folder: Annotated[Path, typer.Argument(help="Where checkpoints go; an interrupted run goes on from there.")],
    ear: Annotated[str, typer.Argument(help="Which of the tagger's networks: middle, long or short.")],
    experiment: Annotated[str, typer.Option(help="Whose recordings: small-judged, small-final, or a TOML file.")],
    minutes: Annotated[float, typer.Option(min=0.01, help="Minutes in all.")] = 55.0,
    steps: Annotated[int, typer.Option(min=0, help="Steps in all, instead of minutes.")] = 0,
    start: Annotated[Path | None, typer.Option("--from", help="Checkpoint that a new folder begins from.")] = None,
    rate: Annotated[float, typer.Option(help="Learning rate; half as much for a run that begins from another.")] = 2e-3,
    seed: Annotated[int | None, typer.Option(help="Of all that is drawn; empty: the experiment's.")] = None,
    batch: Annotated[int, typer.Option(min=2, help="Beams of a step; on a GPU more, 512 for instance.")] = 128,
    threads: Annotated[int, typer.Option(min=1, help="Threads of PyTorch.")] = 1,
    workers: Annotated[int, typer.Option(min=1, help="Processes that prepare the recordings.")] = 1,
    device: Annotated[str, typer.Option(help="Where it learns: cpu or cuda.")] = "cpu",
) -> None:
    """Train an ear of the tagger, the second opinion on what a track sounds like: in an hour on a CPU core."""
    from appliance.dsp.steered import EARS
    from appliance.lab.edge.experiment import load_experiment
    from appliance.lab.tagger.train import train_tagger as run_training

    if ear not in EARS:
        raise ConfigError(f"EAR: {ear!r} is none of the tagger's; give one of {', '.join(EARS)}")
    settings = load_experiment(experiment)
    path = run_training(
        settings.scenes,
        folder,
        ear,
        minutes=minutes,
        steps=steps,
        start=start,
        rate=rate,
        seed=settings.seed if seed is None else seed,
        batch=batch,
        threads=threads,
        workers=workers,
        device=device,
        log=_say,
    )
    print(path)


@app.command()
def average(
    out: Annotated[Path, typer.Argument(help="Where the checkpoint goes.")],
    checkpoints: Annotated[list[Path], typer.Argument(help="Of trainings that began from one another (--from).")],
) -> None:
    """Average the weights of trainings that began from one another."""
    from appliance.lab.edge.average import average_checkpoints

    print(average_checkpoints(checkpoints, out))


@app.command()
def export_tagger(
    run: Annotated[
        Path, typer.Argument(help="Folder of `appliance lab train-tagger`, with a checkpoint of every ear.")
    ],
    models: Annotated[list[str], typer.Argument(help="Names or paths of the models that it hears beside.")],
    name: Annotated[str, typer.Option(help="Of the tagger; it goes beside the first model.")] = "object-tagger",
) -> None:
    """Write the tagger's FP32 and INT8 ONNX files and name in the meta of models that of their precision; they have to be tuned and evaluated anew."""
    from appliance.lab.tagger.export import export_tagger as write_tagger
    from appliance.lab.tagger.export import name_in_meta
    from appliance.model.meta import find_model

    paths = [find_model(model) for model in models]
    folder = paths[0].parent
    references = write_tagger(run, folder, name)
    name_in_meta(references, paths)
    for reference in references.values():
        print(folder / reference.file)


@app.command()
def compare(
    folder: Annotated[Path, typer.Argument(help="Where NAME.pt of each network goes.")],
    names: Annotated[list[str], typer.Argument(help="edge, edge-short-window, edge-unchained, accdoa, steered_cnn.")],
    experiment: Annotated[str, typer.Option(help="Whose scenes and rates: tiny, or a TOML file.")] = "tiny",
    steps: Annotated[int | None, typer.Option(help="Steps in all; empty: the experiment's.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Minutes in all, instead of steps.")] = None,
    workers: Annotated[int, typer.Option(help="Processes that draw scenes.")] = 1,
    device: Annotated[str, typer.Option(help="Where the networks learn: cpu or cuda.")] = "cpu",
) -> None:
    """Train our network with and without its parts, and the baselines, on the same scenes in one loop."""
    from appliance.lab.baselines.paired import train_paired
    from appliance.lab.edge.experiment import load_experiment

    settings = load_experiment(experiment, {"steps": steps, "minutes": minutes})
    for path in train_paired(settings, names, folder, workers=workers, device=device, log=_say):
        print(path)
