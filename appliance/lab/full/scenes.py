"""Scenes for the full DeepASA: rendered in the time domain, with the direct and the reflected sound of each object.

They are `lab.world.render`'s, as random as `appliance lab render` draws them. What is to be said is Ambisonics as the unit's own encoder
makes them of each part alone, so that all parts add up to what the array hears, but for what its microphones do wrong.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from appliance.angles import unit_vector
from appliance.dsp.foa import FoaEncoder
from appliance.dsp.stft import WINDOW_SAMPLES, stft
from appliance.geometry import ArrayGeometry
from appliance.lab.pack import CLASSES
from appliance.lab.world.draw import SceneDraw
from appliance.lab.world.random_scenes import random_recipe
from appliance.lab.world.recipe import Recipe, Sensors
from appliance.lab.world.render import SourceTruth, render
from appliance.lab.world.sensors import LABEL_SAMPLES
from appliance.separation.synthesis import LATENCY_SAMPLES, StreamingIstft
from appliance.types import Float32Array

Batch = dict[str, Tensor]


class FullSceneSettings(BaseModel):
    """What scenes are drawn from; kept in the checkpoint."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    folds: tuple[int, ...] = (1, 2, 3)
    """Of the audio pack."""
    seconds: float = Field(default=4.0, ge=0.1)
    """Length, in whole label frames of 0.1 s."""
    array: str | None = None
    """Shipped name or file of the array whose microphones are the input; none: any array, as Ambisonics."""


@dataclass(frozen=True, slots=True, eq=False)
class FullScene:
    """One scene of n samples and L label frames, in J slots; Ambisonics are [W, Y, Z, X] (ACN/SN3D)."""

    mixture: Float32Array
    """(channels, n) what the network hears."""
    direct: Float32Array
    """(J, 4, n) of each object."""
    reverb: Float32Array
    """(J, 4, n) of each object, by way of ground and walls."""
    noise: Float32Array
    """(4, n) all that is no object, as the array hears it."""
    activity: Float32Array
    """(J, L) 0 or 1."""
    class_index: npt.NDArray[np.int64]
    """(J,), index into `CLASSES`; -1 for an empty slot."""
    direction: Float32Array
    """(J, L, 3) unit vectors; horizontal for planar arrays."""


def drawn_scene(draw: SceneDraw, settings: FullSceneSettings, seed: int, index: int, objects: int) -> FullScene:
    """Scene `index` of a seed."""
    recipe = random_recipe(draw, seed, index, seconds=settings.seconds)
    if settings.array is not None:
        # Errors drawn for the microphones of another array.
        recipe = recipe.model_copy(update={"array": settings.array, "mics_m": (), "sensors": Sensors()})
    return full_scene(recipe, objects, as_microphones=settings.array is not None)


def full_scene(recipe: Recipe, objects: int, *, as_microphones: bool = False) -> FullScene:
    """Render a recipe. Its first `objects` sources of `CLASSES` are objects; all else is noise, with no name."""
    scene, geometry = render(recipe, stems=True), recipe.geometry()
    assert scene.stems is not None
    chosen = [index for index, source in enumerate(scene.sources) if source.label in CLASSES][:objects]
    others = [index for index in range(len(scene.sources)) if index not in chosen]
    encoder = FoaEncoder(geometry)
    straight, both = scene.stems.direct_at_mics[chosen], scene.stems.at_mics[chosen]
    direct, reverb = np.zeros((2, objects, 4, scene.samples.shape[1]), np.float32)
    labels = len(scene.samples[0]) // LABEL_SAMPLES
    activity, direction = np.zeros((objects, labels), np.float32), np.zeros((objects, labels, 3), np.float32)
    class_index = np.full(objects, -1, np.int64)
    for slot, source in enumerate(scene.sources[index] for index in chosen):
        direct[slot], reverb[slot] = (
            _ambisonics(encoder, part) for part in (straight[slot], both[slot] - straight[slot])
        )
        activity[slot], class_index[slot] = source.active, CLASSES.index(source.label)
        direction[slot] = _towards(source, geometry)
    return FullScene(
        scene.samples if as_microphones else _ambisonics(encoder, scene.samples),
        direct,
        reverb,
        _ambisonics(encoder, scene.stems.noise + scene.stems.at_mics[others].sum(axis=0)),
        activity,
        class_index,
        direction,
    )


def collate(scenes: list[FullScene]) -> Batch:
    """Stack scenes into tensors named as `FullScene`'s fields, with a batch dimension."""
    names = FullScene.__slots__
    return {name: torch.from_numpy(np.stack([getattr(scene, name) for scene in scenes])) for name in names}


class FullBatches(IterableDataset[Batch]):
    """Batches by step number; worker i of W makes those with step ≡ i (mod W). Each depends on (seed, step) alone."""

    def __init__(self, settings: FullSceneSettings, *, seed: int, batch: int, objects: int, steps: range) -> None:
        self._settings, self._seed, self._batch, self._objects, self._steps = settings, seed, batch, objects, steps

    def __iter__(self) -> Iterator[Batch]:
        torch.set_num_threads(1)
        worker = get_worker_info()
        number, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        draw = SceneDraw(np.random.default_rng(self._seed), self._settings.folds, to_learn=True)
        for step in self._steps[number::workers]:
            indices = range(step * self._batch, (step + 1) * self._batch)
            yield collate([drawn_scene(draw, self._settings, self._seed, index, self._objects) for index in indices])


def _ambisonics(encoder: FoaEncoder, samples: Float32Array) -> Float32Array:
    """(mics, n) → (4, n), as the unit's own encoder hears it."""
    spectra = encoder.encode(stft(np.pad(samples, ((0, 0), (0, WINDOW_SAMPLES)))))
    return StreamingIstft(4).push(spectra)[:, LATENCY_SAMPLES : LATENCY_SAMPLES + samples.shape[1]]


def _towards(source: SourceTruth, geometry: ArrayGeometry) -> Float32Array:
    """(L, 3) unit vectors."""
    angles = zip(source.azimuth_deg, source.elevation_deg, strict=True)
    return np.stack([unit_vector(azimuth, 0.0 if geometry.is_planar else elevation) for azimuth, elevation in angles])
