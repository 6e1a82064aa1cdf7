"""What is there of a public set, and what is wrong with it."""

from dataclasses import dataclass, field
from pathlib import Path

from appliance.errors import ApplianceError, RecordingError
from appliance.lab.datasets.audio_files import AudioFacts, audio_facts
from appliance.lab.datasets.kinds import Card, ClipSet, SceneSet

_FRAME_S = 0.1
_UNUSED = "(not used)"


@dataclass(slots=True)
class Findings:
    """Outcome of a check."""

    root: Path
    """Folder of the set."""
    files: int = 0
    """Audio files, or rows, that are there and in order."""
    seconds: float = 0.0
    """Their length."""
    by_label: dict[str, list[float]] = field(default_factory=dict)
    """Files and seconds of each of our labels; of scenes, rows of truth and seconds."""
    problems: list[str] = field(default_factory=list)
    """One line each, naming the file and what is wrong."""

    def count(self, label: str | None, seconds: float) -> None:
        """Add one file of this label."""
        counted = self.by_label.setdefault(label or _UNUSED, [0, 0.0])
        counted[0] += 1
        counted[1] += seconds


def check_dataset(dataset: ClipSet | SceneSet, root: Path, *, partial: bool = False) -> Findings:
    """Open the head of every file that the set lists, and every truth.

    `partial` forgives that fewer files are listed than the whole set has. Raises `ConfigError` where the metadata are
    missing, `RecordingError` where they cannot be read.
    """
    findings = Findings(root)
    listed = _check_clips(dataset, findings) if isinstance(dataset, ClipSet) else _check_scenes(dataset, findings)
    whole = dataset.card.files
    if whole and listed != whole and not partial:
        findings.problems.append(f"{root}: {listed} recordings, the whole set has {whole} (a part is meant? --partial)")
    return findings


def _check_clips(clip_set: ClipSet, findings: Findings) -> int:
    items = clip_set.items(findings.root)
    for item in items:
        facts = _facts(findings, item.path, clip_set.rates_hz, clip_set.channels)
        if facts is not None:
            findings.count(item.label, facts.seconds)
    return len(items)


def _check_scenes(scene_set: SceneSet, findings: Findings) -> int:
    items, labels = scene_set.items(findings.root), tuple(scene_set.card.classes.values())
    try:
        _ = scene_set.array and scene_set.array(findings.root)
    except RecordingError as error:
        findings.problems.append(str(error))
    for item in items:
        path = str(item.audio.relative_to(findings.root))
        facts = _facts(findings, path, (scene_set.rate_hz,), (scene_set.channels,))
        if facts is None:
            continue
        try:
            truth = scene_set.read_truth(item)
        except ApplianceError as error:
            findings.problems.append(str(error))
            continue
        for rows in truth.values():
            for row in rows:
                findings.count(labels[row.class_index], _FRAME_S)
        last_s = max(truth, default=0) * _FRAME_S
        if last_s > facts.seconds:
            findings.problems.append(
                f"{item.truth}: tells of {last_s:.1f} s, but {item.audio.name} ends at {facts.seconds:.1f} s"
            )
    return len(items)


def _facts(findings: Findings, path: str, rates_hz: tuple[int, ...], channels: tuple[int, ...]) -> AudioFacts | None:
    """What is in this file, counted; None, and a problem, where it is not what the set should have."""
    root = findings.root
    try:
        facts = audio_facts(root, path)
    except RecordingError as error:
        findings.problems.append(str(error))
        return None
    wrong = [
        f"{value} {unit}, not {_either(right)}"
        for value, right, unit in ((facts.rate_hz, rates_hz, "Hz"), (facts.channels, channels, "channel(s)"))
        if right and value not in right
    ]
    wrong += ["empty"] * (facts.seconds <= 0.0)
    if wrong:
        findings.problems.append(f"{root / path}: {', '.join(wrong)}; fetch it again as published")
        return None
    findings.files += 1
    findings.seconds += facts.seconds
    return facts


def _either(values: tuple[int, ...]) -> str:
    return " or ".join(str(value) for value in values)


def card_text(card: Card, where: Path, *, is_scenes: bool) -> str:
    """Everything a person must know to fetch this set and put it in its place."""
    used: dict[str, list[str]] = {}
    for theirs, ours in card.classes.items():
        used.setdefault(ours or _UNUSED, []).append(theirs)
    classes = "\n".join(f"  {ours}: {', '.join(theirs)}" for ours, theirs in sorted(used.items()))
    layout = "\n".join(f"  {line}" for line in card.layout.splitlines())
    purpose = "scenes with truth, to be judged on" if is_scenes else f"sounds for scenes, as source {card.name!r}"
    lines = [
        f"{card.title}: {purpose}",
        f"from     {card.homepage}",
        f"licence  {card.license}",
        f"size     {card.size}",
        f"put it   {where}",
        "there must lie",
        layout,
        "its classes are for us",
        classes,
    ]
    return "\n".join([*lines, card.note] if card.note else lines)
