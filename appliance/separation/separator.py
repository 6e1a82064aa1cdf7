"""Spectra of the microphones to what is laid on Ambisonics and on beams, object by object: the network's masks and what the
microphones tell (`spatial`) have half of the say each.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from appliance.angles import unit_vector
from appliance.dsp.foa import FoaEncoder
from appliance.geometry import ArrayGeometry
from appliance.separation.mvdr import MvdrBeams
from appliance.separation.objects import HeardMoment, bin_gains
from appliance.separation.spatial import SpatialShares
from appliance.types import Complex64Array, Float32Array

_FLOOR = np.float32(0.1)
"""A poor mask cuts holes."""


@dataclass(frozen=True, slots=True, eq=False)
class Apart:
    """One object in a run of hops."""

    share: Float32Array
    """(hops, bins) of W that is the object's; those of all objects add up to no more than 1."""
    direct: Float32Array
    """(hops, bins) of that its direct sound; all of it where the model does not tell."""
    beam: Complex64Array
    """(hops, bins) its MVDR beam …"""
    gain: Float32Array
    """… and what makes its mono sound of that, never less than −20 dB."""


class Separator:
    """Takes objects that come and go out of what an array hears; carries its averages from one run of hops to the next."""

    def __init__(self, geometry: ArrayGeometry) -> None:
        self._encoder, self._beams, self._field = FoaEncoder(geometry), MvdrBeams(geometry), SpatialShares(geometry)

    def push(
        self, spectrum: Complex64Array, moments: Mapping[int, HeardMoment]
    ) -> tuple[Complex64Array, dict[int, Apart]]:
        """(hops, mics, bins) of one label frame → its Ambisonics (hops, 4, bins), and each object that has a moment."""
        foa = self._encoder.encode(spectrum)
        directions = {key: unit_vector(moment.azimuth_deg, moment.elevation_deg) for key, moment in moments.items()}
        coming = self._field.push(spectrum, directions)
        shares = {key: _shares(moment, coming[key]) for key, moment in moments.items()}
        beams = self._beams.push(spectrum, {key: share for key, (share, _) in shares.items()}, directions)
        passing = self._field.of_beams(beams)
        fair = np.float32(1.0) / np.maximum(sum((share for share, _ in shares.values()), np.float32(0.0)), 1.0)
        return foa, {
            key: Apart(
                share * fair, direct * fair, beams[key], np.maximum(_shares(moments[key], passing[key])[1], _FLOOR)
            )
            for key, (share, direct) in shares.items()
        }


def _shares(moment: HeardMoment, spatial: Float32Array) -> tuple[Float32Array, Float32Array]:
    """(hops, bins) of all of the object's sound and of its direct sound, given what comes from its direction.

    Where the network did not hear it, what comes from there is all that is known.
    """
    if moment.mask is None:
        return spatial, spatial
    share, direct = (
        np.float32(0.5) * (bin_gains(moment.mask if mask is None else mask) + spatial)
        for mask in (moment.mask, moment.direct_mask)
    )
    return share, direct
