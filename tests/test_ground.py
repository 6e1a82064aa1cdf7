"""The ground against exact solutions."""

import numpy as np
import pytest
from scipy.integrate import quad

from appliance.errors import ConfigError
from appliance.geometry import SPEED_OF_SOUND_M_S as C
from appliance.lab.world.ground import (
    FLOW_RESISTIVITY_PA_S_M2,
    image,
    impedance,
    plane_wave_reflection,
    reflect,
    spherical_wave_reflection,
)
from appliance.lab.world.propagation import propagate
from appliance.lab.world.slow_filter import filter_frequencies_hz
from appliance.lab.world.trajectories import still, straight

RATE_HZ = 16_000


def exact_reflection(frequency_hz: float, resistivity: float, climb_m: float, range_m: float) -> complex:
    """Q from the exact field above a locally reacting plane: a line of images below the image source.

    (kz − kβ)/(kz + kβ) = 1 − 2kβ∫exp(−(kz + kβ)q)dq, and exp(−kz·q) moves a source to the complex depth iq.
    """
    wavenumber = 2 * np.pi * frequency_hz / C
    admittance = 1.0 / np.conj(complex(impedance(frequency_hz, resistivity)))

    def images(depth: float) -> complex:
        way = np.sqrt(range_m**2 + (climb_m + 1j * depth) ** 2 + 0j)
        return complex(np.exp(1j * wavenumber * way - wavenumber * admittance * depth) / way)

    # The images fade with exp(−k·q) once q is beyond the way itself.
    deepest = 3.0 * np.hypot(climb_m, range_m) + 40.0 / wavenumber
    real, imaginary = (
        quad(lambda depth, part=part: getattr(images(depth), part), 0.0, deepest, limit=4000)[0]
        for part in ("real", "imag")
    )
    path_m = np.hypot(climb_m, range_m)
    mirror = np.exp(1j * wavenumber * path_m) / path_m
    return complex(np.conj(1.0 - 2.0 * wavenumber * admittance * (real + 1j * imaginary) / mirror))


@pytest.mark.parametrize("surface", ["forest_floor", "grass", "asphalt"])
@pytest.mark.parametrize(("source_m", "mic_m", "range_m"), [(10.0, 2.0, 50.0), (1.0, 1.5, 20.0), (0.5, 0.5, 60.0)])
@pytest.mark.parametrize("frequency_hz", [100.0, 500.0, 2000.0])
def test_spherical_reflection_is_the_exact_integral(
    surface: str, source_m: float, mic_m: float, range_m: float, frequency_hz: float
) -> None:
    resistivity = FLOW_RESISTIVITY_PA_S_M2[surface]
    found = spherical_wave_reflection(
        np.array([frequency_hz]), resistivity, source_height_m=source_m, mic_height_m=mic_m, range_m=range_m
    )[0]
    assert abs(found - exact_reflection(frequency_hz, resistivity, source_m + mic_m, range_m)) < 0.02


def test_grass_is_soft_and_asphalt_hard() -> None:
    """The dip of grass: at grazing sound of some 500 Hz comes back inverted, from asphalt it comes back whole."""
    geometry = {"source_height_m": 1.0, "mic_height_m": 1.5, "range_m": 50.0}
    grass, asphalt = (
        spherical_wave_reflection(np.array([500.0]), FLOW_RESISTIVITY_PA_S_M2[surface], **geometry)[0]
        for surface in ("grass", "asphalt")
    )
    assert grass.real < -0.5
    assert asphalt.real > 0.85


def test_impedance_is_mikis_and_never_gives_energy() -> None:
    """1 + 5.50·X^−0.632 − j8.43·X^−0.632, X = 10³f/σ; |R| ≤ 1 for every angle and surface."""
    assert impedance(200.0, 200e3) == pytest.approx(1.0 + 5.50 - 8.43j)
    frequencies_hz = np.geomspace(20.0, 8000.0, 50)
    for resistivity in FLOW_RESISTIVITY_PA_S_M2.values():
        sines = np.linspace(0.0, 1.0, 20)[:, None]
        assert np.abs(plane_wave_reflection(impedance(frequencies_hz, resistivity), sines)).max() <= 1.0 + 1e-12


def test_far_from_grazing_a_spherical_wave_is_a_plane_wave() -> None:
    frequencies_hz = np.array([500.0, 2000.0])
    spherical = spherical_wave_reflection(frequencies_hz, 200e3, source_height_m=200.0, mic_height_m=2.0, range_m=10.0)
    plane = plane_wave_reflection(impedance(frequencies_hz, 200e3), 202.0 / np.hypot(202.0, 10.0))
    np.testing.assert_allclose(spherical, plane, atol=0.01)


def test_at_zero_hertz_the_ground_is_hard() -> None:
    response = spherical_wave_reflection(
        filter_frequencies_hz(), 200e3, source_height_m=[2.0, 30.0], mic_height_m=2.0, range_m=[40.0, 5.0]
    )
    assert response.shape == (2, len(filter_frequencies_hz()))
    np.testing.assert_allclose(response[:, 0], 1.0, atol=0.02)
    assert np.isfinite(response).all()


def test_the_image_is_as_deep_as_the_source_is_high_and_late_by_its_way() -> None:
    mirrored = image(still((30.0, 0.0, 8.0)), array_height_m=2.0)
    np.testing.assert_array_equal(mirrored.positions_m, [[30.0, 0.0, -12.0]])
    click = np.zeros(4000)
    click[0] = 1.0
    mics = np.zeros((1, 3))
    direct, bounced = (propagate(click, path, mics)[0] for path in (still((30.0, 0.0, 8.0)), mirrored))
    late_s = (np.hypot(30.0, 12.0) - np.hypot(30.0, 8.0)) / C
    spectra = np.fft.rfft(bounced) / np.fft.rfft(direct)
    frequencies_hz = np.fft.rfftfreq(4000, 1 / RATE_HZ)
    inside = (frequencies_hz > 50.0) & (frequencies_hz < 7000.0)
    slope = np.polyfit(frequencies_hz[inside], np.unwrap(np.angle(spectra[inside])), 1)[0]
    assert -slope / (2 * np.pi) == pytest.approx(late_s, abs=1e-9)


@pytest.mark.parametrize("surface", ["grass", "asphalt"])
def test_the_filter_is_the_coefficient(surface: str) -> None:
    click = np.zeros(8192)
    click[4096] = 1.0
    heard = reflect(click, still((40.0, 0.0, 1.0)), surface, array_height_m=1.5)
    found = np.fft.rfft(np.roll(heard, -4096))
    frequencies_hz = np.fft.rfftfreq(8192, 1 / RATE_HZ)
    expected = spherical_wave_reflection(
        frequencies_hz, FLOW_RESISTIVITY_PA_S_M2[surface], source_height_m=2.5, mic_height_m=1.5, range_m=40.0
    )
    inside = (frequencies_hz > 60.0) & (frequencies_hz < 7800.0)
    np.testing.assert_allclose(found[inside], expected[inside], atol=0.01)


def test_a_climbing_drone_hears_its_ground_change() -> None:
    """A tone of 500 Hz over grass: inverted at grazing, no longer so from high up."""
    tone = np.sin(2 * np.pi * 500.0 * np.arange(96_000) / RATE_HZ)
    rise = straight((60.0, 0.0, -1.4), (60.0, 0.0, 98.6), 20.0, seconds=6.0)
    heard = reflect(tone, rise, "grass", array_height_m=1.5)
    low, high = (
        np.vdot(tone[part], heard[part]) / np.vdot(tone[part], tone[part]) for part in (slice(3200), slice(-3200, None))
    )
    for found, height_m in ((low, 2.1), (high, 118.0)):
        exact = spherical_wave_reflection(
            np.array([500.0]), 200e3, source_height_m=height_m, mic_height_m=1.5, range_m=60.0
        )[0]
        assert found == pytest.approx(exact.real, abs=0.05)
    assert low < -0.3 < 0.3 < high


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigError, match="below the ground"):
        image(still((10.0, 0.0, -3.0)), array_height_m=2.0)
    with pytest.raises(ConfigError, match=r"lava.*grass"):
        reflect(np.ones(100), still((10.0, 0.0, 1.0)), "lava", array_height_m=2.0)
