"""What the network hears: bounded, independent of gain, the same however blocks are cut."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.dsp.features import BAND_EDGES, BANDS, FEATURES, FeatureExtractor, SlowLevel
from appliance.dsp.stft import HOP_SAMPLES, SAMPLE_RATE_HZ
from appliance.geometry import load_array
from appliance.types import AudioBlock, Float32Array

_ARRAY = load_array("tetrahedron_4cm2")


def block(samples: Float32Array, start: int = 0) -> AudioBlock:
    return AudioBlock(samples, SAMPLE_RATE_HZ, start, 1_000_000_000 + start * 62_500)


def noise(seconds: float, seed: int = 0) -> Float32Array:
    shape = (_ARRAY.mics, int(seconds * SAMPLE_RATE_HZ))
    return (0.05 * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(1, 3001), min_size=1, max_size=8))
def test_streaming_equals_whole_for_any_blocks(chunks: list[int]) -> None:
    samples = noise(sum(chunks) / SAMPLE_RATE_HZ + 0.001)[:, : sum(chunks)]
    whole = FeatureExtractor(_ARRAY).push(block(samples))
    streamed, extractor, start = [], FeatureExtractor(_ARRAY), 0
    for length in chunks:
        streamed += extractor.push(block(samples[:, start : start + length], start))
        start += length
    assert [frame.utc_ns for frame in streamed] == [frame.utc_ns for frame in whole]
    assert [frame.end_s for frame in streamed] == pytest.approx([0.02 * (index + 1) for index in range(len(whole))])
    for one, other in zip(streamed, whole, strict=True):
        np.testing.assert_allclose(one.values, other.values, atol=3e-3)
    if streamed:
        joint = np.concatenate([frame.samples for frame in streamed], axis=1)
        np.testing.assert_array_equal(joint, samples[:, : len(streamed) * HOP_SAMPLES])


def test_values_are_bounded_and_complete() -> None:
    frames = FeatureExtractor(_ARRAY).push(block(noise(1.0)))
    values = np.stack([frame.values for frame in frames])
    assert values.shape == (50, FEATURES, BANDS)
    assert np.isfinite(values).all()
    assert np.abs(values[:, 1:7]).max() <= 1.0 + 1e-5
    assert np.abs(values[:, 7]).max() <= 4.0
    assert np.abs(values[:, 0]).max() <= 3.0


def test_digital_silence_is_finite() -> None:
    frames = FeatureExtractor(_ARRAY).push(block(np.zeros((4, 16000), np.float32)))
    assert all(np.isfinite(frame.values).all() for frame in frames)


@pytest.mark.parametrize("gain_db", [-30.0, 20.0])
def test_microphone_gain_does_not_matter(gain_db: float) -> None:
    samples = noise(1.0)
    plain = FeatureExtractor(_ARRAY).push(block(samples))
    louder = FeatureExtractor(_ARRAY).push(block(samples * np.float32(10 ** (gain_db / 20))))
    np.testing.assert_allclose(louder[-1].values, plain[-1].values, atol=1e-3)


def test_slow_level_starts_unbiased() -> None:
    level = SlowLevel().push(np.full((3, BANDS), -5.0, np.float32))
    np.testing.assert_allclose(level, 0.0, atol=1e-6)


def test_reset_forgets() -> None:
    extractor = FeatureExtractor(_ARRAY)
    first = [frame.values for frame in extractor.push(block(noise(0.5)))]
    extractor.reset()
    again = extractor.push(block(noise(0.5), 5 * SAMPLE_RATE_HZ))
    np.testing.assert_array_equal(np.stack([frame.values for frame in again]), np.stack(first))
    assert again[0].end_s == pytest.approx(5.02)


def test_rotor_harmonics_have_bins_of_their_own() -> None:
    assert (np.diff(BAND_EDGES)[:28] == 1).all()
