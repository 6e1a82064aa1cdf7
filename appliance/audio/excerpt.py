"""The last seconds of audio, kept in memory, and an excerpt of them as a file that can be replayed."""

import hashlib
import io
import itertools
import json
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile

from appliance.types import AudioBlock, Float32Array

_FLAC_CHANNELS = 8
"""More than this FLAC does not hold."""

Gaps = tuple[tuple[float, float], ...]


class AudioRing:
    """The latest blocks. It keeps what it is given and copies nothing, so that it costs the pipeline nothing."""

    def __init__(self, hold_s: float) -> None:
        """`hold_s`: seconds of the stream that are kept, lost audio included."""
        self._hold_s = hold_s
        self._blocks: deque[AudioBlock] = deque()

    def push(self, block: AudioBlock) -> None:
        """Take in the next block; what is too old is forgotten."""
        self._blocks.append(block)
        oldest = end_sample(block) - round(self._hold_s * block.sample_rate_hz)
        while self._blocks and end_sample(self._blocks[0]) <= oldest:
            self._blocks.popleft()

    def blocks(self) -> list[AudioBlock]:
        """What is kept, oldest first."""
        return list(self._blocks)


def end_sample(block: AudioBlock) -> int:
    """Index of the first sample after the block."""
    return block.start_sample + int(block.samples.shape[1])


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A stretch of the stream as a file."""

    data: bytes
    """FLAC, or WAV for an array of more than eight microphones."""
    start_utc_ns: int
    """UTC of the first sample."""
    seconds: float
    """Length, lost audio included."""
    gaps: Gaps
    """(offset, length) in seconds of what was lost; it is silent in the file. Length 0: not known how much."""

    @property
    def sha256(self) -> str:
        """Of the file, in hexadecimal."""
        return hashlib.sha256(self.data).hexdigest()


def suffix_for(mics: int) -> str:
    """Of the file of an excerpt."""
    return ".flac" if mics <= _FLAC_CHANNELS else ".wav"


def encode(blocks: Sequence[AudioBlock], *, bits: int, about: dict[str, str]) -> Excerpt:
    """At least one block → a file in microphone order, with `bits` (16 or 24) per sample; `about` goes into its comment.

    Raises `soundfile.LibsndfileError`.
    """
    first, rate_hz = blocks[0], blocks[0].sample_rate_hz
    gaps: list[tuple[float, float]] = []
    mics = first.samples.shape[0]
    buffer = io.BytesIO()
    comment = {**about, "start_utc_ns": first.utc_ns}
    for before, after in itertools.pairwise(blocks):
        if after.gap:
            lost = after.start_sample - end_sample(before)
            gaps.append(((end_sample(before) - first.start_sample) / rate_hz, lost / rate_hz))
    with soundfile.SoundFile(
        buffer,
        "w",
        samplerate=rate_hz,
        channels=mics,
        format=suffix_for(mics)[1:].upper(),
        subtype=f"PCM_{bits}",
    ) as file:
        # Before the first sample: FLAC has its comments in front.
        file.comment = json.dumps(comment | {"gaps": gaps})
        position = first.start_sample
        for block in blocks:
            if (lost := block.start_sample - position) > 0:
                file.write(np.zeros((lost, mics), np.int32))
            file.write(_interleaved(block.samples, bits))
            position = end_sample(block)
    return Excerpt(buffer.getvalue(), first.utc_ns, (position - first.start_sample) / rate_hz, tuple(gaps))


def read_back(path: Path) -> Excerpt:
    """An excerpt that `encode` made and somebody wrote to a file.

    Raises `OSError` or `ValueError` where it is none, `soundfile.LibsndfileError` where it is no audio.
    """
    data = path.read_bytes()
    with soundfile.SoundFile(io.BytesIO(data)) as file:
        about = json.loads(file.comment)
        if not isinstance(about, dict):
            raise ValueError("its comment is none of ours")  # noqa: TRY004 - a value in a file, not a mistake of the caller
        gaps = tuple((float(offset), float(length)) for offset, length in about.get("gaps", []))
        return Excerpt(data, int(about.get("start_utc_ns", 0)), file.frames / float(file.samplerate), gaps)


def _interleaved(samples: Float32Array, bits: int) -> npt.NDArray[np.int32]:
    """(mics, n) → (n, mics) integers as libsndfile takes them, left-justified: what a converter of so many bits gave, to the bit.

    libsndfile's own scale for floats is 2^n - 1, which would not give back what was captured.
    """
    full = 2 ** (bits - 1)
    whole = np.clip(np.rint(samples.T * np.float32(full)), -full, full - 1).astype(np.int32)
    return np.ascontiguousarray(whole << (32 - bits))
