"""Training scenes, rendered in the STFT domain: fast enough to draw every scene once.

A source at (slowly varying) direction θ enters as S(f, t)·E(f)·A(f, θ); reflections as a second direction with a delay;
reverberation and ambience as isotropic fields, wind and self-noise as fields that are incoherent between microphones.
The test suite and the judge render in the time domain, so that this approximation never judges itself.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import soxr

from appliance.angles import unit_vector
from appliance.dsp.features import BANDS, INTENSITY, SlowLevel, band_features, band_sum
from appliance.dsp.stft import HOP_SAMPLES, HOPS_PER_LABEL, SAMPLE_RATE_HZ, bin_frequencies_hz, stft
from appliance.lab.datasets.sources import load_clips, read_clip
from appliance.lab.fields import EncodedArray, ambient_level, draw_array, wind_level
from appliance.lab.pack import CLASSES, DIFFUSE_CLASSES, SHORT_CLASSES, SOUNDS, Clip
from appliance.lab.synth_drones import synth_drone
from appliance.types import Complex64Array, Float32Array

TARGETS = 3
_EASY_SNR_DB = 15.0
_ACTIVE_BELOW_PEAK_DB = 25.0


@dataclass(frozen=True, slots=True)
class SceneSettings:
    """What scenes are drawn from; kept in the checkpoint."""

    sources: tuple[str, ...] = ("pack",)
    """Sets of recordings, as `appliance lab data` names them."""
    folds: tuple[int, ...] = (1, 2, 3)
    seconds: float = 4.0
    target_free: float = 0.4
    """Share of scenes with no target; they hold loud confusers instead."""
    drone_share: float = 0.28
    """Share of targets that are drones."""
    synthetic_drones: float = 0.25
    """Share of drones that are synthesised."""
    snr_db: tuple[float, float] = (-10.0, 20.0)
    """Target against ambience, wind and self-noise, 100 Hz – 7.5 kHz on W."""
    confuser_snr_db: tuple[float, float] = (-5.0, 20.0)
    """Confusers likewise."""
    arrays: int = 80
    """Random arrays held by each worker."""


@dataclass(frozen=True, slots=True)
class Scene:
    """Features and truth of one scene: T hops, L label frames of 5 hops, J target slots."""

    features: Float32Array
    """(features, T, bands)."""
    ratio_mask: Float32Array
    """(J + 1, T, bands) share of W's energy that each target has; the last is all the rest."""
    activity: Float32Array
    """(J, L) 0 or 1."""
    class_index: npt.NDArray[np.int64]
    """(J,), index into `CLASSES`; -1 for an empty slot."""
    direction: Float32Array
    """(J, L, 3) unit vectors; horizontal for planar arrays."""
    sounds: Float32Array
    """(L, sounds of `SOUNDS`) 0 or 1: every sound there is, confusers and the bed too."""


class SceneMaker:
    """Draws scenes. `scene(seed)` depends on the seed and the settings alone."""

    def __init__(self, settings: SceneSettings, seed: int = 0) -> None:
        self.settings = settings
        rng = np.random.default_rng([seed, 1])
        self._clips: dict[str, dict[str, list[Clip]]] = {}
        self._samples: dict[str, npt.NDArray[np.int16]] = {}
        for clip in load_clips(settings.sources, settings.folds):
            self._clips.setdefault(clip.label, {}).setdefault(clip.group, []).append(clip)
            self._samples[clip.path] = (read_clip(clip) * 32767.0).astype(np.int16)
        self._confusers = [label for label in self._clips if label not in CLASSES]
        self._synthetic = [
            (synth_drone(rng, settings.seconds + 1.0) * 32767.0).astype(np.int16)
            for _ in range(240 if settings.synthetic_drones > 0 else 0)
        ]
        self._arrays = [draw_array(rng) for _ in range(settings.arrays)]
        self._hops = int(settings.seconds * SAMPLE_RATE_HZ) // HOP_SAMPLES
        self._samples_per_scene = self._hops * HOP_SAMPLES
        shape = (4, 4 * self._hops, len(bin_frequencies_hz()))
        self._white = (rng.standard_normal(shape, np.float32) + 1j * rng.standard_normal(shape, np.float32)).astype(
            np.complex64
        )
        weights = {label: (1.0 - settings.drone_share) / (len(CLASSES) - 1) for label in CLASSES}
        weights["drone"] = settings.drone_share
        self._class_weights = np.array([weights[label] for label in CLASSES])

    def scene(self, seed: tuple[int, ...], difficulty: float = 1.0) -> Scene:
        """Draw and render one scene. Difficulty 0 is one clear target and no confuser; 1 is what the settings say."""
        rng = np.random.default_rng(list(seed))
        settings = self.settings
        array = self._arrays[rng.integers(len(self._arrays))]
        bed_label = str(rng.choice(DIFFUSE_CLASSES))
        bed = self._noise(rng, array, bed_label)
        noise_energy = _in_band_energy(bed[:, 0])
        targets, snr_db = draw_targets(rng, settings, difficulty)
        confusers, confuser_snr_db = draw_confusers(rng, settings, difficulty, targets)
        labels = self._hops // HOPS_PER_LABEL
        stems = np.zeros((TARGETS + 1, self._hops, BANDS), np.float32)
        activity = np.zeros((TARGETS, labels), np.float32)
        class_index = np.full(TARGETS, -1, np.int64)
        direction = np.zeros((TARGETS, labels, 3), np.float32)
        sounds = np.zeros((labels, len(SOUNDS)), np.float32)
        sounds[:, SOUNDS.index(bed_label)] = 1.0
        mixture = bed
        for slot in range(targets):
            label = str(rng.choice(CLASSES, p=self._class_weights))
            dry, active = self._source(rng, label)
            path = self._path(rng, labels)
            wet = self._propagate(rng, array, dry, path)
            gain = _gain_for_snr(wet[:, 0], active, noise_energy, rng.uniform(*snr_db))
            mixture = mixture + gain * wet
            stems[slot] = band_sum(_power(gain * wet[:, 0]))
            activity[slot], class_index[slot] = active, CLASSES.index(label)
            direction[slot] = path
            sounds[active > 0, SOUNDS.index(label)] = 1.0
        for _ in range(confusers):
            label = str(rng.choice(self._confusers))
            dry, active = self._source(rng, label)
            sounds[active > 0, SOUNDS.index(label)] = 1.0
            wet = self._propagate(rng, array, dry, self._path(rng, labels))
            mixture = mixture + wet * _gain_for_snr(wet[:, 0], active, noise_energy, rng.uniform(*confuser_snr_db))
        if array.planar:
            direction[..., 2] = 0.0
            direction /= np.maximum(np.linalg.norm(direction, axis=-1, keepdims=True), 1e-6)
        mixture = mixture * _smooth_gain(rng, 3.0)
        stems[TARGETS] = np.maximum(band_sum(_power(mixture[:, 0])) - stems.sum(axis=0), 0.0)
        features = band_features(mixture, array.validity, SlowLevel())
        ratio = stems / np.maximum(stems.sum(axis=0), 1e-12)
        return Scene(np.ascontiguousarray(features.transpose(1, 0, 2)), ratio, activity, class_index, direction, sounds)

    def _white_noise(self, rng: np.random.Generator) -> Complex64Array:
        """(4, hops, bins) unit complex noise from the bank."""
        start = int(rng.integers(self._white.shape[1] - self._hops))
        return self._white[rng.permutation(4), start : start + self._hops]

    def _field(self, rng: np.random.Generator, root: Complex64Array, level: Float32Array) -> Complex64Array:
        """(hops, 4, bins) noise of magnitude (hops, bins) with the spatial covariance root·rootᴴ, root (4, bins, 4)."""
        white = self._white_noise(rng)
        field = np.empty((self._hops, 4, level.shape[1]), np.complex64)
        for channel in range(4):
            total = root[channel, :, 0] * white[0]
            for source in range(1, 4):
                total += root[channel, :, source] * white[source]
            field[:, channel] = total * level
        return field

    def _noise(self, rng: np.random.Generator, array: EncodedArray, label: str) -> Complex64Array:
        """Ambience of this label, wind and self-noise (hops, 4, bins)."""
        spectrum, _ = self._source(rng, label)
        level = ambient_level(rng, spectrum)
        level /= np.sqrt(_mean_in_band(level**2)) + 1e-12
        # A floor under the recorded bed: its silent parts and codec cut-offs are not how the field is.
        level += np.float32(10.0 ** (rng.uniform(-25.0, -3.0) / 20.0)) * _coloured(rng)
        bed = self._field(rng, array.diffuse_root, level)
        incoherent = np.full_like(level, 10.0 ** (rng.uniform(-45.0, -20.0) / 20.0))
        if rng.random() < 0.5:
            wind = wind_level(rng, self._hops)
            incoherent += wind * np.float32(10.0 ** (rng.uniform(-15.0, 15.0) / 20.0)) / np.sqrt(_mean_in_band(wind**2))
        return bed + self._field(rng, array.incoherent_root, incoherent)

    def _source(self, rng: np.random.Generator, label: str) -> tuple[Complex64Array, Float32Array]:
        """A dry source (hops, bins), its channel randomised, and its activity (labels,)."""
        wave = self._place(rng, label)
        spectrum = stft(wave)
        spectrum *= _smooth_gain(rng, 5.0)
        frequencies = bin_frequencies_hz()
        if rng.random() < 0.35:
            spectrum *= (1.0 / (1.0 + (frequencies / rng.uniform(2500.0, 7500.0)) ** 8)).astype(np.float32)
        if rng.random() < 0.35:
            corner_hz = rng.uniform(40.0, 400.0)
            spectrum *= (frequencies**3 / (frequencies**3 + corner_hz**3)).astype(np.float32)
        if rng.random() < 0.12:  # what a lossy codec does: weak parts above 2 kHz are dropped
            power = _power(spectrum)
            spectrum[:, 128:] *= power[:, 128:] > 10.0 ** rng.uniform(-4.5, -3.0) * power.max(axis=1, keepdims=True)
        energy = _power(spectrum)[:, 6:480].sum(axis=1).reshape(-1, HOPS_PER_LABEL).sum(axis=1)
        active = energy > np.percentile(energy, 95) * 10.0 ** (-_ACTIVE_BELOW_PEAK_DB / 10.0)
        return spectrum, (active & (energy > 1e-9)).astype(np.float32)

    def _place(self, rng: np.random.Generator, label: str) -> npt.NDArray[np.float32]:
        """Samples of one scene's length: short sounds here and there, long ones looped over part or all of it."""
        length = self._samples_per_scene
        wave = np.zeros(length, np.float32)
        clip = self._draw(rng, label)
        if label in SHORT_CLASSES:
            position = int(rng.uniform(0.0, 0.7) * length)
            for _ in range(int(rng.integers(1, 4))):
                part = clip[: length - position]
                wave[position : position + len(part)] += part
                position += len(part) + int(rng.uniform(0.1, 2.0) * SAMPLE_RATE_HZ)
                if position >= length - 1600:
                    break
            return wave
        shift = int(rng.integers(len(clip)))
        looped = np.resize(np.roll(clip, -shift), length)
        if rng.random() < 0.6:
            return looped
        start = int(rng.uniform(0.0, 0.6) * length)
        stop = min(length, start + int(rng.uniform(1.0, 4.0) * SAMPLE_RATE_HZ))
        fade = int(rng.uniform(0.02, 0.5) * SAMPLE_RATE_HZ)
        ramp = np.clip(np.minimum(np.arange(stop - start), np.arange(stop - start)[::-1]) / fade, 0.0, 1.0)
        wave[start:stop] = looped[start:stop] * ramp
        return wave

    def _draw(self, rng: np.random.Generator, label: str) -> npt.NDArray[np.float32]:
        """A clip of this label, its speed changed: groups count by the root of their size, not by clips."""
        if label == "drone" and rng.random() < self.settings.synthetic_drones:
            samples = self._synthetic[rng.integers(len(self._synthetic))]
        else:
            groups = list(self._clips[label].values())
            weights = np.sqrt([len(group) for group in groups])
            group = groups[rng.choice(len(groups), p=weights / weights.sum())]
            samples = self._samples[group[rng.integers(len(group))].path]
        wave = samples.astype(np.float32) / 32768.0
        wave = wave / (np.sqrt(np.mean(wave**2)) + 1e-6) * 0.1
        if rng.random() < 0.7:
            spread = 0.25 if label == "drone" else 0.12
            wave = soxr.resample(
                wave, SAMPLE_RATE_HZ * np.exp(rng.uniform(-spread, spread)), SAMPLE_RATE_HZ, quality="QQ"
            )
        return wave if len(wave) > 1600 else np.resize(wave, 1600)

    def _path(self, rng: np.random.Generator, labels: int) -> Float32Array:
        """(labels, 3) unit vectors: still, or drifting by up to 20 degrees per second."""
        azimuth_deg = rng.uniform(-180.0, 180.0)
        elevation_deg = np.clip(rng.normal(12.0, 22.0), -30.0, 85.0)
        if rng.random() < 0.5:
            return np.tile(unit_vector(azimuth_deg, elevation_deg).astype(np.float32), (labels, 1))
        time_s = np.arange(labels) * HOPS_PER_LABEL * HOP_SAMPLES / SAMPLE_RATE_HZ
        azimuth_rate, elevation_rate = rng.normal(0.0, 8.0), rng.normal(0.0, 3.0)
        return np.stack(
            [
                unit_vector(
                    azimuth_deg + azimuth_rate * t, float(np.clip(elevation_deg + elevation_rate * t, -35.0, 89.0))
                )
                for t in time_s
            ]
        ).astype(np.float32)

    def _propagate(
        self, rng: np.random.Generator, array: EncodedArray, dry: Complex64Array, path: Float32Array
    ) -> Complex64Array:
        """The source at the array (hops, 4, bins): direct sound, ground or wall reflections, reverberation."""
        still = bool((path == path[0]).all())
        directions = path[:1].astype(np.float64) if still else path.astype(np.float64)
        response = array.response(directions)
        frequencies = bin_frequencies_hz()
        for _ in range(int(rng.choice([0, 1, 2], p=[0.4, 0.45, 0.15]))):
            mirrored = directions * [1.0, 1.0, -1.0] if rng.random() < 0.7 else directions + rng.normal(0.0, 1.0, 3)
            mirrored = mirrored / np.linalg.norm(mirrored, axis=1, keepdims=True)
            delay_s, strength = rng.uniform(2e-4, 1.2e-2), rng.uniform(0.1, 0.8)
            filtered = (
                strength * np.exp(-2j * np.pi * frequencies * delay_s) / (1.0 + frequencies / rng.uniform(1e3, 8e3))
            )
            response = response + array.response(mirrored) * filtered.astype(np.complex64)
        if not still:
            response = np.repeat(response, HOPS_PER_LABEL, axis=0)
        wet: Complex64Array = response * dry[:, None, :]
        if rng.random() < 0.4:
            wet = wet + self._reverberation(rng, array, dry)
        return wet

    def _reverberation(self, rng: np.random.Generator, array: EncodedArray, dry: Complex64Array) -> Complex64Array:
        decay = np.float32(10.0 ** (-6.0 * HOP_SAMPLES / SAMPLE_RATE_HZ / rng.uniform(0.15, 1.2)))
        energy = _power(dry)
        tail = np.zeros_like(energy)
        for hop in range(1, len(energy)):
            tail[hop] = decay * (tail[hop - 1] + energy[hop - 1])
        ratio = 10.0 ** (-rng.uniform(0.0, 18.0) / 10.0) * energy.sum() / (tail.sum() + 1e-12)
        return self._field(rng, array.diffuse_root, np.sqrt(np.float32(ratio) * tail / 2.0))


def draw_targets(
    rng: np.random.Generator, settings: SceneSettings, difficulty: float
) -> tuple[int, tuple[float, float]]:
    """How many targets a scene has, and the range of their SNR in dB."""
    targets = 0
    if rng.random() >= settings.target_free * _blend(0.4, 1.0, difficulty):
        targets = 1 + int(rng.choice([0, 1, 2], p=[0.6, 0.28, 0.12]) * (rng.random() < difficulty))
    return targets, (_blend(_EASY_SNR_DB, settings.snr_db[0], difficulty), settings.snr_db[1])


def draw_confusers(
    rng: np.random.Generator, settings: SceneSettings, difficulty: float, targets: int
) -> tuple[int, tuple[float, float]]:
    """How many confusers a scene of so many targets has, and the range of their SNR in dB."""
    confusers = int(rng.choice([0, 1, 2], p=[0.5, 0.38, 0.12] if targets else [0.15, 0.5, 0.35]))
    confusers *= int(rng.random() < difficulty) if targets else 1
    return confusers, (settings.confuser_snr_db[0], _blend(0.0, settings.confuser_snr_db[1], difficulty))


def turned(scene: Scene, rng: np.random.Generator) -> Scene:
    """The same scene turned about the vertical by any angle and, half of the time, mirrored."""
    angle, mirror = rng.uniform(-np.pi, np.pi), rng.choice([-1.0, 1.0])
    turn = np.array(
        [[np.cos(angle), -mirror * np.sin(angle), 0.0], [np.sin(angle), mirror * np.cos(angle), 0.0], [0.0, 0.0, 1.0]],
        np.float32,
    )
    features = scene.features.copy()
    features[INTENSITY] = np.tensordot(turn, scene.features[INTENSITY], axes=1)
    return replace(scene, features=features, direction=scene.direction @ turn.T)


def _blend(easy: float, hard: float, difficulty: float) -> float:
    return easy + difficulty * (hard - easy)


def _power(spectrum: Complex64Array) -> Float32Array:
    power: Float32Array = spectrum.real**2 + spectrum.imag**2
    return power


def _mean_in_band(power: Float32Array) -> np.float32:
    """Mean power (…) over 100 Hz – 7.5 kHz."""
    return np.float32(power[:, 6:480].mean())


def _in_band_energy(spectrum: Complex64Array) -> np.float32:
    return _mean_in_band(_power(spectrum))


def _gain_for_snr(
    spectrum: Complex64Array, active: Float32Array, noise_energy: np.float32, snr_db: float
) -> np.float32:
    """Gain that puts the active part of a source (hops, bins) at this level above the noise."""
    hops = np.repeat(active, HOPS_PER_LABEL) > 0
    energy = _in_band_energy(spectrum[hops]) if hops.any() else np.float32(0.0)
    return np.float32(np.sqrt(noise_energy / max(float(energy), 1e-12) * 10.0 ** (snr_db / 10.0)))


def _smooth_gain(rng: np.random.Generator, sigma_db: float) -> Float32Array:
    """(bins,) random equaliser: eight points on a logarithmic frequency axis."""
    points_hz = np.geomspace(40.0, 8000.0, 8)
    gain_db = np.interp(np.log(np.maximum(bin_frequencies_hz(), 20.0)), np.log(points_hz), rng.normal(0.0, sigma_db, 8))
    return (10.0 ** (gain_db / 20.0)).astype(np.float32)


def _coloured(rng: np.random.Generator) -> Float32Array:
    """(bins,) magnitude of noise between white and brown, mean power about one in band."""
    level = (100.0 / np.maximum(bin_frequencies_hz(), 60.0)) ** rng.uniform(0.0, 1.0)
    return (level / np.sqrt(np.mean(level[6:480] ** 2))).astype(np.float32)
