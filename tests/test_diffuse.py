"""The diffuse field against sinc."""

import numpy as np
import numpy.typing as npt
import pytest
from scipy.signal import csd, lfilter, welch

from appliance.dsp.directional_power import coherence
from appliance.errors import RecordingError
from appliance.geometry import SPEED_OF_SOUND_M_S, load_array, shipped_arrays
from appliance.lab.world.diffuse import diffuse_field, loop

RATE_HZ = 16_000
FloatArray = npt.NDArray[np.float64]


def noises(count: int, seconds: float = 60.0) -> list[FloatArray]:
    rng = np.random.default_rng(11)
    return [lfilter([1.0], [1.0, -0.7], rng.standard_normal(int(seconds * RATE_HZ))) for _ in range(count)]


def coherence_errors(field: FloatArray, mics: FloatArray) -> dict[tuple[int, int], npt.NDArray[np.complex128]]:
    """Complex coherence less sinc(kd) of every pair, 60 Hz to 7.8 kHz."""
    power = [welch(signal, RATE_HZ, nperseg=512)[1] for signal in field]
    errors = {}
    for one in range(len(mics)):
        for two in range(one):
            frequencies, cross = csd(field[one], field[two], RATE_HZ, nperseg=512)
            found = cross / np.sqrt(power[one] * power[two])
            expected = coherence(mics[[one, two]], frequencies)[:, 0, 1]
            errors[one, two] = (found - expected)[(frequencies > 60.0) & (frequencies < 7800.0)]
    return errors


def test_sinc_is_the_formula() -> None:
    """sin(kd)/(kd): 1 at 0 Hz, 0 where half a wave fits between the microphones."""
    apart = np.array([[0.0, 0.0, 0.0], [0.1, 0.0, 0.0]])
    found = coherence(apart, np.array([0.0, SPEED_OF_SOUND_M_S / 0.2, 500.0]))[:, 0, 1]
    assert found == pytest.approx([1.0, 0.0, np.sin(0.9159) / 0.9159], abs=1e-4)


@pytest.mark.parametrize("array", shipped_arrays())
def test_coherence_is_sinc_on_every_shipped_array(array: str) -> None:
    """The rest is the estimator's own scatter (some 1500 windows) and, above kd ≈ 11, the finite number of waves."""
    mics = load_array(array).positions_m[:4]
    field = diffuse_field(np.random.default_rng(1), noises(3), mics, 60 * RATE_HZ)
    errors = np.abs(np.concatenate(list(coherence_errors(field, mics).values())))
    assert np.sqrt((errors**2).mean()) < 0.05
    assert errors.max() < 0.3


def test_in_many_draws_the_mean_coherence_is_sinc() -> None:
    """Random directions, stretches and signs leave no bias: eight draws, a pair of 8 cm."""
    mics = np.array([(0.04, 0.0, 0.0), (-0.04, 0.0, 0.0)])
    recordings = noises(2)
    errors = np.mean(
        [
            coherence_errors(diffuse_field(np.random.default_rng(seed), recordings, mics, 30 * RATE_HZ), mics)[1, 0]
            for seed in range(8)
        ],
        axis=0,
    )
    assert np.abs(errors).max() < 0.06
    assert np.abs(errors.mean()) < 0.01


def test_level_and_spectrum_are_those_of_the_recordings_at_each_microphone() -> None:
    recordings = noises(4)
    mics = load_array("respeaker_usb_4mic").positions_m
    field = diffuse_field(np.random.default_rng(3), recordings, mics, 60 * RATE_HZ)
    _, wanted = welch(np.concatenate(recordings), RATE_HZ, nperseg=1024)
    for signal in field:
        _, found = welch(signal, RATE_HZ, nperseg=1024)
        assert np.abs(10 * np.log10(found / wanted))[5:-5].max() < 1.5
    assert (field**2).mean() == pytest.approx(np.mean([(part**2).mean() for part in recordings]), rel=0.05)


def test_no_direction_is_preferred() -> None:
    """Mean cross-spectra hold no net delay along any axis: the phase is nil within the scatter."""
    mics = np.concatenate([np.zeros((1, 3)), 0.04 * np.eye(3)])
    field = diffuse_field(np.random.default_rng(8), noises(3), mics, 60 * RATE_HZ)
    for axis in range(3):
        frequencies, cross = csd(field[0], field[1 + axis], RATE_HZ, nperseg=512)
        band = (frequencies > 300.0) & (frequencies < 2500.0)
        assert np.abs(np.angle(cross[band])).mean() < 0.1


def test_a_click_in_the_ambience_reaches_all_microphones() -> None:
    """What comes is waves, not noise that belongs to one microphone: a loud moment is as loud everywhere."""
    click = np.zeros(40 * RATE_HZ)
    click[RATE_HZ] = 1.0
    mics = load_array("respeaker_usb_4mic").positions_m
    field = diffuse_field(np.random.default_rng(5), [click], mics, 40 * RATE_HZ)
    loudest = int((field**2).sum(axis=0).argmax())
    energy = (field[:, loudest - 80 : loudest + 80] ** 2).sum(axis=1)
    assert np.ptp(10 * np.log10(energy)) < 1.0
    assert (field**2).sum() > 20 * energy.sum()


def test_short_recordings_are_looped_without_a_seam() -> None:
    tone = np.sin(2 * np.pi * 200.0 * np.arange(8000) / RATE_HZ)
    looped = loop(tone, 50_000)
    assert len(looped) == 50_000
    np.testing.assert_array_equal(looped[:7000], tone[:7000])
    assert np.abs(np.diff(looped)).max() < 2.1 * np.abs(np.diff(tone)).max()
    noise = np.random.default_rng(0).standard_normal(20_000)
    power = (loop(noise, 400_000).reshape(-1, 400) ** 2).mean(axis=1)
    assert power.min() > 0.6
    np.testing.assert_array_equal(loop(noise, 500), noise[:500])


def test_the_same_seed_is_the_same_field_and_another_is_not() -> None:
    mics = load_array("respeaker_usb_4mic").positions_m
    recordings = noises(2, seconds=3.0)
    one, two, other = (diffuse_field(np.random.default_rng(seed), recordings, mics, 40_000) for seed in (7, 7, 8))
    np.testing.assert_array_equal(one, two)
    assert abs(np.corrcoef(one[0], other[0])[0, 1]) < 0.2


@pytest.mark.parametrize("recordings", [[], [np.zeros(0)]])
def test_no_recording_is_refused(recordings: list[FloatArray]) -> None:
    with pytest.raises(RecordingError, match="no recording"):
        diffuse_field(np.random.default_rng(0), recordings, np.zeros((2, 3)), 1000)
