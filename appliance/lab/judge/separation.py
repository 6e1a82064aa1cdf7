"""How much fainter everything else becomes: SI-SDR improvement of faint objects, by mask, by beam and by both.

Scenes of one or two targets in diffuse ambience, at −10 to 0 dB, from recordings of fold 5. An object is taken out twice:
with the masks and direction of its track, as `appliance replay --stems` would, and with ideal masks (its true share of the
energy in each band) and its true direction, which is what the method itself can reach. What comes out is held against the
object's direct sound, as if it were to be dried too, and against its image: all of its sound, by way of ground and walls
as well, which is what DeepASA's waveforms hold.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from appliance.angles import arc_distance_deg, unit_vector
from appliance.dsp.foa import FoaEncoder, foa_gains
from appliance.dsp.stft import HOPS_PER_LABEL, SAMPLE_RATE_HZ, stft
from appliance.geometry import ArrayGeometry
from appliance.lab.hear import hear
from appliance.lab.judge.ideal_masks import ideal_object
from appliance.lab.judge.perimeter import ARRAYS
from appliance.lab.metrics.separation import LabelledSignal, ca_sdri_db, si_sdri_db
from appliance.lab.pack import CLASSES, SHORT_CLASSES
from appliance.lab.systems import onnx_systems
from appliance.lab.workers import Log, each
from appliance.lab.world.draw import SceneDraw, on_bearing
from appliance.lab.world.recipe import Pose, Recipe, SourcePlan
from appliance.lab.world.render import RenderedScene, SourceTruth, Stems, render
from appliance.lab.world.sensors import LABEL_SAMPLES
from appliance.model.meta import load_meta
from appliance.pipeline import Moment
from appliance.separation.objects import HeardObject, ObjectMasks
from appliance.separation.separator import Separator
from appliance.separation.synthesis import LATENCY_SAMPLES, StreamingIstft
from appliance.types import Complex64Array, Event, Float32Array

SNRS_DB = (0.0, -5.0, -10.0)
"""Of the object, over all noise at the first microphone."""
METHODS = ("mask × W", "FOA beam", "mask × FOA beam", "MVDR", "MVDR, masked")
"""The last one is the mono stem."""
TEST_FOLDS = (5,)
_BAND_HZ = (100.0, 7500.0)
_SCENE_S, _START_S, _SECONDS = 10.0, 2.0, 7.0
_SAME_DEG = 30.0
_POSE = Pose()


@dataclass(frozen=True, slots=True)
class Improvement:
    """SI-SDRi over W of each of `METHODS`, in dB."""

    direct_db: tuple[float, ...]
    """Of the object's direct sound: what is left of its reflections counts as noise."""
    image_db: tuple[float, ...]
    """Of all its sound, reflections too."""


@dataclass(frozen=True, slots=True)
class Recovered:
    """One object of one scene."""

    label: str
    """Its class."""
    snr_db: float
    """Of the object, over all noise."""
    objects: int
    """Targets in its scene."""
    ideal: Improvement
    """With ideal masks and the true direction."""
    tracked: Improvement | None
    """With masks and direction of its track; None where no confirmed track was it."""
    ca_sdri_db: float | None = None
    """Of its whole scene: class-aware SDRi of the mono stems of all confirmed tracks; None where it was not asked for."""


def separation_suite(seed: int = 2026, *, per_snr: int = 24, folds: tuple[int, ...] = TEST_FOLDS) -> Iterator[Recipe]:
    """Scenes at every SNR; in every second one two targets sound at once, at the same level, 40° or more apart."""
    draw = SceneDraw(np.random.default_rng(seed), folds)
    sustained = [label for label in CLASSES if label not in SHORT_CLASSES]
    for snr_db in SNRS_DB:
        for index in range(per_snr):
            azimuth_deg = float(draw.rng.uniform(-180.0, 180.0))
            first = index % len(sustained)
            other = (first + 1 + int(draw.rng.integers(len(sustained) - 1))) % len(sustained)
            labels = [sustained[first], sustained[other]][: 1 + index % 2]
            apart_deg = float(draw.rng.choice((-1.0, 1.0)) * draw.rng.uniform(40.0, 170.0))
            sources = tuple(
                _source(draw, label, azimuth_deg + place * apart_deg, snr_db) for place, label in enumerate(labels)
            )
            yield Recipe(
                seed=int(draw.rng.integers(2**31)),
                seconds=_SCENE_S,
                array=ARRAYS[index // 2 % len(ARRAYS)],
                pose=_POSE,
                bed=draw.bed(),
                sources=sources,
                notes={"part": "separation", "snr_db": snr_db},
            )


def recover(model: Path, recipes: Sequence[Recipe], *, workers: int = 2, log: Log = print) -> list[Recovered]:
    """Take every target out of every scene. Raises `ModelError` where the model is not whole or gives no masks."""
    return [one for scene in each(partial(recover_scene, model), recipes, workers, log) for one in scene]


def recover_scene(model: Path, recipe: Recipe) -> list[Recovered]:
    """Every target of one scene."""
    scene, geometry = render(recipe, stems=True), recipe.geometry()
    (system,) = onnx_systems([model])
    apart = system.stages(geometry)[1].gives_direct_masks
    gather = _Gather(ObjectMasks(load_meta(model).classes))
    hear(scene.samples, geometry, system, [gather], ground=recipe.ground)
    tracked = gather.masks.objects()
    class_aware_db = _class_aware_db(scene, geometry, tracked)
    recovered = []
    for index, truth in enumerate(scene.sources):
        own = next((heard for heard in tracked if _is(heard, truth, planar=geometry.is_planar)), None)
        recovered.append(
            Recovered(
                truth.label,
                float(recipe.notes["snr_db"]),
                len(scene.sources),
                _improvement(scene, index, geometry, ideal_object(scene, index, geometry, apart=apart)),
                None if own is None else _improvement(scene, index, geometry, own),
                class_aware_db,
            )
        )
    return recovered


def recovered_signals(samples: Float32Array, geometry: ArrayGeometry, heard: HeardObject) -> dict[str, Float32Array]:
    """Samples (mics, n) of a scene → the object (n,) by each of `METHODS`, and W itself under "W".

    Where the object's direct sound is known its share is what is laid on W and on the beams, as in the stems.
    """
    # Whole label frames, or the last samples would stay inside the synthesis.
    silence = LATENCY_SAMPLES + -(samples.shape[1] + LATENCY_SAMPLES) % LABEL_SAMPLES
    spectrum, separator = stft(np.pad(samples, ((0, 0), (0, silence)))), Separator(geometry)
    found: list[Complex64Array] = []
    for frame in range(len(spectrum) // HOPS_PER_LABEL):
        hops = spectrum[frame * HOPS_PER_LABEL : (frame + 1) * HOPS_PER_LABEL]
        index = min(max(frame - heard.first_frame, 0), len(heard.moments) - 1)
        moment = heard.moments[index]
        # Beyond its moments it has no stem; a beam alone goes on.
        stem = np.float32(index == frame - heard.first_frame)
        foa, apart = separator.push(hops, {0: moment})
        one = apart[0]
        direct, mono = stem * one.direct, stem * one.gain * one.beam
        steered = _hypercardioid(foa, unit_vector(moment.azimuth_deg, moment.elevation_deg), geometry)
        methods = (foa[:, 0], direct * foa[:, 0], steered, direct * steered, one.beam, mono)
        found.append(np.stack(methods, axis=1))
    samples_by_method = StreamingIstft(1 + len(METHODS)).push(np.concatenate(found))
    named = dict(zip(("W", *METHODS), samples_by_method[:, LATENCY_SAMPLES:], strict=True))
    return {name: one[: samples.shape[1]] for name, one in named.items()}


def summary_rows(recovered: Sequence[Recovered]) -> list[tuple[str, ...]]:
    """Rows of the report: masks, method, and the mean SI-SDRi at each of `SNRS_DB`, of the direct sound and of the image."""
    rows = []
    for source in ("ideal", "tracked"):
        at = [[one for one in recovered if one.snr_db == snr_db] for snr_db in SNRS_DB]
        heard = [[row for one in own if (row := one.ideal if source == "ideal" else one.tracked)] for own in at]
        for index, method in enumerate(METHODS):
            direct = (_mean([row.direct_db[index] for row in own]) for own in heard)
            image = (_mean([row.image_db[index] for row in own]) for own in heard)
            rows.append((source, method, *direct, *image))
        counts = [f"{len(found)} of {len(own)}" for found, own in zip(heard, at, strict=True)]
        rows.append((source, "objects", *counts, *counts))
    return rows


def _mean(figures_db: Sequence[float]) -> str:
    return f"{np.mean(figures_db):+.1f}" if figures_db else "–"


class _Gather:
    """An observer of `pipeline.run`."""

    def __init__(self, masks: ObjectMasks) -> None:
        self.masks = masks

    def frame(self, moment: Moment) -> None:
        self.masks.add(moment.scene, moment.tracks, moment.events)

    def finished(self, events: Sequence[Event], stream_s: float) -> None:
        """What has no frame has no sound."""


def _source(draw: SceneDraw, label: str, azimuth_deg: float, snr_db: float) -> SourcePlan:
    elevation_deg = float(np.clip(draw.rng.normal(10.0, 12.0), -5.0, 60.0))
    distance_m = float(draw.rng.uniform(15.0, 60.0))
    positions_m = on_bearing((azimuth_deg,), (elevation_deg,), distance_m, seconds=_SECONDS, height_m=_POSE.height_m)
    return SourcePlan(
        clip=draw.any_of(label).path,
        label=label,
        start_s=_START_S,
        seconds=_SECONDS,
        positions_m=positions_m,
        snr_db=snr_db,
        fade_s=SceneDraw.fade_s(label),
    )


def _is(heard: HeardObject, truth: SourceTruth, *, planar: bool) -> bool:
    """Half of the object lies in the source's direction while the source sounds, and it is a second or more.

    Whether network or power found it: both have a stem.
    """
    near = together = 0
    for frame, moment in enumerate(heard.moments, heard.first_frame):
        if frame < len(truth.active) and truth.active[frame]:
            together += 1
            azimuth_deg, elevation_deg = float(truth.azimuth_deg[frame]), float(truth.elevation_deg[frame])
            # By azimuth alone, as tracks of a planar array are.
            own_deg, true_deg = (0.0, 0.0) if planar else (moment.elevation_deg, elevation_deg)
            near += arc_distance_deg(moment.azimuth_deg, own_deg, azimuth_deg, true_deg) < _SAME_DEG
    return near >= max(10, together / 2)


def _improvement(scene: RenderedScene, index: int, geometry: ArrayGeometry, heard: HeardObject) -> Improvement:
    """Of each method, within 100–7500 Hz and the time from the source's first to its last sound."""
    assert scene.stems is not None
    active = np.flatnonzero(scene.sources[index].active)
    span = slice(int(active[0]) * LABEL_SAMPLES, int(active[-1] + 1) * LABEL_SAMPLES)
    signals = {
        name: _in_band(signal)[span] for name, signal in recovered_signals(scene.samples, geometry, heard).items()
    }
    direct, image = (
        tuple(float(si_sdri_db(signals[name], reference, signals["W"])) for name in METHODS)
        for direct_only in (True, False)
        for reference in [_in_band(_wanted(scene.stems, index, direct_only=direct_only))[span]]
    )
    return Improvement(direct, image)


def _wanted(stems: Stems, index: int, *, direct_only: bool) -> Float32Array:
    """W (samples,) of an object's direct sound, or of its image."""
    direct: Float32Array = stems.direct[index, 0]
    return direct if direct_only else direct + stems.reverberant[index, 0]


def _class_aware_db(scene: RenderedScene, geometry: ArrayGeometry, tracked: Sequence[HeardObject]) -> float | None:
    """CA-SDRi of all mono stems against all objects, within 100–7500 Hz, from the first sound to the last."""
    assert scene.stems is not None
    active = np.flatnonzero(np.any([truth.active for truth in scene.sources], axis=0))
    span = slice(int(active[0]) * LABEL_SAMPLES, int(active[-1] + 1) * LABEL_SAMPLES)
    apart = all(heard.reverb_apart for heard in tracked)
    references = [
        LabelledSignal(truth.label, _in_band(_wanted(scene.stems, index, direct_only=apart))[span])
        for index, truth in enumerate(scene.sources)
    ]
    signals = [recovered_signals(scene.samples, geometry, heard)[METHODS[-1]] for heard in tracked]
    estimates = [
        LabelledSignal(heard.class_label, _in_band(signal)[span])
        for heard, signal in zip(tracked, signals, strict=True)
    ]
    mixture = FoaEncoder(geometry).encode(stft(np.pad(scene.samples, ((0, 0), (0, LATENCY_SAMPLES)))))[:, 0]
    return ca_sdri_db(estimates, references, _in_band(_samples(mixture)[: scene.samples.shape[1]])[span])


def _hypercardioid(foa: Complex64Array, towards: npt.NDArray[np.float64], geometry: ArrayGeometry) -> Complex64Array:
    """Of all first-order beams the one that lets least of a diffuse field through: W + 3·dipole, or W + 2·dipole in the plane."""
    gains = foa_gains(towards[None])[:, 0]
    weights = gains * np.array([1.0, *(3 * [2.0 if geometry.is_planar else 3.0])])
    beam: Complex64Array = np.einsum("c,tcb->tb", weights / (weights @ gains), foa).astype(np.complex64)
    return beam


def _samples(spectrum: Complex64Array) -> Float32Array:
    return StreamingIstft(1).push(spectrum[:, None])[0, LATENCY_SAMPLES:]


def _in_band(signal: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    spectrum = np.fft.rfft(signal)
    frequencies_hz = np.fft.rfftfreq(len(signal), 1.0 / SAMPLE_RATE_HZ)
    spectrum[(frequencies_hz < _BAND_HZ[0]) | (frequencies_hz > _BAND_HZ[1])] = 0.0
    return np.fft.irfft(spectrum, len(signal))
