"""Detectors without training, for comparison: they enter `pipeline.run` where the network does, and know one class.

- `srp_energy`: whatever is louder than the background and comes from one direction is a drone (SRP-PHAT and a gate).
- `harmonic_comb`: whatever has many evenly spaced lines is one; SRP-PHAT over those lines says where.

Both give a score per label frame. A logistic turns it into an activity that is ½ at the threshold, so that the tracker
and the policy of the field apply; thresholds are set by `lab.judge.calibrate` on recordings of fold 4.
"""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
from scipy.ndimage import median_filter

from appliance.dsp.hops import Hops
from appliance.dsp.srp import SrpPhat
from appliance.dsp.stft import HOP_SAMPLES, HOPS_PER_LABEL, SAMPLE_RATE_HZ, StreamingStft, bin_frequencies_hz
from appliance.geometry import ArrayGeometry
from appliance.lab.hear import BareModel
from appliance.types import AudioBlock, Complex64Array, Direction, FeatureFrame, Float32Array, SceneFrame, SceneObject

Floats = npt.NDArray[np.float64]

_NO_FEATURES = np.zeros((0, 0), np.float32)
_LABEL_SAMPLES = HOPS_PER_LABEL * HOP_SAMPLES
_AVERAGING_FRAMES = 25.0
_SIGMA_DEG = 5.0

_GATE_DB = 1.0
_FLOOR_LABELS = 100
_FLOOR_PERCENTILE = 20.0
_LEVEL_HZ = (100.0, 7500.0)

_COMB_WINDOW = 2048
_COMB_LABELS = 5
_COMB_F0_HZ = np.arange(60.0, 300.0, 0.5)
_COMB_BAND_HZ = (100.0, 2500.0)
_ENVELOPE_HZ = 500.0
_LINE_NEPER = (-1.0, 3.0)


class Detector(Protocol):
    """Hears one label frame at a time."""

    score_scale: float
    """How far beyond the threshold a score has to be for an activity of 0.73."""

    def hear(self, waves: Float32Array, spectra: Complex64Array) -> tuple[float, Direction]:
        """Score and direction of a label frame: mean of the microphones (samples,), spectra (hops, mics, bins)."""


class SrpEnergy:
    """SRP-PHAT's power at its peak, 0 where the level is less than 1 dB above its floor.

    The floor is the 20th percentile of the last ten seconds.
    """

    score_scale = 0.04

    def __init__(self, geometry: ArrayGeometry) -> None:
        self._srp = SrpPhat(geometry, averaging_frames=_AVERAGING_FRAMES)
        hz = bin_frequencies_hz()
        self._bins = (hz >= _LEVEL_HZ[0]) & (hz <= _LEVEL_HZ[1])
        self._levels_db: deque[float] = deque(maxlen=_FLOOR_LABELS)

    def hear(self, waves: Float32Array, spectra: Complex64Array) -> tuple[float, Direction]:  # noqa: ARG002 (the verb is shared)
        """As `Detector` says."""
        power = float((np.abs(spectra[:, :, self._bins]) ** 2).mean(dtype=np.float64))
        level_db = 10.0 * math.log10(power + 1e-20)
        self._levels_db.append(level_db)
        floor_db = float(np.percentile(self._levels_db, _FLOOR_PERCENTILE))
        self._srp.push(spectra)
        direction, coherence = self._srp.peak()
        return coherence if level_db >= floor_db + _GATE_DB else 0.0, direction


class HarmonicComb:
    """How far the lines of the best-fitting harmonic series stand above the gaps between them, in standard errors.

    Log power of the microphones' mean over half a second, its envelope taken off by a running median; for each
    fundamental the mean over harmonics minus the mean half-way between them, times the root of their number. The idea is
    Schroeder's harmonic product spectrum (*Period histogram and product spectrum*, JASA 43, 1968), in logarithms.
    """

    score_scale = 0.5

    def __init__(self, geometry: ArrayGeometry) -> None:
        self._srp = SrpPhat(geometry, f_min_hz=_COMB_BAND_HZ[0], averaging_frames=_AVERAGING_FRAMES)
        self._wave = np.zeros(_COMB_WINDOW)
        self._powers: deque[Floats] = deque(maxlen=_COMB_LABELS)
        self._window = np.hanning(_COMB_WINDOW + 1)[:-1]
        self._comb = _comb_weights()

    def hear(self, waves: Float32Array, spectra: Complex64Array) -> tuple[float, Direction]:
        """As `Detector` says."""
        self._wave = np.concatenate([self._wave, waves.astype(np.float64)])[-_COMB_WINDOW:]
        self._powers.append(np.abs(np.fft.rfft(self._wave * self._window)) ** 2)
        log_power = np.log(np.mean(self._powers, axis=0) + 1e-12)
        step_hz = SAMPLE_RATE_HZ / _COMB_WINDOW
        lines = np.clip(log_power - median_filter(log_power, round(_ENVELOPE_HZ / step_hz) | 1), *_LINE_NEPER)
        scores = self._comb @ lines
        best = int(scores.argmax())
        self._srp.push(spectra, np.tile(_near_harmonics(float(_COMB_F0_HZ[best])), (len(spectra), 1)))
        direction, _ = self._srp.peak()
        return float(scores[best]), direction


def _comb_weights() -> Floats:
    """(fundamentals, bins): + at harmonics, − half-way between, each row scaled to unit variance per harmonic."""
    step_hz = SAMPLE_RATE_HZ / _COMB_WINDOW
    weights = np.zeros((len(_COMB_F0_HZ), _COMB_WINDOW // 2 + 1))
    for row, f0_hz in zip(weights, _COMB_F0_HZ, strict=True):
        numbers = np.arange(math.ceil(_COMB_BAND_HZ[0] / f0_hz), math.floor(_COMB_BAND_HZ[1] / f0_hz) + 1)
        for offset, sign in ((0.0, 1.0), (0.5, -1.0)):
            places = (numbers - offset) * f0_hz / step_hz
            left = places.astype(int)
            np.add.at(row, left, sign * (1.0 - (places - left)))
            np.add.at(row, left + 1, sign * (places - left))
        row /= math.sqrt(len(numbers))
    return weights


def _near_harmonics(f0_hz: float) -> Float32Array:
    """(bins,) 1 within a bin of a harmonic in the comb's band, else 0."""
    hz = bin_frequencies_hz()
    off_hz = np.abs(hz - np.maximum(np.round(hz / f0_hz), 1.0) * f0_hz)
    inside = (hz >= _COMB_BAND_HZ[0]) & (hz <= _COMB_BAND_HZ[1])
    return ((off_hz <= hz[1]) & inside).astype(np.float32)


DETECTORS: dict[str, type[SrpEnergy] | type[HarmonicComb]] = {"srp-energy": SrpEnergy, "harmonic-comb": HarmonicComb}


class _RawFrames:
    """Front end of the baselines: hops of samples, and no features."""

    def __init__(self) -> None:
        self._hops = Hops()

    def reset(self) -> None:
        """Forget what was heard."""
        self._hops.reset()

    def push(self, block: AudioBlock) -> list[FeatureFrame]:
        """The hops that the block completes."""
        mics = tuple(range(len(block.samples)))
        return [FeatureFrame(_NO_FEATURES, hop.samples, mics, hop.end_s, hop.utc_ns) for hop in self._hops.push(block)]


class _BaselineModel(BareModel):
    """A detector in the network's place: one slot, one class."""

    classes = ("drone",)
    frames_per_step = HOPS_PER_LABEL

    def __init__(self, detector: type[SrpEnergy] | type[HarmonicComb], geometry: ArrayGeometry, threshold: float):
        super().__init__()
        self._new, self._geometry, self._threshold = detector, geometry, threshold
        self.reset()

    def reset(self) -> None:
        """Forget what was heard."""
        self._detector = self._new(self._geometry)
        self._stft = StreamingStft(self._geometry.mics)

    def step(self, frames: Sequence[FeatureFrame]) -> SceneFrame:
        """Hear one label frame."""
        samples = np.concatenate([frame.samples for frame in frames], axis=1)
        score, direction = self._detector.hear(samples.mean(axis=0), self._stft.push(samples))
        activity = 1.0 / (1.0 + math.exp(-(score - self._threshold) / self._detector.score_scale))
        drone = SceneObject(0, activity, np.ones(1, np.float32), direction, _SIGMA_DEG)
        return SceneFrame((drone,), frames[-1].end_s, frames[-1].utc_ns)


@dataclass(frozen=True, slots=True)
class BaselineSystem:
    """A baseline at a threshold of its score, as a `hear.System`."""

    name: str
    """One of `DETECTORS`."""
    threshold: float = 0.0
    """Score at which the activity is ½."""

    def stages(self, geometry: ArrayGeometry) -> tuple[_RawFrames, _BaselineModel]:
        """As `hear.System` says."""
        return _RawFrames(), _BaselineModel(DETECTORS[self.name], geometry, self.threshold)

    def scores(self, samples: Float32Array, geometry: ArrayGeometry) -> Floats:
        """(label frames,) the detector's score of samples (mics, n), no threshold applied."""
        detector, heard = DETECTORS[self.name](geometry), StreamingStft(geometry.mics)
        labels = [samples[:, at : at + _LABEL_SAMPLES] for at in range(0, samples.shape[1], _LABEL_SAMPLES)]
        whole = [label for label in labels if label.shape[1] == _LABEL_SAMPLES]
        return np.array([detector.hear(label.mean(axis=0), heard.push(label))[0] for label in whole])
