"""Frames in, frames out, and nothing lost between."""

import numpy as np
import pytest

from appliance.lab.world.overlap_add import add, cut, frame_count, hann
from appliance.lab.world.slow_filter import filter_frequencies_hz, frame_times_s, slow_filter

RATE_HZ = 16_000


@pytest.mark.parametrize("length", [1, 511, 512, 513, 1024, 5000])
@pytest.mark.parametrize(("size", "hop"), [(1024, 512), (1024, 256)])
def test_cut_windowed_and_added_is_what_it_was(length: int, size: int, hop: int) -> None:
    signal = np.random.default_rng(length).standard_normal((2, length))
    frames = cut(signal, size, hop)
    assert frames.shape == (2, frame_count(length, size, hop), size)
    again = add(frames * hann(size), hop)[:, size - hop : size - hop + length]
    np.testing.assert_allclose(again * 2 * hop / size, signal, atol=1e-12)


def test_a_still_filter_is_a_convolution() -> None:
    rng = np.random.default_rng(1)
    signal, taps = rng.standard_normal(20_000), rng.standard_normal(300) * np.hanning(300)
    response = np.fft.rfft(taps, 2 * (len(filter_frequencies_hz()) - 1))
    np.testing.assert_allclose(slow_filter(signal, response), np.convolve(signal, taps)[:20_000], atol=1e-10)


def test_a_filter_may_look_ahead() -> None:
    signal = np.random.default_rng(2).standard_normal(9000)
    earlier = np.exp(2j * np.pi * filter_frequencies_hz() * 100 / RATE_HZ)
    np.testing.assert_allclose(slow_filter(signal, earlier)[:-100], signal[100:], atol=1e-10)


def test_a_gain_that_drifts_is_read_at_the_frames_middles() -> None:
    """Between frames Hann flanks interpolate smoothly; a linear ramp comes out as it is to 1 %."""
    signal = np.ones(64_000)
    times_s = frame_times_s(len(signal))
    assert np.diff(times_s) == pytest.approx(0.032)
    gains = (1.0 + times_s)[:, None] * np.ones(len(filter_frequencies_hz()))
    np.testing.assert_allclose(slow_filter(signal, gains), 1.0 + np.arange(64_000) / RATE_HZ, rtol=0.01)


def test_silence_stays_silence() -> None:
    assert not slow_filter(np.zeros(5000), np.ones(len(filter_frequencies_hz()))).any()
