"""Stems as files: the sound of each object and the residual, as 32-bit float WAV with a manifest beside them."""

import contextlib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import soundfile

from appliance.dsp.stft import HOP_SAMPLES, HOPS_PER_LABEL, SAMPLE_RATE_HZ
from appliance.errors import RecordingError
from appliance.geometry import ArrayGeometry
from appliance.separation.extract import Piece, separate
from appliance.separation.manifest import ObjectStem, StemPath, StemsManifest, write_manifest
from appliance.separation.objects import HeardObject
from appliance.types import AudioBlock

_LABEL_FRAME_S = HOP_SAMPLES * HOPS_PER_LABEL / SAMPLE_RATE_HZ
_RESIDUAL = "residual.foa.wav"
_MOST_SAMPLES = 4 * 3600 * SAMPLE_RATE_HZ


def write_stems(
    folder: Path,
    blocks: Iterable[AudioBlock],
    geometry: ArrayGeometry,
    objects: Sequence[HeardObject],
    *,
    recording: str,
    model: str,
) -> StemsManifest:
    """Write the stems of a recording into `folder` and say what is where; the same names are written over.

    Raises `RecordingError` where the folder cannot be written, and what `blocks` raises.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as stack:
            files = _Files(folder, {heard.track_id: heard for heard in objects}, stack)
            for piece in separate(blocks, geometry, objects):
                files.write(piece)
        manifest = StemsManifest(
            recording=recording,
            array=geometry.name,
            model=model,
            sample_rate_hz=SAMPLE_RATE_HZ,
            samples=files.residual_samples,
            objects=tuple(files.stem(heard) for heard in objects),
            residual=_RESIDUAL,
        )
        write_manifest(manifest, folder)
    except (OSError, soundfile.LibsndfileError) as error:
        raise RecordingError(f"{folder}: stems cannot be written there ({error}); give another folder") from error
    return manifest


class _Files:
    """The open files of a folder, one or two per object."""

    def __init__(self, folder: Path, objects: dict[int, HeardObject], stack: contextlib.ExitStack) -> None:
        self._folder, self._objects, self._stack = folder, objects, stack
        self._open: dict[str, soundfile.SoundFile] = {}
        self._span: dict[int, tuple[int, int]] = {}
        self.residual_samples = 0
        """Written of the residual, which is as long as the recording."""

    def write(self, piece: Piece) -> None:
        """Add a piece to its files."""
        if piece.track_id is None:
            self.residual_samples += piece.foa.shape[1]
            if self.residual_samples > _MOST_SAMPLES:
                raise RecordingError(
                    f"{self._folder}: a stem would outgrow WAV's 4 GB; cut the recording into parts of 4 hours"
                )
            self._file(_RESIDUAL, 4).write(piece.foa.T)
            return
        start, samples = self._span.get(piece.track_id, (piece.start_sample, 0))
        self._span[piece.track_id] = start, samples + piece.foa.shape[1]
        name = _name(self._objects[piece.track_id])
        self._file(f"{name}.foa.wav", 4).write(piece.foa.T)
        if piece.mono is not None:
            self._file(f"{name}.mono.wav", 1).write(piece.mono)
        if piece.last:
            for kind in ("foa", "mono"):
                self._open.pop(f"{name}.{kind}.wav").close()

    def stem(self, heard: HeardObject) -> ObjectStem:
        """What was written of an object."""
        start, samples = self._span[heard.track_id]
        path = (
            StemPath(
                time_s=round((heard.first_frame + index) * _LABEL_FRAME_S, 3),
                azimuth_deg=round(moment.azimuth_deg, 1),
                elevation_deg=round(moment.elevation_deg, 1),
                heard=moment.mask is not None,
            )
            for index, moment in enumerate(heard.moments)
        )
        return ObjectStem(
            track_id=heard.track_id,
            class_label=heard.class_label,
            event_ids=tuple(heard.event_ids),
            start_sample=start,
            samples=samples,
            mono=f"{_name(heard)}.mono.wav",
            foa=f"{_name(heard)}.foa.wav",
            elevation_valid=heard.elevation_valid,
            path=tuple(path),
        )

    def _file(self, name: str, channels: int) -> soundfile.SoundFile:
        if name not in self._open:
            # Float, so that nothing clips and the sum is exact.
            file = soundfile.SoundFile(self._folder / name, "w", SAMPLE_RATE_HZ, channels, "FLOAT", format="WAV")
            self._open[name] = self._stack.enter_context(file)
        return self._open[name]


def _name(heard: HeardObject) -> str:
    return f"object-{heard.track_id}-{re.sub(r'[^A-Za-z0-9_-]', '_', heard.class_label)}"
