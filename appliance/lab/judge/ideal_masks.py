"""What a perfect network would say of a scene: the ceiling of everything that masks are laid on."""

import numpy as np

from appliance.dsp.features import band_sum
from appliance.dsp.foa import FoaEncoder
from appliance.dsp.stft import HOPS_PER_LABEL, stft
from appliance.geometry import ArrayGeometry
from appliance.lab.world.render import RenderedScene
from appliance.separation.objects import HeardMoment, HeardObject


def ideal_object(scene: RenderedScene, index: int, geometry: ArrayGeometry, *, apart: bool = False) -> HeardObject:
    """What a perfect network would say of one source of a scene that was rendered with its stems.

    `apart`: one that tells its direct sound from what came by way of ground and walls.
    """
    assert scene.stems is not None
    encoder, truth, own = FoaEncoder(geometry), scene.sources[index], scene.stems.at_mics[index]
    energy, rest = (band_sum(np.abs(encoder.encode(stft(part))[:, 0]) ** 2) for part in (own, scene.samples - own))
    share = (energy / (energy + rest + 1e-20)).astype(np.float32)
    ways = (scene.stems.direct[index, 0], scene.stems.reverberant[index, 0])
    straight, reflected = (band_sum(np.abs(stft(way)) ** 2) for way in ways)
    direct = (share * straight / (straight + reflected + 1e-20)).astype(np.float32)
    hops = [slice(frame * HOPS_PER_LABEL, (frame + 1) * HOPS_PER_LABEL) for frame in range(len(truth.active))]
    moments = [
        HeardMoment(
            float(truth.azimuth_deg[frame]),
            abs(float(truth.elevation_deg[frame])) if geometry.is_planar else float(truth.elevation_deg[frame]),
            share[own_hops],
            direct[own_hops] if apart else None,
        )
        for frame, own_hops in enumerate(hops)
    ]
    return HeardObject(0, 0, truth.label, not geometry.is_planar, moments=moments)
