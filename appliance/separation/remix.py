"""Stems put together again, each as one wants it: louder, softer, silent, or from another direction."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from appliance.angles import unit_vector
from appliance.dsp.foa import foa_gains
from appliance.errors import RecordingError
from appliance.separation.manifest import ObjectStem, read_manifest
from appliance.types import Float32Array

_CHUNK_SAMPLES = 16_000


@dataclass(frozen=True, slots=True)
class Edit:
    """What becomes of one stem."""

    gain: float = 1.0
    """Factor of its amplitude; 0 mutes it."""
    direction_deg: tuple[float, float] | None = None
    """(azimuth, elevation) that it comes from instead of its own: its mono beam, encoded there."""
    dry: bool = False
    """Without its reverberant sound. Else that stays where it is, also where the object is moved."""


def remix(folder: Path, edits: Mapping[int, Edit], residual_gain: float = 1.0) -> Iterator[Float32Array]:
    """First-order Ambisonics [W, Y, Z, X] (4, n), piece by piece; without edits it is what the array heard.

    `edits` by track id; a stem without one stays as it is. Raises `RecordingError` where a stem is missing, cut short or
    no stem of this manifest, and where an edit names no object or would dry what lies in one stem with its reverberation.
    """
    manifest = read_manifest(folder)
    known = {stem.track_id for stem in manifest.objects}
    if unknown := sorted(set(edits) - known):
        named = ", ".join(map(str, sorted(known))) or "none"
        raise RecordingError(f"{folder}: no object {unknown[0]} there; it has: {named}")
    if manifest.reverberation == "together" and any(edit.dry for edit in edits.values()):
        raise RecordingError(
            f"{folder}: its model ({manifest.model}) does not tell reverberation apart; write the stems with one that does"
        )
    with ExitStack() as stack:
        residual = stack.enter_context(_Reader(folder / manifest.residual, 4, 0, manifest.samples))
        parts = [(_Stem(folder, stem, stack, edits.get(stem.track_id, Edit()))) for stem in manifest.objects]
        for start in range(0, manifest.samples, _CHUNK_SAMPLES):
            stop = min(start + _CHUNK_SAMPLES, manifest.samples)
            mix = residual_gain * residual.read(start, stop)
            for part in parts:
                part.add_to(mix, start, stop)
            yield mix


class _Stem:
    """One object with its edit."""

    def __init__(self, folder: Path, stem: ObjectStem, stack: ExitStack, edit: Edit) -> None:
        self._start, self._stop = stem.start_sample, stem.start_sample + stem.samples
        self._gain = edit.gain
        self._pan: Float32Array | None = None
        name, channels = stem.foa, 4
        if edit.direction_deg is not None:
            self._pan = foa_gains(unit_vector(*edit.direction_deg)[None]).astype(np.float32)
            name, channels = stem.mono, 1
        self._reader = stack.enter_context(_Reader(folder / name, channels, stem.start_sample, stem.samples))
        self._reverb: _Reader | None = None
        if stem.foa_reverb is not None and not edit.dry:
            reverb = _Reader(folder / stem.foa_reverb, 4, stem.start_sample, stem.samples)
            self._reverb = stack.enter_context(reverb)

    def add_to(self, mix: Float32Array, start: int, stop: int) -> None:
        """Add what lies within [start, stop) of the recording."""
        first, end = max(start, self._start), min(stop, self._stop)
        if first >= end or self._gain == 0.0:
            return
        sound = self._reader.read(first, end)
        if self._pan is not None:
            sound = self._pan * sound
        if self._reverb is not None:
            sound = sound + self._reverb.read(first, end)
        mix[:, first - start : end - start] += self._gain * sound


class _Reader:
    """A stem file, read by samples of the recording."""

    def __init__(self, path: Path, channels: int, start_sample: int, samples: int) -> None:
        self._path, self._start = path, start_sample
        try:
            self._file = soundfile.SoundFile(path)
        except (soundfile.LibsndfileError, OSError) as error:
            raise RecordingError(f"{path}: cannot be read ({error}); write the stems again") from None
        if (self._file.channels, self._file.frames) != (channels, samples):
            self._file.close()
            raise RecordingError(
                f"{path}: {self._file.channels} channels of {self._file.frames} samples are not the {channels} of {samples} that the manifest says; write the stems again"
            )

    def __enter__(self) -> "_Reader":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def read(self, start: int, stop: int) -> Float32Array:
        """(channels, stop - start)."""
        self._file.seek(start - self._start)
        samples: Float32Array = self._file.read(stop - start, dtype="float32", always_2d=True).T
        return np.ascontiguousarray(samples)
