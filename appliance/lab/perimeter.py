"""The perimeter benchmark: a fixed, seeded suite of scenes from fold-5 recordings only.

Parts: drones × SNR, threats of every class, overlaps, target-free audio, and hard negatives (loud sounds that are
targets of their own or none at all, but no drone). Each scene knows its part through `Recipe.notes`.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from appliance.lab.pack import CLASSES, DIFFUSE_CLASSES, SHORT_CLASSES, Clip, load_clips
from appliance.lab.recipe import Recipe, SourcePlan

TEST_FOLDS = (5,)
ARRAYS = ("respeaker_usb_4mic", "tetrahedron_4cm2", "minidsp_uma8_v2")
DRONE_SNRS_DB = (20.0, 10.0, 5.0, 0.0, -5.0, -10.0, -15.0)
HARD_NEGATIVES = (
    "helicopter",
    "airplane",
    "vehicle_engine",
    "power_tool",
    "train",
    "machine_hum",
    "insects_frogs",
    "birds",
    "siren",
    "speech",
    "dog",
    "thunder",
)
_SCENE_S = 12.0
_LONG_SCENE_S = 60.0


class _Draw:
    """Draws sources and beds from the clips of one fold."""

    def __init__(self, rng: np.random.Generator, folds: tuple[int, ...]) -> None:
        self.rng = rng
        self._by_label: dict[str, list[Clip]] = {}
        for clip in load_clips(folds):
            self._by_label.setdefault(clip.label, []).append(clip)
        self.none_labels = [label for label in self._by_label if label not in CLASSES]

    def clips(self, label: str) -> list[Clip]:
        """All clips of a label, in manifest order."""
        return self._by_label[label]

    def bed(self) -> tuple[str, ...]:
        """Two recordings of ambience or weather."""
        pool = [clip for label in DIFFUSE_CLASSES for clip in self._by_label.get(label, [])]
        return tuple(pool[self.rng.integers(len(pool))].path for _ in range(2))

    def source(self, label: str, clip: Clip, start_s: float, seconds: float, snr_db: float) -> SourcePlan:
        """A source from anywhere, still or moving."""
        rng = self.rng
        azimuth = float(rng.uniform(-180.0, 180.0))
        elevation = float(np.clip(rng.normal(10.0, 12.0), -10.0, 60.0))
        drift = float(rng.normal(0.0, 5.0)) * seconds if rng.random() < 0.5 else 0.0
        path = (azimuth, azimuth + drift) if drift else (azimuth,)
        if label in SHORT_CLASSES:
            seconds = min(seconds, clip.seconds)
        return SourcePlan(
            clip.path,
            label,
            start_s,
            seconds,
            path,
            (elevation,) * len(path),
            snr_db,
            0.02 if label in SHORT_CLASSES else 0.5,
        )

    def any_of(self, label: str) -> Clip:
        """One clip of a label."""
        clips = self._by_label[label]
        return clips[self.rng.integers(len(clips))]


def _empty(draw: _Draw, index: int, part: str, seconds: float) -> Recipe:
    wind_db = float(draw.rng.uniform(-12.0, 6.0)) if draw.rng.random() < 0.5 else None
    return Recipe(
        seed=int(draw.rng.integers(2**31)),
        seconds=seconds,
        array=ARRAYS[index % len(ARRAYS)],
        bed=draw.bed(),
        wind_db=wind_db,
        notes={"part": part},
    )


def perimeter_suite(
    seed: int = 2026,
    *,
    per_snr: int = 24,
    per_class: int = 10,
    overlaps: int = 36,
    minutes: int = 60,
    folds: tuple[int, ...] = TEST_FOLDS,
) -> Iterator[Recipe]:
    """All recipes in order. `minutes` is the length of each of the two target-free parts."""
    draw = _Draw(np.random.default_rng(seed), folds)
    drones = draw.clips("drone")
    for snr_db in DRONE_SNRS_DB:
        for index in range(per_snr):
            recipe = _empty(draw, index, "drone_snr", _SCENE_S)
            source = draw.source("drone", drones[index % len(drones)], 2.0, 9.0, snr_db)
            yield replace(recipe, sources=(source,), notes={"part": "drone_snr", "snr_db": snr_db})
    for label in CLASSES:
        clips = draw.clips(label)
        for index in range(per_class):
            recipe = _empty(draw, index, "threats", _SCENE_S)
            clip = clips[int(index * len(clips) / per_class)]
            yield replace(recipe, sources=(draw.source(label, clip, 3.0, 6.0, float(draw.rng.uniform(3.0, 20.0))),))
    for index in range(overlaps):
        recipe = _empty(draw, index, "overlaps", _SCENE_S)
        labels = [str(label) for label in draw.rng.choice(CLASSES, 2, replace=index % 4 == 0)]
        sources = [
            draw.source(label, draw.any_of(label), 2.0 + 2.0 * place, 7.0, float(draw.rng.uniform(5.0, 20.0)))
            for place, label in enumerate(labels)
        ]
        # Nearer than this no array of this size tells two sounds apart by direction.
        apart = (sources[0].azimuth_deg[0] + float(draw.rng.choice((-1, 1)) * draw.rng.uniform(40.0, 170.0)),)
        sources[1] = replace(sources[1], azimuth_deg=apart, elevation_deg=sources[1].elevation_deg[:1])
        yield replace(recipe, sources=tuple(sources))
    for part, labels in (("target_free", draw.none_labels), ("hard_negatives", list(HARD_NEGATIVES))):
        for index in range(minutes):
            recipe = _empty(draw, index, part, _LONG_SCENE_S)
            sources = []
            for start_s in range(2, 52, 10):
                label = str(draw.rng.choice(labels))
                seconds = float(draw.rng.uniform(4.0, 14.0))
                sources.append(
                    draw.source(
                        label,
                        draw.any_of(label),
                        float(start_s),
                        min(seconds, 59.0 - start_s),
                        float(draw.rng.uniform(0.0, 20.0)),
                    )
                )
            yield replace(recipe, sources=tuple(sources))
