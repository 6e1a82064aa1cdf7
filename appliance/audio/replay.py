"""Replay of recordings (WAV, FLAC) through the same pipeline as live audio; the outcome never depends on the clock."""

import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import numpy as np
import soundfile

from appliance.audio.resample import Resampler
from appliance.audio.source import BLOCKS_PER_SECOND, SAMPLE_RATE_HZ
from appliance.errors import DENIED, RecordingError
from appliance.geometry import ArrayGeometry
from appliance.types import AudioBlock, Float32Array

_NS_PER_SAMPLE = 1_000_000_000 // SAMPLE_RATE_HZ  # 62500 exactly

# Writers that cannot seek back (a pipe, an unlimited `arecord`) leave one of these as the length of the data.
_UNKNOWN_FROM_BYTES = 0x7FFF0000
_UNKNOWN_FRAMES = 1 << 62
# Floats may exceed full scale, by as much as a volume control does; what is beyond is no sound, and its power no number.
_LOUDEST = 1e3


class ReplaySource:
    """A recording of the array.

    A file with as many channels as the array has microphones is taken to be in microphone order. A file with as many
    channels as the capture device (the array file's `[device] channels`, else its highest `alsa_channel` + 1) is taken
    to be a raw capture, and `alsa_channel` picks the microphones.
    """

    def __init__(
        self, path: str | Path, geometry: ArrayGeometry, *, realtime: bool = False, start_utc_ns: int = 0
    ) -> None:
        """Open the recording; flat out unless `realtime`; its first sample is stamped `start_utc_ns`.

        Raises `RecordingError` where it is missing, unreadable, empty, or has other channels than the array.
        """
        self._path = Path(path)
        self._realtime = realtime
        self._start_utc_ns = start_utc_ns
        self._closing = threading.Event()
        self._file_lock = threading.Lock()
        try:
            self._file = soundfile.SoundFile(self._path)
        except (soundfile.LibsndfileError, OSError, TypeError) as error:
            detail = getattr(error, "error_string", error)
            raise RecordingError(f"{self._path}: {_why_unreadable(self._path, detail)}") from None
        try:
            self._channels = _mic_channels(self._path, self._file.channels, geometry)
            self._promised_frames = _promised_frames(self._path, self._file)
        except RecordingError:
            self._file.close()
            raise

    @property
    def sample_rate_hz(self) -> int:
        """Always 16000."""
        return SAMPLE_RATE_HZ

    @property
    def shortcoming(self) -> str:
        """One line on what the recording lacks of what a unit hears; empty where nothing."""
        recorded_hz = int(self._file.samplerate)
        if recorded_hz >= SAMPLE_RATE_HZ:
            return ""
        missing = f"all above {recorded_hz // 2} Hz, which the unit listens to, is missing"
        return f"{self._path}: recorded at {recorded_hz} Hz: {missing}; record at {SAMPLE_RATE_HZ} Hz or more"

    @property
    def mics(self) -> int:
        """Number of microphones."""
        return len(self._channels)

    @property
    def duration_s(self) -> float | None:
        """Seconds the recording claims to last; None where its header does not say."""
        return None if self._promised_frames is None else self._promised_frames / float(self._file.samplerate)

    def blocks(self) -> Iterator[AudioBlock]:
        """The whole recording in blocks of about 100 ms; to be called once.

        Raises `RecordingError` after the last block that can be read whole where the file holds less than its header
        promises.
        """
        began_s, next_sample = time.monotonic(), 0
        for samples in self._resampled():
            if samples.shape[1] == 0:
                continue
            block = AudioBlock(samples, SAMPLE_RATE_HZ, next_sample, self._start_utc_ns + next_sample * _NS_PER_SAMPLE)
            next_sample += samples.shape[1]
            if self._realtime:
                # A live source hands a block over once its last sample has sounded.
                self._closing.wait(max(0.0, began_s + next_sample / SAMPLE_RATE_HZ - time.monotonic()))
            if self._closing.is_set():
                break
            yield block
        if self._closing.is_set():
            self.close()

    def close(self) -> None:
        """Close the file and end `blocks`."""
        self._closing.set()
        # Whoever holds the lock is inside `blocks`, perhaps in this very thread below a signal handler, and will close.
        if self._file_lock.acquire(blocking=False):
            self._file.close()
            self._file_lock.release()

    def __enter__(self) -> "ReplaySource":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _resampled(self) -> Iterator[Float32Array]:
        """(mics, n) at 16 kHz; the filter's tail comes before a fault of the file is raised."""
        resampler = Resampler(self.mics, int(self._file.samplerate))
        fault: RecordingError | None = None
        try:
            for frames in self._frames():
                yield resampler.push(np.ascontiguousarray(frames[:, self._channels].T))
        except RecordingError as error:
            fault = error
        yield resampler.finish()
        if fault is not None:
            raise fault

    def _frames(self) -> Iterator[Float32Array]:
        """(n, channels) as the file has them."""
        at_once, done = max(1, int(self._file.samplerate) // BLOCKS_PER_SECOND), 0
        while True:
            try:
                with self._file_lock:
                    if self._closing.is_set():
                        return
                    frames = self._file.read(at_once, dtype="float32", always_2d=True)
            except soundfile.LibsndfileError as error:
                raise RecordingError(
                    f"{self._path}: unreadable after {self._seconds(done)} ({error.error_string}); copy the recording again"
                ) from None
            if len(frames) == 0:
                break
            if not np.isfinite(frames).all():
                raise RecordingError(
                    f"{self._path}: holds samples that are not numbers after {self._seconds(done)}; export the recording again"
                )
            if np.abs(frames).max() > _LOUDEST:
                raise RecordingError(
                    f"{self._path}: holds samples beyond ±{_LOUDEST:g} after {self._seconds(done)}, where full scale is ±1; export the recording again"
                )
            done += len(frames)
            yield frames
        if self._promised_frames is not None and done < self._promised_frames:
            raise RecordingError(
                f"{self._path}: truncated: ends after {self._seconds(done)} of {self._seconds(self._promised_frames)}; copy the recording again"
            )

    def _seconds(self, frames: int) -> str:
        return f"{frames / self._file.samplerate:.2f} s"


def _why_unreadable(path: Path, detail: object) -> str:
    """What libsndfile keeps to itself of a file that it could not open."""
    try:
        path.open("rb").close()
    except PermissionError:
        return DENIED
    except FileNotFoundError:
        return "no such file; give a WAV or FLAC file"
    except OSError as error:
        detail = error.strerror
    return f"not a readable recording ({detail}); give a WAV or FLAC file"


def _mic_channels(path: Path, file_channels: int, geometry: ArrayGeometry) -> list[int]:
    """Channel of the file for each microphone."""
    if file_channels == geometry.mics:
        return list(range(geometry.mics))
    device_channels = geometry.device.channels or max(geometry.alsa_channels) + 1
    if file_channels == device_channels:
        return list(geometry.alsa_channels)
    expected = f"{geometry.mics} (microphone order)"
    if device_channels != geometry.mics:
        expected += f" or {device_channels} (raw capture)"
    raise RecordingError(
        f"{path}: has {file_channels} channels, array {geometry.name!r} needs {expected}; name the array it was recorded with (--array)"
    )


def _promised_frames(path: Path, file: soundfile.SoundFile) -> int | None:
    """Frames the header promises; None where it does not say."""
    frames: int | None = int(file.frames)
    if file.format in ("WAV", "WAVEX", "RF64"):
        # libsndfile quietly cuts a WAV's length down to what the file holds, so the header is read here.
        with path.open("rb") as stream:
            data_bytes = _wav_data_bytes(stream)
        block_align = _bytes_per_frame(file)
        if data_bytes is None:
            frames = None
        elif block_align is not None:
            frames = data_bytes // block_align
    if frames is not None and frames >= _UNKNOWN_FRAMES:
        frames = None
    if file.frames == 0:
        raise RecordingError(f"{path}: holds no audio; record it again")
    return frames


def _bytes_per_frame(file: soundfile.SoundFile) -> int | None:
    """Bytes of one sample of every channel; None for compressed samples, whose frame count libsndfile knows."""
    sample_bytes = {"PCM_U8": 1, "PCM_16": 2, "PCM_24": 3, "PCM_32": 4, "FLOAT": 4, "DOUBLE": 8}.get(file.subtype)
    return None if sample_bytes is None else sample_bytes * int(file.channels)


def _wav_data_bytes(stream: BinaryIO) -> int | None:
    """Length of the data chunk as a RIFF (or RF64, EBU Tech 3306) header states it; None where it does not."""
    ds64_data_bytes: int | None = None
    stream.seek(12)
    while len(header := stream.read(8)) == 8:
        name, size = struct.unpack("<4sI", header)
        if name == b"data":
            if size == 0xFFFFFFFF and ds64_data_bytes is not None:
                return ds64_data_bytes
            return None if size >= _UNKNOWN_FROM_BYTES else int(size)
        body = stream.tell()
        if name == b"ds64":
            ds64_data_bytes = struct.unpack("<QQ", stream.read(16))[1]
        stream.seek(body + size + size % 2)
    return None
