"""Recipe → microphone signals in the time domain, and their truth: what the judge and the demo hear.

Plane waves with exact fractional delays (phase shifts in long overlapping windows, so that directions may move), one
ground reflection per source, a diffuse bed of 48 plane waves, wind and self-noise incoherent between microphones.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import soundfile

from appliance.angles import azimuth_elevation_deg, unit_vector
from appliance.dsp.foa import fibonacci_sphere
from appliance.dsp.stft import HOP_SAMPLES, HOPS_PER_LABEL, SAMPLE_RATE_HZ
from appliance.errors import RecordingError
from appliance.geometry import SPEED_OF_SOUND_M_S, load_array
from appliance.lab.pack import pack_dir
from appliance.lab.recipe import Recipe, SourcePlan
from appliance.types import Float32Array

LABEL_SAMPLES = HOP_SAMPLES * HOPS_PER_LABEL
_WINDOW = 4096
_BED_WAVES = 48
_BAND_HZ = (100.0, 7500.0)
_ACTIVE_BELOW_PEAK_DB = 25.0


@dataclass(frozen=True, slots=True)
class SourceTruth:
    """What one source really did."""

    label: str
    active: npt.NDArray[np.bool_]
    """(label frames,)."""
    azimuth_deg: npt.NDArray[np.float64]
    """(label frames,)."""
    elevation_deg: npt.NDArray[np.float64]
    """(label frames,)."""


@dataclass(frozen=True, slots=True)
class RenderedScene:
    """Signals (mics, n) and the truth of each source."""

    samples: Float32Array
    sources: tuple[SourceTruth, ...]


def render(recipe: Recipe) -> RenderedScene:
    """Render a scene. Raises `RecordingError` where a recording cannot be read."""
    rng = np.random.default_rng(recipe.seed)
    geometry = load_array(recipe.array)
    length = int(recipe.seconds * SAMPLE_RATE_HZ) // LABEL_SAMPLES * LABEL_SAMPLES
    level = 10.0 ** (recipe.bed_dbfs / 20.0)
    mixture = _diffuse(rng, recipe, geometry.positions_m, length) * level
    if recipe.wind_db is not None:
        mixture += level * 10.0 ** (recipe.wind_db / 20.0) * _wind(rng, geometry.mics, length)
    self_noise = rng.standard_normal((geometry.mics, length))
    mixture += level * 10.0 ** (recipe.self_noise_db / 20.0) * self_noise / _band_rms(self_noise[0])
    reference = _band_rms(mixture[0])
    truths = []
    for plan in recipe.sources:
        dry, active = _dry(plan, length)
        azimuth_deg, elevation_deg = _directions(plan, length // LABEL_SAMPLES)
        wet = _plane_wave(dry, azimuth_deg, elevation_deg, geometry.positions_m)
        if recipe.ground_reflection > 0.0:
            wet += _ground(dry, azimuth_deg, elevation_deg, geometry.positions_m, recipe)
        sounding = np.repeat(active, LABEL_SAMPLES)
        rms = _band_rms(wet[0], sounding) if active.any() else 1.0
        mixture += wet * (reference * 10.0 ** (plan.snr_db / 20.0) / max(rms, 1e-12))
        truths.append(SourceTruth(plan.label, active, azimuth_deg, elevation_deg))
    return RenderedScene(np.clip(mixture, -1.0, 1.0).astype(np.float32), tuple(truths))


@lru_cache(maxsize=256)
def _recording(clip: str) -> npt.NDArray[np.float64]:
    path = pack_dir() / clip
    try:
        samples, _ = soundfile.read(path, dtype="float64")
    except (soundfile.LibsndfileError, OSError) as error:
        raise RecordingError(f"{path}: cannot be read ({error}); fetch the audio pack again") from error
    return np.asarray(samples - samples.mean(), np.float64)


def _looped(samples: npt.NDArray[np.float64], length: int) -> npt.NDArray[np.float64]:
    """Exactly `length` samples: cut, or repeated with seams cross-faded over 50 ms."""
    fade = min(800, len(samples) // 4)
    out = samples.copy()
    ramp = np.sin(np.linspace(0.0, np.pi / 2, fade)) ** 2
    while len(out) < length:
        out[-fade:] = out[-fade:] * (1.0 - ramp) + samples[:fade] * ramp
        out = np.concatenate([out, samples[fade:]])
    return out[:length]


def _dry(plan: SourcePlan, length: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """The source alone (length,), and in which label frames it sounds."""
    start = int(plan.start_s * SAMPLE_RATE_HZ)
    wanted = min(int(plan.seconds * SAMPLE_RATE_HZ), length - start)
    recording = _recording(plan.clip)
    offset = int(plan.offset_s * SAMPLE_RATE_HZ) % max(1, len(recording))
    part = _looped(np.roll(recording, -offset), wanted)
    fade = max(1, min(int(plan.fade_s * SAMPLE_RATE_HZ), wanted // 2))
    ramp = np.minimum(1.0, np.minimum(np.arange(wanted), np.arange(wanted)[::-1]) / fade)
    dry = np.zeros(length)
    dry[start : start + wanted] = part * ramp
    energy = (dry**2).reshape(-1, LABEL_SAMPLES).sum(axis=1)
    sounding = energy[energy > 0]
    threshold = np.percentile(sounding, 95) * 10.0 ** (-_ACTIVE_BELOW_PEAK_DB / 10.0) if len(sounding) else 1.0
    return dry, energy > threshold


def _directions(plan: SourcePlan, labels: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Azimuth and elevation (labels,) in degrees: great-circle-free interpolation between the plan's moments."""
    frame_s = LABEL_SAMPLES / SAMPLE_RATE_HZ
    time_s = (np.arange(labels) + 0.5) * frame_s
    moments_s = np.linspace(plan.start_s, plan.start_s + plan.seconds, len(plan.azimuth_deg))
    azimuth = np.interp(time_s, moments_s, np.unwrap(plan.azimuth_deg, period=360.0))
    elevation = np.interp(time_s, moments_s, plan.elevation_deg)
    return (azimuth + 180.0) % 360.0 - 180.0, elevation


def _plane_wave(
    dry: npt.NDArray[np.float64],
    azimuth_deg: npt.NDArray[np.float64],
    elevation_deg: npt.NDArray[np.float64],
    positions_m: npt.NDArray[np.float64],
) -> npt.NDArray[np.float64]:
    """Dry signal (n,) from directions (labels,) → microphones (mics, n).

    Windows of 256 ms, Hann, 75 % overlap; within a window the direction stands still. A delay of d samples wraps d of
    4096 samples under the window's flank: below −60 dB for the apertures here.
    """
    hop = _WINDOW // 4
    padded = np.concatenate([np.zeros(_WINDOW), dry, np.zeros(2 * _WINDOW)])
    starts = np.arange(0, len(dry) + _WINDOW, hop)
    centre_label = np.clip((starts - _WINDOW // 2) // LABEL_SAMPLES, 0, len(azimuth_deg) - 1)
    vectors = np.array([unit_vector(azimuth_deg[label], elevation_deg[label]) for label in centre_label])
    window = np.hanning(_WINDOW + 1)[:-1]
    frequencies = np.fft.rfftfreq(_WINDOW, 1.0 / SAMPLE_RATE_HZ)
    out = np.zeros((len(positions_m), len(padded)))
    for start, vector in zip(starts, vectors, strict=True):
        part = padded[start : start + _WINDOW]
        if not part.any():
            continue
        spectrum = np.fft.rfft(part * window)
        phase = np.exp(2j * np.pi * frequencies * (positions_m @ vector / SPEED_OF_SOUND_M_S)[:, None])
        out[:, start : start + _WINDOW] += np.fft.irfft(spectrum * phase, n=_WINDOW, axis=1)
    # Hann windows at a quarter of their length add up to 2.
    return out[:, _WINDOW : _WINDOW + len(dry)] / 2.0


def _ground(
    dry: npt.NDArray[np.float64],
    azimuth_deg: npt.NDArray[np.float64],
    elevation_deg: npt.NDArray[np.float64],
    positions_m: npt.NDArray[np.float64],
    recipe: Recipe,
) -> npt.NDArray[np.float64]:
    """The mirror image below the ground: later by the longer way of a plane wave, softer and duller."""
    height = max(recipe.height_m * 2.0 * float(np.sin(np.radians(np.abs(elevation_deg).mean()))), 0.05)
    delay = int(height / SPEED_OF_SOUND_M_S * SAMPLE_RATE_HZ)
    late = np.concatenate([np.zeros(delay), dry[: len(dry) - delay]])
    dull = recipe.ground_reflection * (late + np.concatenate([[0.0], late[:-1]])) / 2.0
    return _plane_wave(dull, azimuth_deg, -np.abs(elevation_deg), positions_m)


def _diffuse(
    rng: np.random.Generator, recipe: Recipe, positions_m: npt.NDArray[np.float64], length: int
) -> npt.NDArray[np.float64]:
    """Ambience (mics, length), band RMS 1: plane waves from everywhere, each a different stretch of the recordings."""
    out = np.zeros((len(positions_m), length))
    beds = [_looped(_recording(clip), length) for clip in recipe.bed] or [rng.standard_normal(length)]
    beds = [bed / max(_band_rms(bed), 1e-9) for bed in beds]
    frequencies = np.fft.rfftfreq(length, 1.0 / SAMPLE_RATE_HZ)
    total = np.zeros((len(positions_m), len(frequencies)), np.complex128)
    for index, vector in enumerate(fibonacci_sphere(_BED_WAVES)):
        stretch = np.roll(beds[index % len(beds)], int(rng.integers(length))) * rng.choice((-1.0, 1.0))
        spectrum = np.fft.rfft(stretch)
        for mic, delay_s in enumerate(positions_m @ vector / SPEED_OF_SOUND_M_S):
            total[mic] += spectrum * np.exp(2j * np.pi * frequencies * delay_s)
    out = np.fft.irfft(total, n=length, axis=1)
    return out / max(_band_rms(out[0]), 1e-9)


def _wind(rng: np.random.Generator, mics: int, length: int) -> npt.NDArray[np.float64]:
    """Turbulence (mics, length), band RMS 1 at the first microphone: steep spectrum, common gusts, no coherence."""
    frequencies = np.fft.rfftfreq(length, 1.0 / SAMPLE_RATE_HZ)
    shape = 1.0 / (1.0 + (frequencies / 40.0) ** 2) ** 1.2
    noise = np.fft.irfft(np.fft.rfft(rng.standard_normal((mics, length)), axis=1) * shape, n=length, axis=1)
    points = length // 8000 + 2
    gust = np.interp(np.arange(length) / 8000.0, np.arange(points), rng.standard_normal(points))
    noise *= np.exp(0.7 * gust)
    return noise / max(_band_rms(noise[0]), 1e-12)


def _band_rms(signal: npt.NDArray[np.floating], where: npt.NDArray[np.bool_] | None = None) -> float:
    """RMS over 100 Hz – 7.5 kHz, of the samples `where` if given."""
    chosen = signal if where is None else signal[where]
    spectrum = np.fft.rfft(chosen)
    frequencies = np.fft.rfftfreq(len(chosen), 1.0 / SAMPLE_RATE_HZ)
    inside = (frequencies >= _BAND_HZ[0]) & (frequencies <= _BAND_HZ[1])
    return float(np.sqrt(2.0 * (np.abs(spectrum[inside]) ** 2).sum()) / len(chosen))


def nearest_truth_deg(truth: SourceTruth, label_frame: int) -> tuple[float, float]:
    """Direction of a source at the active frame nearest to `label_frame`."""
    active = np.flatnonzero(truth.active)
    frame = int(active[np.abs(active - label_frame).argmin()]) if len(active) else label_frame
    vector = unit_vector(truth.azimuth_deg[frame], truth.elevation_deg[frame])
    return azimuth_elevation_deg(vector)
