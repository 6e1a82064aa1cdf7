"""Rooms and yards: the image sources of a shoebox, found by pyroomacoustics, as impulse responses of any listener.

Walls reflect all frequencies alike (one absorption for each), as Allen & Berkley (J. Acoust. Soc. Am. 65, 1979) have
it. Images are read between samples by a Kaiser-windowed sinc; pyroomacoustics' own responses are the test's reference.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.signal import oaconvolve

from appliance.dsp.foa import foa_gains
from appliance.dsp.stft import SAMPLE_RATE_HZ
from appliance.lab.world.recipe import Position, Room

FloatArray = npt.NDArray[np.float64]

_HALF_TAPS = 40
_KAISER_BETA = 8.0
_WALLS = ("west", "east", "south", "north", "floor", "ceiling")


@dataclass(frozen=True, slots=True, eq=False)
class Images:
    """A source and its mirror images, or some of them."""

    positions_m: FloatArray
    """(images, 3) in the scene frame."""
    gains: FloatArray
    """(images,) product of the walls' reflection coefficients."""
    orders: npt.NDArray[np.int64]
    """(images,) reflections; 0 is the source itself."""

    def only(self, chosen: npt.NDArray[np.bool_]) -> "Images":
        """Some of them, by a mask (images,)."""
        return Images(self.positions_m[chosen], self.gains[chosen], self.orders[chosen])


def images(room: Room, source_m: Position) -> Images:
    """Images of a source in the scene frame; those that an open side would mirror are left out."""
    # Two seconds to import, for which few scenes have a use.
    import pyroomacoustics

    materials = {wall: pyroomacoustics.Material(share) for wall, share in zip(_WALLS, room.absorption, strict=True)}
    model = pyroomacoustics.ShoeBox(room.size_m, fs=SAMPLE_RATE_HZ, materials=materials, max_order=room.order)
    corner_m = np.array([*room.array_m, 0.0])
    model.add_source(np.array(source_m) + corner_m)
    model.add_microphone([room.array_m[0], room.array_m[1], room.size_m[2] / 2.0])
    model.image_source_model()
    source = model.sources[0]
    heard = source.damping[0] > 1e-6
    positions_m = np.asarray(source.images.T[heard], np.float64) - corner_m
    return Images(positions_m, np.asarray(source.damping[0][heard], np.float64), np.asarray(source.orders[heard]))


def impulse_responses(found: Images, listeners_m: FloatArray, speed_of_sound_m_s: float) -> FloatArray:
    """(listeners, n) pressure at listeners (listeners, 3) for a unit impulse at 1 m."""
    away_m = np.linalg.norm(found.positions_m[None] - listeners_m[:, None], axis=2)
    return _responses(found.gains / away_m, away_m / speed_of_sound_m_s)


def foa_responses(found: Images, centre_m: FloatArray, rotation: FloatArray, speed_of_sound_m_s: float) -> FloatArray:
    """(4, n) ideal first-order Ambisonics [W, Y, Z, X] at (3,), in the frame that `rotation` (3, 3) leads from."""
    towards = found.positions_m - centre_m
    away_m = np.linalg.norm(towards, axis=1)
    gains = foa_gains((towards / away_m[:, None]) @ rotation) * found.gains / away_m
    return _responses(gains, np.broadcast_to(away_m / speed_of_sound_m_s, gains.shape))


def reverberate(signal: FloatArray, responses: FloatArray) -> FloatArray:
    """A signal (n,) through responses (listeners, k) → (listeners, n + k − 1)."""
    heard: FloatArray = oaconvolve(signal[None], responses, axes=1)
    return heard


def _responses(gains: FloatArray, delays_s: FloatArray) -> FloatArray:
    """Impulses of these gains at these delays, both (listeners, images) → (listeners, n)."""
    places = delays_s * SAMPLE_RATE_HZ
    length = int(places.max(initial=0.0)) + 2 * _HALF_TAPS + 2
    offsets = np.arange(-_HALF_TAPS, _HALF_TAPS + 1)
    nearest = np.rint(places).astype(np.int64)
    away = offsets + (nearest - places)[..., None]
    # A window of 8192 points, read between them to 1e-7: Bessel functions of every tap would take most of the time.
    window = np.interp(away, np.linspace(-_HALF_TAPS - 0.5, _HALF_TAPS + 0.5, 8193), np.kaiser(8193, _KAISER_BETA))
    taps = np.sinc(away) * window * gains[..., None]
    responses = np.zeros((len(places), length + _HALF_TAPS))
    rows = np.broadcast_to(np.arange(len(places))[:, None, None], taps.shape)
    columns = nearest[..., None] + offsets
    kept = columns >= 0
    np.add.at(responses, (rows[kept], columns[kept]), taps[kept])
    return responses
