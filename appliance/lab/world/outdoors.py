"""A source outdoors as an array hears it: spreading, air, ground, Doppler, put together."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from appliance.lab.world.atmosphere import Air, absorb, speed_of_sound_m_s
from appliance.lab.world.ground import image, reflect
from appliance.lab.world.propagation import propagate
from appliance.lab.world.slow_filter import frame_times_s
from appliance.lab.world.trajectories import Trajectory

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class OutdoorSound:
    """What one source makes at the microphones, by way."""

    direct: FloatArray
    """(mics, samples) along the straight line."""
    ground: FloatArray
    """(mics, samples) by way of the ground."""


def hear_outdoors(
    signal: FloatArray,
    trajectory: Trajectory,
    mics_m: FloatArray,
    *,
    air: Air,
    surface: str | None,
    array_height_m: float,
    samples: int | None = None,
    signal_start_s: float = 0.0,
) -> OutdoorSound:
    """`signal` (n,), pressure at 1 m, heard by microphones (mics, 3) about the origin; arguments as in `propagate`.

    `surface` is one of `ground.FLOW_RESISTIVITY_PA_S_M2`; None: no ground. Air absorbs by the way to the array's
    origin, which stands for all microphones. The speed of sound is that of the air. Raises `ConfigError` as
    `propagate`, `image` and `flow_resistivity_pa_s_m2` do.
    """
    samples = len(signal) if samples is None else samples
    speed = speed_of_sound_m_s(air)

    def arrive(emitted: FloatArray, path: Trajectory) -> FloatArray:
        still = len(path.positions_m) == 1
        times_s = signal_start_s + (np.zeros(1) if still else frame_times_s(len(signal)))
        dulled = absorb(emitted, np.linalg.norm(path.at(times_s), axis=1), air)
        return propagate(dulled, path, mics_m, samples=samples, signal_start_s=signal_start_s, speed_of_sound_m_s=speed)

    direct = arrive(signal, trajectory)
    if surface is None:
        return OutdoorSound(direct, np.zeros_like(direct))
    mirrored = image(trajectory, array_height_m)
    reflected = reflect(
        signal,
        trajectory,
        surface,
        array_height_m=array_height_m,
        signal_start_s=signal_start_s,
        speed_of_sound_m_s=speed,
    )
    return OutdoorSound(direct, arrive(reflected, mirrored))
