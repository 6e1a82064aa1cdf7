"""Any rate becomes 16 kHz; how the stream was cut never shows."""

import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.audio.resample import Resampler

_RNG = np.random.default_rng(5)


@settings(deadline=None)
@given(
    rate_hz=st.sampled_from([8000, 16000, 22050, 44100, 48000, 96000]),
    cuts=st.lists(st.integers(1, 3000), min_size=1, max_size=12),
)
def test_chunk_size_does_not_matter(rate_hz: int, cuts: list[int]) -> None:
    samples = _RNG.uniform(-1.0, 1.0, (2, sum(cuts))).astype(np.float32)
    resampler = Resampler(2, rate_hz)
    pieces = [resampler.push(piece) for piece in np.split(samples, np.cumsum(cuts)[:-1], axis=1)]
    streamed = np.concatenate([*pieces, resampler.finish()], axis=1)
    at_once = soxr.resample(samples.T.copy(), rate_hz, 16000).T
    assert streamed.shape == at_once.shape
    np.testing.assert_allclose(streamed, at_once, atol=1e-5)


def test_16_khz_passes_to_the_bit() -> None:
    samples = _RNG.uniform(-1.0, 1.0, (4, 1600)).astype(np.float32)
    resampler = Resampler(4, 16000)
    assert np.array_equal(resampler.push(samples), samples)
    assert resampler.finish().shape == (4, 0)


@pytest.mark.parametrize("rate_hz", [44100, 48000])
def test_the_filter_shifts_nothing_in_time(rate_hz: int) -> None:
    """A click half a second in stays half a second in: bearings need all channels, events need their time."""
    click = np.zeros((1, rate_hz), np.float32)
    click[0, rate_hz // 2] = 1.0
    resampler = Resampler(1, rate_hz)
    heard = np.concatenate([resampler.push(click), resampler.finish()], axis=1)
    assert heard.shape == (1, 16000)
    assert int(np.abs(heard[0]).argmax()) == 8000
