"""The streaming transform is the whole-signal transform, however the samples arrive."""

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.dsp.stft import BINS, HOP_SAMPLES, SAMPLE_RATE_HZ, StreamingStft, bin_frequencies_hz, stft


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 1777), min_size=1, max_size=12))
def test_streaming_equals_offline_for_any_chunking(chunks: list[int]) -> None:
    samples = np.random.default_rng(0).standard_normal((3, sum(chunks))).astype(np.float32)
    streaming = StreamingStft(3)
    cuts = np.cumsum([0, *chunks])
    frames = np.concatenate([streaming.push(samples[:, a:b]) for a, b in itertools.pairwise(cuts)])
    np.testing.assert_allclose(frames, stft(samples), atol=1e-5)
    assert frames.shape == (sum(chunks) // HOP_SAMPLES, 3, BINS)


def test_reset_forgets_the_past() -> None:
    samples = np.random.default_rng(1).standard_normal((2, 3200)).astype(np.float32)
    streaming = StreamingStft(2)
    first = streaming.push(samples)
    streaming.reset()
    np.testing.assert_array_equal(streaming.push(samples), first)


def test_a_tone_lands_in_its_bin() -> None:
    tone = np.sin(2 * np.pi * 1000.0 * np.arange(SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ).astype(np.float32)
    spectrum = np.abs(stft(tone))[10]
    assert bin_frequencies_hz()[spectrum.argmax()] == 1000.0
