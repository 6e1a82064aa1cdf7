"""`appliance lab data …`: where public sets go, and what is there of them."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Public sets of sounds and scenes: where they go, what is there."
)
_SHOWN_PROBLEMS = 20


@app.command("list")
def list_sets() -> None:
    """The sets we can read, and which of them are here."""
    from appliance.lab.datasets.kinds import data_dir
    from appliance.lab.datasets.registry import CLIP_SETS, DATASETS

    for name, dataset in DATASETS.items():
        card = dataset.card
        here = "here" if (data_dir() / card.folder).is_dir() else "-"
        use = "sounds" if name in CLIP_SETS else "scenes"
        print(f"{name:13} {here:5} {use:7} {card.size}; {card.license}")
    print(f"sounds are for training, scenes for judging; here means in {data_dir()} ($APPLIANCE_DATA)")


@app.command()
def where(name: Annotated[str, typer.Argument(help="A name that `list` gives.")]) -> None:
    """Homepage, licence, size and place of a set, the files that are read, and what its classes are for us."""
    from appliance.lab.datasets.check import card_text
    from appliance.lab.datasets.kinds import SceneSet, data_dir
    from appliance.lab.datasets.registry import dataset

    found = dataset(name)
    print(card_text(found.card, data_dir() / found.card.folder, is_scenes=isinstance(found, SceneSet)))


@app.command()
def check(
    name: Annotated[str, typer.Argument(help="A name that `list` gives.")],
    folder: Annotated[Path | None, typer.Argument(help="Where it lies, if not where `where` says.")] = None,
    partial: Annotated[bool, typer.Option("--partial", help="Forgive that only a part of the set is here.")] = False,
) -> None:
    """Open every file that a set lists: missing, unreadable, of another rate or other channels, without truth?"""
    from appliance.errors import RecordingError
    from appliance.lab.datasets.check import check_dataset
    from appliance.lab.datasets.kinds import SECONDS_PER_HOUR, set_dir
    from appliance.lab.datasets.registry import dataset

    found = dataset(name)
    findings = check_dataset(found, set_dir(found.card, folder), partial=partial)
    for label, (count, seconds) in sorted(findings.by_label.items()):
        print(f"{label:16} {count:7.0f} {seconds / SECONDS_PER_HOUR:8.3f} h")
    print(f"{findings.root}: {findings.files} files in order, {findings.seconds / SECONDS_PER_HOUR:.3f} h")
    for problem in findings.problems[:_SHOWN_PROBLEMS]:
        print(problem)
    if findings.problems:
        raise RecordingError(f"{findings.root}: {len(findings.problems)} problem(s) with {found.card.title}; see above")


@app.command()
def judge(
    name: Annotated[str, typer.Argument(help="A name that `list` gives, of a set of scenes.")],
    folder: Annotated[Path | None, typer.Argument(help="Where it lies, if not where `where` says.")] = None,
    model: Annotated[str, typer.Option(help="Name or path of an exported model.")] = "deepasa-edge-small-int8",
) -> None:
    """Hear a set's scenes through the pipeline and print DCASE's scores over those of our classes that sound in them."""
    from appliance.errors import ConfigError
    from appliance.lab.datasets.kinds import recordings_of, set_dir
    from appliance.lab.datasets.registry import SCENE_SETS
    from appliance.lab.judge.recordings import judge_recordings
    from appliance.lab.systems import onnx_systems
    from appliance.model.meta import find_model

    if name not in SCENE_SETS:
        raise ConfigError(f"{name}: not a set of scenes; there are {', '.join(SCENE_SETS)}")
    scene_set = SCENE_SETS[name]
    (system,) = onnx_systems([find_model(model)])
    recordings = recordings_of(scene_set, set_dir(scene_set.card, folder))
    scores = judge_recordings(recordings, system, lambda line: print(line, flush=True))
    print(f"ER20 {scores.er20:.2f}  F20 {scores.f20:.2f}  LE {scores.le_cd_deg:.0f}°  LR {scores.lr_cd:.2f}")
    print(f"SELD {scores.seld:.2f} of {system.name} over {len(recordings)} scenes")


@app.command()
def carry(
    folder: Annotated[Path, typer.Argument(help="Where the copy goes; name it in $APPLIANCE_PACK there.")],
    folds: Annotated[str, typer.Option(help="Folds that it holds; never the one that is judged on.")] = "1,2,3,4",
) -> None:
    """A copy of the audio pack at a quarter of its size (Ogg Vorbis), to train on another machine."""
    from appliance.lab.datasets.carry import carry_pack

    size = carry_pack(folder, [int(fold) for fold in folds.split(",")])
    print(f"{folder}: {size / 1e6:.1f} MB")
