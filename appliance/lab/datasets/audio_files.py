"""Audio of public sets: files of any rate, and rows of Parquet files that hold whole WAV files."""

import io
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from appliance.dsp.stft import SAMPLE_RATE_HZ
from appliance.errors import RecordingError


@dataclass(frozen=True, slots=True)
class AudioFacts:
    """What the head of an audio file says."""

    rate_hz: int
    channels: int
    seconds: float


def audio_facts(root: Path, path: str) -> AudioFacts:
    """Rate, channels and length of a file, or of a row as `file.parquet#row`. Raises `RecordingError` where unreadable."""
    try:
        info = soundfile.info(_opened(root, path))
    except (soundfile.LibsndfileError, OSError) as error:
        raise RecordingError(f"{root / path}: cannot be read ({error}); fetch it again") from error
    return AudioFacts(info.samplerate, info.channels, info.frames / info.samplerate)


def seconds_of(root: Path, path: str) -> float:
    """Length of a file or row."""
    return audio_facts(root, path).seconds


def read_mono(path: str) -> npt.NDArray[np.float32]:
    """Samples (n,) at 16 kHz with the mean removed, channels averaged; a file, or a row as `file.parquet#row`.

    Raises `RecordingError` where it cannot be read or holds nothing.
    """
    try:
        samples, rate_hz = soundfile.read(_opened(Path(), path), dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, OSError) as error:
        raise RecordingError(f"{path}: cannot be read ({error}); fetch it again") from error
    if not len(samples):
        raise RecordingError(f"{path}: holds no samples; fetch it again")
    mono = soxr.resample(samples.mean(axis=1), rate_hz, SAMPLE_RATE_HZ, quality="HQ")
    return np.asarray(mono - mono.mean(), np.float32)


def _opened(root: Path, path: str) -> Any:
    """What soundfile opens: the path itself, or the bytes of a row."""
    shard, mark, row = path.rpartition("#")
    is_row = bool(mark) and shard.endswith(".parquet")
    file = root / (shard if is_row else path)
    if not file.is_file():
        raise RecordingError(f"{file}: listed, but not there; fetch it")
    return io.BytesIO(_audio_column(file)[int(row)].as_py()["bytes"] or b"") if is_row else file


@lru_cache(maxsize=2)  # rows are read in their order: one shard serves thousands
def _audio_column(shard: Path) -> Any:
    return parquet_columns(shard, ["audio"]).column("audio")


def parquet_columns(shard: Path, names: list[str]) -> Any:
    """Columns of a Parquet file as a pyarrow table. Raises `RecordingError` where it cannot be read or lacks one."""
    from pyarrow import ArrowInvalid, parquet

    try:
        return parquet.read_table(shard, columns=names)
    except (ArrowInvalid, OSError, KeyError) as error:
        reason = str(error).splitlines()[0]
        raise RecordingError(f"{shard}: cannot be read as Parquet ({reason}); fetch it again") from error
