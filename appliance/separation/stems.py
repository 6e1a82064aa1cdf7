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
            reverberation="apart" if any(heard.reverb_apart for heard in objects) else "together",
            objects=tuple(files.stem(heard) for heard in objects),
            residual=_RESIDUAL,
        )
        write_manifest(manifest, folder)
    except (OSError, soundfile.LibsndfileError) as error:
        raise RecordingError(f"{folder}: stems cannot be written there ({error}); give another folder") from error
    return manifest


class _Files:
    """The open files of a folder, one to three per object."""

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
        names = _names(self._objects[piece.track_id])
        sounds = {"foa": piece.foa, "foa_reverb": piece.reverb, "mono": piece.mono}
        for kind, sound in sounds.items():
            if sound is not None:
                self._file(names[kind], 1 if sound.ndim == 1 else len(sound)).write(sound.T)
        if piece.last:
            for name in names.values():
                self._open.pop(name).close()

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
            elevation_valid=heard.elevation_valid,
            path=tuple(path),
            **_names(heard),
        )

    def _file(self, name: str, channels: int) -> soundfile.SoundFile:
        if name not in self._open:
            # Float, so that nothing clips and the sum is exact.
            file = soundfile.SoundFile(self._folder / name, "w", SAMPLE_RATE_HZ, channels, "FLOAT", format="WAV")
            self._open[name] = self._stack.enter_context(file)
        return self._open[name]


def _names(heard: HeardObject) -> dict[str, str]:
    """Files of an object, by their keys in the manifest."""
    name = f"object-{heard.track_id}-{re.sub(r'[^A-Za-z0-9_-]', '_', heard.class_label)}"
    if heard.reverb_apart:
        foa = {"foa": f"{name}.direct.foa.wav", "foa_reverb": f"{name}.reverb.foa.wav"}
    else:
        foa = {"foa": f"{name}.foa.wav"}
    return {"mono": f"{name}.mono.wav", **foa}
