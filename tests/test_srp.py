"""SRP-PHAT: a plane wave from anywhere comes back, on every shipped array, and as well as pyroomacoustics finds it."""

import numpy as np
import pyroomacoustics as pra
import pytest

from appliance.angles import arc_distance_deg, azimuth_elevation_deg, unit_vector, wrap_azimuth_deg
from appliance.dsp.srp import SrpPhat
from appliance.dsp.stft import HOP_SAMPLES, SAMPLE_RATE_HZ, WINDOW_SAMPLES, bin_frequencies_hz, stft
from appliance.geometry import SPEED_OF_SOUND_M_S, ArrayGeometry, load_array, shipped_arrays
from appliance.types import Complex64Array, Float32Array

TOLERANCE_DEG = 3.0
DIRECTIONS = [(azimuth, elevation) for elevation in (-70, -35, 0, 20, 50, 80) for azimuth in range(-180, 180, 23)]


def plane_wave(
    array: ArrayGeometry, azimuth_deg: float, elevation_deg: float, *, snr_db: float = np.inf, seed: int = 1
) -> Float32Array:
    """(mics, samples) 0.4 s of white noise from a direction: the nearer microphone hears it earlier."""
    random = np.random.default_rng(seed)
    samples = 20 * HOP_SAMPLES
    source = np.fft.rfft(random.standard_normal(samples))
    lead_s = array.positions_m @ unit_vector(azimuth_deg, elevation_deg) / SPEED_OF_SOUND_M_S
    phase = np.exp(2j * np.pi * np.fft.rfftfreq(samples, 1.0 / SAMPLE_RATE_HZ) * lead_s[:, None])
    clean = np.fft.irfft(source * phase, samples)
    noise = random.standard_normal(clean.shape) * 10.0 ** (-snr_db / 20.0)
    heard: Float32Array = (0.1 * (clean + noise)).astype(np.float32)
    return heard


def miss_deg(array: ArrayGeometry, srp: SrpPhat, azimuth_deg: float, elevation_deg: float) -> float:
    """Arc between the peak and the truth; a planar array is not asked for the sign of the elevation."""
    found, _ = srp.peak()
    assert found.elevation_valid is not array.is_planar
    truth_deg = abs(elevation_deg) if array.is_planar else elevation_deg
    return arc_distance_deg(found.azimuth_deg, found.elevation_deg, azimuth_deg, truth_deg)


@pytest.fixture(params=shipped_arrays())
def array(request: pytest.FixtureRequest) -> ArrayGeometry:
    return load_array(request.param)


def test_a_plane_wave_from_anywhere_comes_back(array: ArrayGeometry) -> None:
    srp = SrpPhat(array)
    misses = {}
    for azimuth_deg, elevation_deg in DIRECTIONS:
        srp.reset()
        srp.push(stft(plane_wave(array, azimuth_deg, elevation_deg)))
        misses[azimuth_deg, elevation_deg] = miss_deg(array, srp, azimuth_deg, elevation_deg)
    assert max(misses.values()) < TOLERANCE_DEG, max(misses, key=lambda key: misses[key])
    assert np.median(list(misses.values())) < 0.1


def test_the_azimuth_stands_noise_in_every_microphone(array: ArrayGeometry) -> None:
    """10 dB: near the horizon a planar array then no longer knows the elevation, which is why it is marked so."""
    srp = SrpPhat(array)
    for seed, azimuth_deg in enumerate(range(-180, 180, 31)):
        srp.reset()
        srp.push(stft(plane_wave(array, azimuth_deg, 10.0, snr_db=10.0, seed=seed)))
        assert abs(wrap_azimuth_deg(srp.peak()[0].azimuth_deg - azimuth_deg)) < TOLERANCE_DEG


def test_the_map_is_one_for_a_clean_wave_and_near_zero_for_noise_of_no_direction() -> None:
    array = load_array("minidsp_uma16_v2")
    srp = SrpPhat(array)
    spectrum = stft(plane_wave(array, 40.0, 30.0))[4:]
    power = srp.push(spectrum)
    assert srp.peak()[1] == pytest.approx(1.0, abs=0.02)
    assert power.max() <= 1.001
    assert arc_distance_deg(*azimuth_elevation_deg(srp.grid[power.argmax()]), 40.0, 30.0) < 4.0

    srp.reset()
    noise = 0.1 * np.random.default_rng(3).standard_normal((array.mics, 60 * HOP_SAMPLES)).astype(np.float32)
    srp.push(stft(noise))
    assert srp.peak()[1] < 0.1


def test_frame_by_frame_equals_all_at_once(array: ArrayGeometry) -> None:
    spectrum = stft(plane_wave(array, -100.0, 25.0, snr_db=5.0))
    whole, stepwise = SrpPhat(array), SrpPhat(array)
    whole.push(spectrum)
    for frame in spectrum:
        stepwise.push(frame[None])
    np.testing.assert_allclose(stepwise.map, whole.map, atol=2e-5)


def test_a_source_that_jumps_is_followed_and_forgotten() -> None:
    array = load_array("respeaker_usb_4mic")
    srp = SrpPhat(array, averaging_frames=5.0)
    srp.push(stft(plane_wave(array, 90.0, 0.0)))
    assert srp.peak()[0].azimuth_deg == pytest.approx(90.0, abs=1.0)
    srp.push(stft(plane_wave(array, -30.0, 0.0, seed=2))[4:])
    assert srp.peak()[0].azimuth_deg == pytest.approx(-30.0, abs=2.0)


def test_reset_leaves_nothing_behind() -> None:
    array = load_array("tetrahedron_4cm2")
    used, fresh = SrpPhat(array), SrpPhat(array)
    used.push(stft(plane_wave(array, 90.0, 0.0)))
    used.reset()
    assert not used.map.any()
    spectrum = stft(plane_wave(array, -30.0, 40.0, seed=2))
    np.testing.assert_array_equal(used.push(spectrum), fresh.push(spectrum))


def test_silence_gives_an_empty_map_and_a_direction_that_means_nothing(array: ArrayGeometry) -> None:
    srp = SrpPhat(array)
    power = srp.push(np.zeros((5, array.mics, WINDOW_SAMPLES // 2 + 1), np.complex64))
    assert not power.any()
    assert srp.peak()[1] == 0.0


def test_a_mask_gives_the_map_of_one_source_out_of_two() -> None:
    """Two sources in alternate bands of 125 Hz, as harmonics of two machines would lie."""
    array = load_array("tetrahedron_4cm2")
    mine = (np.arange(WINDOW_SAMPLES // 2 + 1) // 8 % 2 == 0).astype(np.float32)
    one, other = stft(plane_wave(array, 60.0, 30.0)), stft(plane_wave(array, -120.0, -10.0, seed=2))
    mixture = (one * mine + other * (1.0 - mine)).astype(np.complex64)
    for mask, azimuth_deg, elevation_deg in ((mine, 60.0, 30.0), (1.0 - mine, -120.0, -10.0)):
        srp = SrpPhat(array)
        srp.push(mixture, np.broadcast_to(mask, (len(mixture), mask.size)))
        assert miss_deg(array, srp, azimuth_deg, elevation_deg) < TOLERANCE_DEG


def test_only_the_band_counts() -> None:
    array = load_array("respeaker_usb_4mic")
    band = (bin_frequencies_hz() >= 500.0) & (bin_frequencies_hz() <= 2000.0)
    inside, outside = stft(plane_wave(array, 45.0, 0.0)), stft(plane_wave(array, -135.0, 0.0, seed=2))
    srp = SrpPhat(array, f_min_hz=500.0, f_max_hz=2000.0)
    srp.push(np.where(band, inside, 100.0 * outside).astype(np.complex64))
    assert srp.peak()[0].azimuth_deg == pytest.approx(45.0, abs=1.0)


def test_a_grid_of_ones_own_is_searched() -> None:
    array = load_array("tetrahedron_4cm2")
    horizon = np.array([unit_vector(azimuth_deg, 0.0) for azimuth_deg in range(-180, 180, 10)])
    srp = SrpPhat(array, grid=horizon)
    assert srp.push(stft(plane_wave(array, 70.0, 0.0))).shape == (36,)
    assert srp.map.argmax() == 25


def test_a_band_without_bins_is_refused() -> None:
    with pytest.raises(ValueError, match="no STFT bin between 3001"):
        SrpPhat(load_array("tetrahedron_4cm2"), f_min_hz=3001.0, f_max_hz=3002.0)


# --- against pyroomacoustics --------------------------------------------------------------------------------------------


def reference(
    name: str, array: ArrayGeometry, spectrum: Complex64Array, band_hz: tuple[float, float]
) -> tuple[float, float]:
    """Azimuth and elevation that an algorithm of pyroomacoustics finds on a grid of 2 degrees."""
    azimuths = np.radians(np.arange(-180.0, 180.0, 2.0))
    colatitudes = np.radians(np.arange(2.0, 90.0 if array.is_planar else 180.0, 2.0))
    finder = pra.doa.algorithms[name](
        array.positions_m.T,
        SAMPLE_RATE_HZ,
        WINDOW_SAMPLES,
        c=SPEED_OF_SOUND_M_S,
        num_src=1,
        dim=3,
        azimuth=azimuths,
        colatitude=colatitudes,
    )
    finder.locate_sources(spectrum.transpose(1, 2, 0).astype(np.complex128), freq_range=list(band_hz))
    return float(np.degrees(finder.azimuth_recon[0])), 90.0 - float(np.degrees(finder.colatitude_recon[0]))


@pytest.mark.parametrize("algorithm", ["SRP", "MUSIC"])
@pytest.mark.parametrize(("azimuth_deg", "elevation_deg"), [(-150.0, 40.0), (75.0, 25.0)])
def test_the_same_signals_give_pyroomacoustics_the_same_direction(
    array: ArrayGeometry, algorithm: str, azimuth_deg: float, elevation_deg: float
) -> None:
    band_hz = (400.0, 2400.0)
    spectrum = stft(plane_wave(array, azimuth_deg, elevation_deg, snr_db=20.0))[4:]
    srp = SrpPhat(array, f_min_hz=band_hz[0], f_max_hz=band_hz[1])
    srp.push(spectrum)
    found, _ = srp.peak()
    theirs_deg = reference(algorithm, array, spectrum, band_hz)
    assert arc_distance_deg(found.azimuth_deg, found.elevation_deg, *theirs_deg) < TOLERANCE_DEG
    assert (
        miss_deg(array, srp, azimuth_deg, elevation_deg)
        <= arc_distance_deg(*theirs_deg, azimuth_deg, elevation_deg) + 2.0
    )


@pytest.mark.parametrize(("azimuth_deg", "elevation_deg"), [(20.0, 15.0), (-125.0, 30.0)])
def test_in_a_room_with_walls_the_direct_sound_wins(
    array: ArrayGeometry, azimuth_deg: float, elevation_deg: float
) -> None:
    """Image sources up to third order, walls that absorb 60 % of the energy, source 2.5 m away, sensor noise."""
    centre_m = np.array([4.0, 3.4, 1.3])
    room = pra.ShoeBox([8.0, 7.0, 3.5], fs=SAMPLE_RATE_HZ, materials=pra.Material(0.6), max_order=3)
    signal = np.random.default_rng(5).standard_normal(SAMPLE_RATE_HZ // 2)
    room.add_source(centre_m + 2.5 * unit_vector(azimuth_deg, elevation_deg), signal=signal)
    room.add_microphone_array((centre_m + array.positions_m).T)
    room.simulate(snr=20.0)
    heard = (0.05 * room.mic_array.signals).astype(np.float32)
    srp = SrpPhat(array, averaging_frames=50.0)
    srp.push(stft(heard))
    found, _ = srp.peak()
    assert abs(wrap_azimuth_deg(found.azimuth_deg - azimuth_deg)) < TOLERANCE_DEG
    if not array.is_planar:
        assert miss_deg(array, srp, azimuth_deg, elevation_deg) < 2.0 * TOLERANCE_DEG
