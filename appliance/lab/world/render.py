"""Recipe → samples of the microphones, and the truth of every source: what the judge and the demo hear.

Outdoors a source is spread, absorbed, reflected by the ground and Doppler-shifted (`lab.world.outdoors`), in a room it has
image sources (`lab.world.rooms`). Ambience and rain are diffuse, wind is turbulence at each microphone (`lab.world.wind`). All of it
is pressure in pascal until `lab.world.sensors` makes samples of it.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import soundfile

from appliance.angles import azimuth_elevation_deg, unit_vector
from appliance.dsp.foa import foa_gains
from appliance.dsp.stft import SAMPLE_RATE_HZ
from appliance.errors import ConfigError, RecordingError
from appliance.lab.pack import pack_dir
from appliance.lab.world import rooms
from appliance.lab.world.atmosphere import Air, absorb, speed_of_sound_m_s
from appliance.lab.world.diffuse import diffuse_field, loop
from appliance.lab.world.ground import image
from appliance.lab.world.levels import at_one_metre, gain_to_dba, source_level
from appliance.lab.world.outdoors import hear_outdoors
from appliance.lab.world.propagation import apparent_positions_m, emission_times_s
from appliance.lab.world.recipe import Position, Recipe, Room, SourcePlan
from appliance.lab.world.sensors import LABEL_SAMPLES, gap_samples, microphone, sample, true_positions_m
from appliance.lab.world.trajectories import Trajectory
from appliance.lab.world.wind import Wind, wind_noise
from appliance.types import Float32Array

FloatArray = npt.NDArray[np.float64]

_BAND_HZ = (100.0, 7500.0)
_ACTIVE_BELOW_PEAK_DB = 25.0
_CALM_M_S = 0.5
_TAIL_S = 0.05
_KNOT_S = 0.01
_RAIN_DBA_AT_1_MM_H, _RAIN_DB_PER_DECADE = 40.0, 12.0
"""An estimate: some 40 dB(A) in drizzle, 60 dB(A) in a cloudburst, over grass."""


@dataclass(frozen=True, slots=True)
class SourceTruth:
    """What one source really did, as the array hears it: its place is where it was when it made the sound."""

    label: str
    active: npt.NDArray[np.bool_]
    """(label frames,)."""
    azimuth_deg: FloatArray
    """(label frames,) in the array frame."""
    elevation_deg: FloatArray
    """(label frames,) in the array frame."""
    distance_m: FloatArray | None = None
    """(label frames,) from the array's centre; None where nobody measured it."""


@dataclass(frozen=True, slots=True, eq=False)
class Stems:
    """What the mixture is made of, before sensors touch it; full scale is ±1.0."""

    direct: Float32Array
    """(sources, 4, n) ideal first-order Ambisonics [W, Y, Z, X] at the array's centre, straight from the source."""
    reverberant: Float32Array
    """(sources, 4, n) the same by way of ground and walls."""
    at_mics: Float32Array
    """(sources, mics, n) both, at the microphones."""
    direct_at_mics: Float32Array
    """(sources, mics, n) of that what came straight from the source."""
    noise: Float32Array
    """(mics, n) ambience, rain, wind and self-noise."""


@dataclass(frozen=True, slots=True, eq=False)
class RenderedScene:
    """Samples (mics, n), the truth of each source, and what was lost."""

    samples: Float32Array
    sources: tuple[SourceTruth, ...]
    gaps: tuple[tuple[int, int], ...] = ()
    """(first, end) of lost samples, which are zero here."""
    stems: Stems | None = None
    """Where asked for."""


@dataclass(frozen=True, slots=True, eq=False)
class _Place:
    """What all sources of a scene share."""

    listeners_m: FloatArray
    """(mics + 1, 3) microphones and the array's centre, level frame about the centre."""
    rotation: FloatArray
    air: Air
    length: int


@dataclass(frozen=True, slots=True, eq=False)
class _Heard:
    """One source at 1 Pa of dry signal, not yet at its level."""

    direct: FloatArray
    """(mics + 1, n)."""
    reverberant: FloatArray
    """(mics + 1, n)."""
    direct_foa: FloatArray
    """(4, n); empty unless asked for, as the next."""
    reverberant_foa: FloatArray


def render(recipe: Recipe, *, stems: bool = False) -> RenderedScene:
    """Render a scene. The same recipe gives the same samples, with stems or without.

    Raises `RecordingError` where a recording cannot be read or is silent, `ConfigError` where the scene cannot be.
    """
    geometry, rotation = recipe.geometry(), recipe.pose.rotation()
    length = int(recipe.seconds * SAMPLE_RATE_HZ + 1e-6) // LABEL_SAMPLES * LABEL_SAMPLES
    if length == 0:
        raise ConfigError(f"recipe: seconds = {recipe.seconds:g}: shorter than a label frame; give 0.1 or more")
    mics_m = true_positions_m(geometry.positions_m, recipe.sensors) @ rotation.T
    air = Air(recipe.weather.temperature_c, recipe.weather.humidity_percent)
    place = _Place(np.concatenate([mics_m, np.zeros((1, 3))]), rotation, air, length)
    noise = _noise(recipe, mics_m, length)
    mixture, reference_pa = noise.copy(), band_rms(noise[0])
    full_scale_pa = microphone(recipe.sensors).pascal_at_full_scale
    truths, parts = [], []
    for plan in recipe.sources:
        dry = _dry(plan)
        path = _trajectory(recipe, plan, air)
        truth = _truth(plan, dry, path, place)
        if recipe.room is None:
            heard = _outdoors(recipe, dry, path, place, stems)
        else:
            heard = _in_room(recipe.room, plan.positions_m[0], recipe.pose.height_m, dry, path, place, stems)
        at_mics = heard.direct[:-1] + heard.reverberant[:-1]
        if plan.snr_db is not None:
            level_pa = band_rms(at_mics[0], np.repeat(truth.active, LABEL_SAMPLES)) if truth.active.any() else 1.0
            gain = reference_pa * 10.0 ** (plan.snr_db / 20.0) / max(level_pa, 1e-12)
        else:
            gain = 1.0
        mixture += gain * at_mics
        truths.append(truth)
        if stems:
            parts.append(
                [
                    gain / full_scale_pa * part
                    for part in (heard.direct_foa, heard.reverberant_foa, at_mics, heard.direct[:-1])
                ]
            )
    return RenderedScene(
        sample(mixture, recipe.sensors),
        tuple(truths),
        gap_samples(recipe.sensors, length),
        _stems(parts, noise / full_scale_pa) if stems else None,
    )


def _stems(parts: list[list[FloatArray]], noise: FloatArray) -> Stems:
    channels, length = noise.shape
    direct, reverberant, at_mics, direct_at_mics = (
        np.array([part[kind] for part in parts], np.float32).reshape(-1, rows, length)
        for kind, rows in enumerate((4, 4, channels, channels))
    )
    return Stems(direct, reverberant, at_mics, direct_at_mics, noise.astype(np.float32))


@lru_cache(maxsize=256)
def _recording(clip: str) -> FloatArray:
    path = pack_dir() / clip
    try:
        samples, rate_hz = soundfile.read(path, dtype="float64")
    except (soundfile.LibsndfileError, OSError) as error:
        raise RecordingError(f"{path}: cannot be read ({error}); fetch the audio pack again") from error
    if rate_hz != SAMPLE_RATE_HZ or samples.ndim != 1 or len(samples) < 2:
        raise RecordingError(f"{path}: {samples.shape} at {rate_hz} Hz; a recording must be mono at 16 kHz")
    recording: FloatArray = samples - samples.mean()
    recording.flags.writeable = False
    return recording


def _dry(plan: SourcePlan) -> FloatArray:
    """The source alone (n,), from its first sound to its last: in pascal at 1 m where its level is given."""
    wanted = max(1, int(plan.seconds * SAMPLE_RATE_HZ))
    recording = _recording(plan.clip)
    offset = int(plan.offset_s * SAMPLE_RATE_HZ) % len(recording)
    part = loop(np.roll(recording, -offset), wanted)
    fade = max(1, min(int(plan.fade_s * SAMPLE_RATE_HZ), wanted // 2))
    faded: FloatArray = part * np.minimum(1.0, np.minimum(np.arange(wanted), np.arange(wanted)[::-1]) / fade)
    if plan.level_dba is None:
        return faded
    return at_one_metre(faded, source_level(plan.label), plan.level_dba)


def _trajectory(recipe: Recipe, plan: SourcePlan, air: Air) -> Trajectory:
    """Where it is, about the array's centre; its time begins with the emission of what is heard at `start_s`."""
    positions_m = np.array(plan.positions_m, np.float64) - (0.0, 0.0, recipe.pose.height_m)
    way_s = float(np.linalg.norm(positions_m[0])) / speed_of_sound_m_s(air)
    return Trajectory(positions_m, plan.interval_s, plan.start_s - way_s)


def _heard_until_s(dry: FloatArray, path: Trajectory, speed_m_s: float) -> float:
    last_s = path.start_s + len(dry) / SAMPLE_RATE_HZ
    return last_s + float(np.linalg.norm(path.at(last_s))) / speed_m_s


def _truth(plan: SourcePlan, dry: FloatArray, path: Trajectory, place: _Place) -> SourceTruth:
    """Label frame by label frame. It is active where the sound heard then left the source within 25 dB of its loud parts."""
    speed_m_s = speed_of_sound_m_s(place.air)
    frame_s = LABEL_SAMPLES / SAMPLE_RATE_HZ
    edges_s = frame_s * np.arange(place.length // LABEL_SAMPLES + 1)
    heard_s = np.clip(edges_s, plan.start_s, _heard_until_s(dry, path, speed_m_s))
    emitted_s = emission_times_s(path, heard_s, np.zeros((1, 3)), speed_m_s)[0] - path.start_s
    energy = np.diff(np.interp(emitted_s * SAMPLE_RATE_HZ, np.arange(len(dry) + 1), np.cumsum([0.0, *dry**2])))
    sounding = energy[energy > 0.0]
    threshold = np.percentile(sounding, 95) * 10.0 ** (-_ACTIVE_BELOW_PEAK_DB / 10.0) if len(sounding) else 1.0
    middle_s = np.clip(edges_s[:-1] + frame_s / 2.0, heard_s[0], heard_s[-1])
    positions_m = apparent_positions_m(path, middle_s, speed_of_sound_m_s=speed_m_s) @ place.rotation
    angles = np.array([azimuth_elevation_deg(position) for position in positions_m])
    distance_m = np.linalg.norm(positions_m, axis=1)
    return SourceTruth(plan.label, energy > threshold, angles[:, 0], angles[:, 1], distance_m)


def _outdoors(recipe: Recipe, dry: FloatArray, path: Trajectory, place: _Place, stems: bool) -> _Heard:
    """Only the stretch in which it is heard is worked out; `stems` asks for Ambisonics."""
    speed_m_s = speed_of_sound_m_s(place.air)
    start_s = path.start_s + float(np.linalg.norm(path.at(path.start_s))) / speed_m_s
    first = int(start_s * SAMPLE_RATE_HZ)
    ways = [path] if recipe.surface is None else [path, image(path, recipe.pose.height_m)]
    until_s = max(_heard_until_s(dry, way, speed_m_s) for way in ways) + _TAIL_S
    samples = min(place.length - first, math.ceil(until_s * SAMPLE_RATE_HZ) - first)
    local = [Trajectory(way.positions_m, way.interval_s, way.start_s - first / SAMPLE_RATE_HZ) for way in ways]
    sound = hear_outdoors(
        dry,
        local[0],
        place.listeners_m,
        air=place.air,
        surface=recipe.surface,
        array_height_m=recipe.pose.height_m,
        samples=samples,
        signal_start_s=local[0].start_s,
    )
    foa = []
    for way, omni in zip(local, (sound.direct[-1], sound.ground[-1]), strict=False):
        foa.append(_ambisonics(omni, way, place, speed_m_s) if stems else np.empty((4, 0)))
    foa += [np.zeros_like(foa[0])] * (2 - len(foa))
    return _Heard(*(_placed(part, first, place.length) for part in (sound.direct, sound.ground, *foa)))


def _ambisonics(omni: FloatArray, path: Trajectory, place: _Place, speed_m_s: float) -> FloatArray:
    """Pressure at the centre (n,) → (4, n) in the array frame, from where the sound came at each moment."""
    time_s = np.arange(len(omni)) / SAMPLE_RATE_HZ
    knots_s = np.arange(0.0, time_s[-1] + _KNOT_S, _KNOT_S)
    towards = apparent_positions_m(path, knots_s, speed_of_sound_m_s=speed_m_s) @ place.rotation
    towards = np.stack([np.interp(time_s, knots_s, axis) for axis in towards.T], axis=1)
    return foa_gains(towards / np.linalg.norm(towards, axis=1, keepdims=True)) * omni


def _in_room(
    room: Room, source_m: Position, height_m: float, dry: FloatArray, path: Trajectory, place: _Place, stems: bool
) -> _Heard:
    """By image sources; the air absorbs by the direct way alone."""
    speed_m_s = speed_of_sound_m_s(place.air)
    centre_m = np.array([0.0, 0.0, height_m])
    found = rooms.images(room, source_m)
    itself, mirrored = found.only(found.orders == 0), found.only(found.orders > 0)
    listeners_m = place.listeners_m + centre_m
    dulled = absorb(dry, float(np.linalg.norm(path.positions_m[0])), place.air)
    first = round(path.start_s * SAMPLE_RATE_HZ)
    responses = [rooms.impulse_responses(part, listeners_m, speed_m_s) for part in (itself, mirrored)]
    if stems:
        responses += [rooms.foa_responses(part, centre_m, place.rotation, speed_m_s) for part in (itself, mirrored)]
    heard = [_placed(rooms.reverberate(dulled, part), first, place.length) for part in responses]
    return _Heard(*heard, *([np.empty((4, 0))] * (4 - len(heard))))


def _placed(heard: FloatArray, first: int, length: int) -> FloatArray:
    """What is heard (rows, n) from sample `first` on (or before the scene, if negative), in a scene's length."""
    out = np.zeros((len(heard), length))
    start, skipped = max(first, 0), max(-first, 0)
    count = min(heard.shape[1] - skipped, length - start)
    if count > 0:
        out[:, start : start + count] = heard[:, skipped : skipped + count]
    return out


def _noise(recipe: Recipe, mics_m: FloatArray, length: int) -> FloatArray:
    """All that comes from no source (mics, length) in pascal; each kind has a random stream of its own."""
    streams = [np.random.default_rng([recipe.seed, kind]) for kind in range(4)]
    weather = recipe.weather
    noise = microphone(recipe.sensors).self_noise(streams[0], len(mics_m), length)
    if recipe.ambient_dba is not None:
        noise += _diffuse(streams[1], recipe.bed, recipe.ambient_dba, mics_m, length)
    if weather.rain_mm_h > 0.0:
        level_dba = _RAIN_DBA_AT_1_MM_H + _RAIN_DB_PER_DECADE * math.log10(weather.rain_mm_h)
        noise += _diffuse(streams[2], recipe.rain, level_dba, mics_m, length)
    if weather.wind_m_s >= _CALM_M_S:
        # The scene frame's azimuth is counter-clockwise from north.
        wind = Wind(weather.wind_m_s, -weather.wind_from_deg, recipe.pose.height_m)
        noise += wind_noise(streams[3], wind, mics_m, length)
    return noise


def _diffuse(
    rng: np.random.Generator, clips: tuple[str, ...], level_dba: float, mics_m: FloatArray, length: int
) -> FloatArray:
    recordings = [_recording(clip) for clip in clips] or [_pink(rng, 30 * SAMPLE_RATE_HZ)]
    # Recordings of unequal level are heard alike.
    recordings = [recording / max(band_rms(recording), 1e-9) for recording in recordings]
    field = diffuse_field(rng, recordings, mics_m, length)
    return field * gain_to_dba(field[0], level_dba)


def _pink(rng: np.random.Generator, length: int) -> FloatArray:
    frequencies = np.fft.rfftfreq(length, 1.0 / SAMPLE_RATE_HZ)
    spectrum = np.fft.rfft(rng.standard_normal(length)) / np.sqrt(np.maximum(frequencies, 20.0))
    return np.fft.irfft(spectrum, n=length)


def band_rms(signal: npt.NDArray[np.floating], where: npt.NDArray[np.bool_] | None = None) -> float:
    """RMS over 100 Hz – 7.5 kHz, of the samples `where` if given."""
    chosen = signal if where is None else signal[where]
    spectrum = np.fft.rfft(chosen)
    frequencies = np.fft.rfftfreq(len(chosen), 1.0 / SAMPLE_RATE_HZ)
    inside = (frequencies >= _BAND_HZ[0]) & (frequencies <= _BAND_HZ[1])
    return float(np.sqrt(2.0 * (np.abs(spectrum[inside]) ** 2).sum()) / len(chosen))


def nearest_truth_deg(truth: SourceTruth, label_frame: int) -> tuple[float, float]:
    """Direction of a source at the active frame nearest to `label_frame`."""
    active = np.flatnonzero(truth.active)
    frame = int(active[np.abs(active - label_frame).argmin()]) if len(active) else label_frame
    vector = unit_vector(truth.azimuth_deg[frame], truth.elevation_deg[frame])
    return azimuth_elevation_deg(vector)
