"""The encoder gives every shipped array the same sound field, in the band where it says it is valid."""

import numpy as np
import numpy.typing as npt
import pyroomacoustics as pra
import pytest

from appliance.angles import arc_distance_deg, azimuth_elevation_deg, unit_vector, wrap_azimuth_deg
from appliance.dsp.foa import MAX_NOISE_GAIN_DB, FoaEncoder
from appliance.dsp.stft import SAMPLE_RATE_HZ, stft
from appliance.geometry import SPEED_OF_SOUND_M_S, ArrayGeometry, load_array, shipped_arrays

_VALID = 0.9


def plane_wave(geometry: ArrayGeometry, azimuth_deg: float, elevation_deg: float) -> npt.NDArray[np.float32]:
    """One second of white noise as a plane wave (mics, n), delays exact by phase shift."""
    noise = np.random.default_rng(7).standard_normal(SAMPLE_RATE_HZ)
    delay_s = geometry.positions_m @ unit_vector(azimuth_deg, elevation_deg) / SPEED_OF_SOUND_M_S
    phase = np.exp(2j * np.pi * np.fft.rfftfreq(len(noise), 1 / SAMPLE_RATE_HZ) * delay_s[:, None])
    return np.fft.irfft(np.fft.rfft(noise) * phase, n=len(noise)).astype(np.float32)


def heard_direction(geometry: ArrayGeometry, samples: npt.NDArray[np.float32]) -> tuple[float, float]:
    """Direction of the summed active intensity over the bins that the encoder calls valid."""
    encoder = FoaEncoder(geometry)
    w, y, z, x = encoder.encode(stft(samples)).transpose(1, 0, 2)
    horizontal, vertical = encoder.validity.T > _VALID
    used = horizontal & (vertical | geometry.is_planar)
    vector = np.array([(w.conj() * dipole).real[:, used].sum() for dipole in (x, y, z)])
    return azimuth_elevation_deg(vector)


@pytest.mark.parametrize("name", shipped_arrays())
@pytest.mark.parametrize("azimuth_deg", [-180.0, -101.0, -45.0, 3.0, 77.0, 140.0])
@pytest.mark.parametrize("elevation_deg", [-20.0, 0.0, 35.0])
def test_a_plane_wave_comes_back_within_3_degrees(name: str, azimuth_deg: float, elevation_deg: float) -> None:
    geometry = load_array(name)
    azimuth, elevation = heard_direction(geometry, plane_wave(geometry, azimuth_deg, elevation_deg))
    if geometry.is_planar:
        assert abs(wrap_azimuth_deg(azimuth - azimuth_deg)) < 3.0
        assert elevation == 0.0
    else:
        assert arc_distance_deg(azimuth, elevation, azimuth_deg, elevation_deg) < 3.0


@pytest.mark.parametrize("name", shipped_arrays())
def test_noise_gain_never_exceeds_the_cap(name: str) -> None:
    gain = (np.abs(FoaEncoder(load_array(name)).matrix[:, 1:]) ** 2).sum(axis=2)
    assert 10 * np.log10(gain.max()) <= MAX_NOISE_GAIN_DB + 0.1


@pytest.mark.parametrize("name", shipped_arrays())
def test_every_array_has_a_valid_band(name: str) -> None:
    """A drone's harmonics between 400 Hz and 1.2 kHz must be heard with direction on every array we ship."""
    validity = FoaEncoder(load_array(name)).validity
    bins = slice(int(400 / 15.625), int(1200 / 15.625))
    assert validity[bins, 0].min() > 0.85


def test_planar_arrays_do_not_make_up_a_vertical() -> None:
    encoder = FoaEncoder(load_array("respeaker_usb_4mic"))
    assert not encoder.matrix[:, 2].any()
    assert not encoder.validity[:, 1].any()


@pytest.mark.parametrize("name", ["respeaker_usb_4mic", "tetrahedron_4cm2", "minidsp_uma8_v2"])
def test_direction_in_a_room_by_image_sources(name: str) -> None:
    """In pyroomacoustics' damped room the first-order intensity still points at the source."""
    geometry = load_array(name)
    centre = np.array([3.1, 2.7, 1.4])
    room = pra.ShoeBox([7.0, 6.0, 3.0], fs=SAMPLE_RATE_HZ, materials=pra.Material(0.85), max_order=3)
    azimuth_deg, elevation_deg = 62.0, 10.0
    source = centre + 1.8 * unit_vector(azimuth_deg, elevation_deg)
    room.add_source(source, signal=np.random.default_rng(3).standard_normal(SAMPLE_RATE_HZ))
    room.add_microphone_array(centre[:, None] + geometry.positions_m.T)
    room.simulate()
    azimuth, _ = heard_direction(geometry, room.mic_array.signals.astype(np.float32))
    assert abs(wrap_azimuth_deg(azimuth - azimuth_deg)) < 8.0
