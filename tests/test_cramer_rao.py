"""The bound against its closed form, and SRP-PHAT against the bound."""

import math

import numpy as np
import pytest

from appliance.angles import unit_vector
from appliance.dsp.srp import SrpPhat
from appliance.dsp.stft import stft
from appliance.geometry import SPEED_OF_SOUND_M_S, ArrayGeometry, load_array
from appliance.lab.metrics.cramer_rao import azimuth_crb_deg, mean_azimuth_crb_deg

RATE_HZ = 16_000


def ring(mics: int, radius_m: float) -> ArrayGeometry:
    angle = 2.0 * np.pi * np.arange(mics) / mics
    positions_m = radius_m * np.stack([np.cos(angle), np.sin(angle), np.zeros(mics)], axis=1)
    return ArrayGeometry("ring", positions_m, tuple(range(mics)))


@pytest.mark.parametrize("snr_db", [-20.0, 0.0, 20.0])
def test_a_ring_in_incoherent_noise_has_the_closed_form(snr_db: float) -> None:
    """Information 2T·M·snr²/(1 + M·snr)·(2π)²·M·r²/(2c²)·∫f² df, the centroid being the origin."""
    mics, radius_m, seconds, (low_hz, high_hz) = 6, 0.05, 0.3, (200.0, 3200.0)
    snr = 10.0 ** (snr_db / 10.0)
    slope = mics * radius_m**2 / (2.0 * SPEED_OF_SOUND_M_S**2)
    frequencies = (2.0 * math.pi) ** 2 * (high_hz**3 - low_hz**3) / 3.0
    information = 2.0 * seconds * mics * snr**2 / (1.0 + mics * snr) * slope * frequencies
    bound_deg = azimuth_crb_deg(
        ring(mics, radius_m), snr_db, seconds=seconds, azimuth_deg=33.0, band_hz=(low_hz, high_hz)
    )
    assert bound_deg == pytest.approx(math.degrees(1.0 / math.sqrt(information)), rel=1e-3)


def test_four_times_as_long_halves_it_and_so_does_twice_the_size() -> None:
    small = azimuth_crb_deg(ring(5, 0.03), 0.0, seconds=1.0)
    assert azimuth_crb_deg(ring(5, 0.03), 0.0, seconds=4.0) == pytest.approx(small / 2.0)
    assert azimuth_crb_deg(ring(5, 0.06), 0.0, seconds=1.0) == pytest.approx(small / 2.0)


def test_a_high_source_has_a_worse_azimuth() -> None:
    at_horizon = azimuth_crb_deg(ring(6, 0.05), 10.0, seconds=1.0)
    assert azimuth_crb_deg(ring(6, 0.05), 10.0, seconds=1.0, elevation_deg=60.0) == pytest.approx(2.0 * at_horizon)


def test_microphones_far_apart_do_not_tell_diffuse_noise_from_incoherent() -> None:
    wide = ring(4, 20.0)
    incoherent = azimuth_crb_deg(wide, 0.0, seconds=1.0)
    assert azimuth_crb_deg(wide, 0.0, seconds=1.0, diffuse=True) == pytest.approx(incoherent, rel=0.02)


def test_the_mean_over_azimuths_of_a_ring_is_the_bound_at_any() -> None:
    mean = mean_azimuth_crb_deg(ring(6, 0.05), 0.0, seconds=1.0, diffuse=False)
    assert mean == pytest.approx(azimuth_crb_deg(ring(6, 0.05), 0.0, seconds=1.0, azimuth_deg=7.0), rel=1e-6)


@pytest.mark.parametrize("array", ["respeaker_usb_4mic", "minidsp_uma8_v2"])
def test_srp_phat_comes_near_the_bound_and_never_below(array: str) -> None:
    """White source, incoherent noise 10 dB below: 40 trials know the deviation to a ninth."""
    geometry, rng, azimuth_deg, samples = load_array(array), np.random.default_rng(0), 20.0, RATE_HZ // 2
    band_hz = (200.0, 3500.0)
    srp = SrpPhat(geometry, f_min_hz=band_hz[0], f_max_hz=band_hz[1], averaging_frames=1e9)
    lead_s = geometry.positions_m @ unit_vector(azimuth_deg, 0.0) / SPEED_OF_SOUND_M_S
    turn = np.exp(2j * np.pi * np.fft.rfftfreq(samples, 1.0 / RATE_HZ) * lead_s[:, None])
    errors_deg = []
    for _ in range(40):
        clean = np.fft.irfft(np.fft.rfft(rng.standard_normal(samples)) * turn, samples)
        noisy = clean + 10.0**-0.5 * rng.standard_normal(clean.shape)
        srp.reset()
        srp.push(stft(noisy.astype(np.float32)))
        errors_deg.append(srp.peak()[0].azimuth_deg - azimuth_deg)
    bound_deg = azimuth_crb_deg(geometry, 10.0, seconds=0.5, azimuth_deg=azimuth_deg, band_hz=band_hz)
    deviation_deg = float(np.sqrt(np.mean(np.square(errors_deg))))
    assert 0.9 * bound_deg < deviation_deg < 1.8 * bound_deg
