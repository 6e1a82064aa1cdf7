"""From microphones and masks to the sound of each object, streamed: what stems are made of."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from appliance.dsp.stft import BINS, HOP_SAMPLES, HOPS_PER_LABEL, StreamingStft
from appliance.geometry import ArrayGeometry
from appliance.separation.objects import HeardObject
from appliance.separation.separator import Separator
from appliance.separation.synthesis import LATENCY_SAMPLES, StreamingIstft
from appliance.types import AudioBlock, Complex64Array, Float32Array


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """A run of samples of one object or of the residual. Those of one object follow each other without a hole."""

    track_id: int | None
    """Whose sound it is; None: the residual, which is what belongs to no object."""
    start_sample: int
    """Of the recording."""
    foa: Float32Array
    """(4, n) first-order Ambisonics [W, Y, Z, X] (ACN/SN3D): the object's share of what the array heard; its direct sound
    alone where there is `reverb`."""
    mono: Float32Array | None = None
    """(n,) the object alone, by the MVDR beam and its share of that, dry where its direct sound is known; None for the residual."""
    reverb: Float32Array | None = None
    """(4, n) what of its share came by way of ground and walls; None where the model does not tell it apart."""
    last: bool = False
    """True where nothing of this object follows, unless the recording ends before that."""


def separate(blocks: Iterable[AudioBlock], geometry: ArrayGeometry, objects: Sequence[HeardObject]) -> Iterator[Piece]:
    """The sound of every object, and the residual over the whole recording; together they are what the array heard.

    `blocks` are those, without gaps, that the objects were heard in. At every sample the FOA of all pieces, `reverb`
    included, adds up to the FOA of the recording: `Separator` shares it out, and the residual is the rest.
    """
    separator, residual = Separator(geometry), _Voice(0)
    waiting, voices = sorted(objects, key=lambda heard: heard.first_frame), dict[int, tuple[HeardObject, _Voice]]()
    for frame, (spectrum, total_samples) in enumerate(_label_frames(blocks, geometry.mics)):
        while waiting and waiting[0].first_frame <= frame:
            heard = waiting.pop(0)
            voices[heard.track_id] = heard, _Voice(heard.first_frame)
        sounding = {
            track_id: heard.moments[frame - heard.first_frame]
            for track_id, (heard, _) in voices.items()
            if frame - heard.first_frame < len(heard.moments)
        }
        everything, found = separator.push(spectrum, sounding)
        rest = everything
        for track_id, (heard, voice) in list(voices.items()):
            sounds = np.zeros((len(spectrum), 9 if heard.reverb_apart else 5, BINS), np.complex64)
            if apart := found.get(track_id):
                rest = rest - apart.share[:, None] * everything
                sounds[:, :4] = apart.direct[:, None] * everything
                sounds[:, 4] = apart.gain * apart.beam
                if heard.reverb_apart:
                    sounds[:, 5:] = (apart.share - apart.direct)[:, None] * everything
            # One label frame beyond its last has brought all its samples out.
            yield voice.say(sounds, track_id, total_samples, last=apart is None)
            if apart is None:
                del voices[track_id]
        yield residual.say(rest, None, total_samples)


class _Voice:
    """Spectra → pieces of one object or the residual."""

    def __init__(self, first_frame: int) -> None:
        self._istft: StreamingIstft | None = None
        self._sample = first_frame * HOPS_PER_LABEL * HOP_SAMPLES - LATENCY_SAMPLES

    def say(self, frames: Complex64Array, track_id: int | None, total_samples: int, *, last: bool = False) -> Piece:
        """(hops, 4, 5 or 9, bins): Ambisonics, then the mono beam, then the Ambisonics of the reverberant sound; nothing
        before the recording's start or after its end.
        """
        if self._istft is None:
            self._istft = StreamingIstft(frames.shape[1])
        samples = self._istft.push(frames)
        before = max(0, -self._sample)
        samples = samples[:, before : max(before, total_samples - self._sample)]
        start, self._sample = self._sample + before, self._sample + len(frames) * HOP_SAMPLES
        mono = samples[4] if len(samples) > 4 else None
        return Piece(track_id, start, samples[:4], mono, samples[5:] if len(samples) > 5 else None, last)


def _label_frames(blocks: Iterable[AudioBlock], mics: int) -> Iterator[tuple[Complex64Array, int]]:
    """Spectra (hops, mics, bins) of each label frame and the samples that there are as far as is known.

    Silence is heard after the end, until the last sample has come out of the synthesis; the last frame may be short.
    """
    stft, pending, total = StreamingStft(mics), np.empty((0, mics, BINS), np.complex64), 0

    def samples() -> Iterator[tuple[Float32Array, bool]]:
        nonlocal total
        for block in blocks:
            total += block.samples.shape[1]
            yield block.samples, False
        yield np.zeros((mics, LATENCY_SAMPLES + -(total + LATENCY_SAMPLES) % HOP_SAMPLES), np.float32), True

    for heard, last in samples():
        pending = np.concatenate([pending, stft.push(heard)])
        whole = len(pending) // HOPS_PER_LABEL * HOPS_PER_LABEL
        ends = [
            *range(HOPS_PER_LABEL, whole + 1, HOPS_PER_LABEL),
            *([len(pending)] if last and whole < len(pending) else []),
        ]
        for start, stop in itertools.pairwise([0, *ends]):
            yield pending[start:stop], total
        pending = pending[ends[-1] :] if ends else pending
