"""Recovering the sound of objects: what is taken apart adds up again, and each part holds its own object."""

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import MakeEvent
from plane_waves import RATE_HZ, Samples, at_array, hum, silence, write_flac
from side_model import write_side_model
from typer.testing import CliRunner

from appliance.angles import unit_vector
from appliance.cli.main import app
from appliance.config import TrackingSettings
from appliance.dsp.features import BANDS
from appliance.dsp.foa import FoaEncoder, foa_gains
from appliance.dsp.stft import stft
from appliance.errors import ModelError, RecordingError
from appliance.geometry import ArrayGeometry, load_array
from appliance.lab.metrics.separation import si_sdr_db
from appliance.separation.binaural import BinauralDecoder
from appliance.separation.manifest import StemsManifest, read_manifest
from appliance.separation.mvdr import MvdrBeams
from appliance.separation.objects import HeardMoment, ObjectMasks, bin_gains
from appliance.separation.remix import Edit, remix
from appliance.separation.separator import Separator
from appliance.separation.spatial import SpatialShares
from appliance.separation.synthesis import LATENCY_SAMPLES, StreamingIstft
from appliance.tracking import Tracker
from appliance.types import Arrival, Direction, Float32Array, SceneFrame, SceneObject

ARRAY = "tetrahedron_4cm2"
LEFT_DEG, RIGHT_DEG = 70.0, -100.0


def istft(spectra: np.ndarray) -> Float32Array:
    """(frames, channels, bins) → (channels, n) without the latency of the synthesis."""
    return StreamingIstft(spectra.shape[1]).push(spectra)[:, LATENCY_SAMPLES:]


def scream(seconds: float) -> Samples:
    """(n,) noise between 700 and 2700 Hz, which covers the last harmonics of `hum`."""
    spectrum = np.fft.rfft(np.random.default_rng(5).standard_normal(round(seconds * RATE_HZ)))
    hz = np.arange(len(spectrum)) / seconds
    spectrum[(hz < 700.0) | (hz > 2700.0)] = 0.0
    noise = np.fft.irfft(spectrum)
    return np.asarray(0.06 * noise / noise.std())


@pytest.fixture(scope="module")
def geometry() -> ArrayGeometry:
    return load_array(ARRAY)


@pytest.fixture(scope="module")
def parts(geometry: ArrayGeometry) -> tuple[Samples, Samples]:
    """Of two sources alone, (mics, n): a rotor on the left from 1 to 5 s, a scream on the right from 2 to 6 s."""
    left = np.concatenate([silence(1.0), hum(4.0), silence(1.537)])
    right = np.concatenate([silence(2.0), scream(4.0), silence(0.537)])
    return at_array(left, geometry, LEFT_DEG), at_array(right, geometry, RIGHT_DEG)


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory, parts: tuple[Samples, Samples]) -> Path:
    """Both together; its length is no multiple of a hop."""
    return write_flac(tmp_path_factory.mktemp("recording") / "two.flac", parts[0] + parts[1])


@pytest.fixture(scope="module")
def heard(recording: Path, geometry: ArrayGeometry) -> Float32Array:
    """(4, n) what the array heard, as FOA."""
    samples = soundfile.read(recording, dtype="float32")[0].T
    padded = np.pad(samples, ((0, 0), (0, 1024)))
    return istft(FoaEncoder(geometry).encode(stft(padded)))[:, : samples.shape[1]]


def stems_by(model: Path, recording: Path, folder: Path) -> Path:
    """The folder that the command writes."""
    done = CliRunner().invoke(
        app, ["replay", str(recording), "--array", ARRAY, "--model", str(model), "--stems", str(folder)]
    )
    assert done.exit_code == 0, done.output
    return folder


@pytest.fixture(scope="module")
def stems(tmp_path_factory: pytest.TempPathFactory, recording: Path) -> Path:
    """Of a model that does not tell reverberation apart."""
    model = write_side_model(tmp_path_factory.mktemp("model") / "side.onnx")
    return stems_by(model, recording, tmp_path_factory.mktemp("stems") / "two")


@pytest.fixture(scope="module")
def stems_apart(tmp_path_factory: pytest.TempPathFactory, recording: Path) -> Path:
    """Of the same model with direct masks."""
    model = write_side_model(tmp_path_factory.mktemp("model") / "side.onnx", direct=True)
    return stems_by(model, recording, tmp_path_factory.mktemp("stems") / "two")


@pytest.fixture(scope="module")
def manifest(stems: Path) -> StemsManifest:
    return read_manifest(stems)


def foa_of(stems: Path, edits: dict[int, Edit] | None = None) -> Float32Array:
    return np.concatenate(list(remix(stems, edits or {})), axis=1)


def file_of(stems: Path, name: str | None) -> Float32Array:
    """(channels, n) of a stem file."""
    assert name is not None
    samples: Float32Array = soundfile.read(stems / name, dtype="float32", always_2d=True)[0].T
    return samples


# --- synthesis --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hops_at_once", [1, 3, 50])
def test_spectra_that_nobody_changed_give_their_samples_back(hops_at_once: int) -> None:
    samples = np.random.default_rng(0).standard_normal((2, 16_000)).astype(np.float32)
    spectra = stft(samples)
    back = StreamingIstft(2)
    parts = [back.push(spectra[start : start + hops_at_once]) for start in range(0, len(spectra), hops_at_once)]
    out = np.concatenate(parts, axis=1)
    assert out.shape == samples.shape
    np.testing.assert_allclose(out[:, LATENCY_SAMPLES:], samples[:, :-LATENCY_SAMPLES], atol=2e-6)
    np.testing.assert_allclose(out[:, :LATENCY_SAMPLES], 0.0, atol=2e-6)


# --- whose mask is whose ----------------------------------------------------------------------------------------------


def slot(index: int, azimuth_deg: float, kind: int, activity: float = 0.9, *, masked: bool = True) -> SceneObject:
    probs = np.full(3, 0.01, np.float32)
    probs[kind] = 0.97
    mask = np.full((5, BANDS), 0.1 * (index + 1), np.float32) if masked else None
    return SceneObject(index, activity, probs, Direction(azimuth_deg, 0.0), 5.0, mask)


def test_masks_follow_the_track_and_not_the_slot() -> None:
    """Two sounds change slots halfway; each track keeps the mask of its own sound, and two slots of one sound add up."""
    tracker, masks = Tracker(TrackingSettings(), detection_activity=0.15), ObjectMasks(("a", "b", "c"))
    for frame in range(10):
        drone_slot = 0 if frame < 5 else 2
        objects = sorted(
            [slot(drone_slot, 10.0, 0), slot(2 - drone_slot, -90.0, 1), slot(1, 12.0, 0)], key=lambda one: one.slot
        )
        scene = SceneFrame(tuple(objects), (frame + 1) * 0.1, (frame + 1) * 100_000_000)
        tracks = tracker.update(scene)
        masks.add(scene, tracks, ())
        owned = [index for track in tracks for index in track.slots]
        assert sorted(owned) == [0, 1, 2]
    drone, other = sorted(masks.objects(), key=lambda heard: heard.class_label)
    assert (drone.class_label, other.class_label) == ("a", "b")
    shares = [[float(m.mask[0, 0]) for m in heard.moments if m.mask is not None] for heard in (drone, other)]
    assert shares[0] == pytest.approx([0.1 + 0.2] * 5 + [0.3 + 0.2] * 5)
    assert shares[1] == pytest.approx([0.3] * 5 + [0.1] * 5)


def test_direct_masks_follow_the_track_and_never_exceed_the_mask() -> None:
    """One sound in two slots; the direct mask of one of them says a little more than there is."""
    tracker, masks = Tracker(TrackingSettings(), detection_activity=0.15), ObjectMasks(("a", "b", "c"))
    for frame in range(6):
        first, second = slot(0, 10.0, 0), slot(1, 12.0, 0)
        assert first.mask is not None
        assert second.mask is not None
        objects = (replace(first, direct_mask=0.5 * first.mask), replace(second, direct_mask=1.01 * second.mask))
        scene = SceneFrame(objects, (frame + 1) * 0.1, (frame + 1) * 100_000_000)
        masks.add(scene, tracker.update(scene), ())
    (only,) = masks.objects()
    assert only.reverb_apart
    for moment in only.moments:
        assert moment.direct_mask is not None
        np.testing.assert_allclose(moment.direct_mask, 0.5 * 0.1 + 0.2, rtol=1e-5)


def test_a_track_that_is_never_confirmed_is_no_object_and_others_have_two_seconds_around_what_was_heard() -> None:
    tracker, masks = Tracker(TrackingSettings(), detection_activity=0.15), ObjectMasks(("a", "b", "c"))
    loud = [30, 31, 32, 33, 36, 37]
    for frame in range(80):
        objects = [slot(0, 10.0, 0, 0.9 if frame in loud else 0.0), slot(1, 150.0, 1, 0.9 if frame == 34 else 0.0)]
        scene = SceneFrame(tuple(objects), (frame + 1) * 0.1, (frame + 1) * 100_000_000)
        masks.add(scene, tracker.update(scene), ())
    (only,) = masks.objects()
    assert only.class_label == "a"
    heard = [moment.mask is not None for moment in only.moments]
    assert heard == [False] * 20 + [True] * 4 + [False] * 2 + [True] * 2 + [False] * 20
    assert only.first_frame == 10


@pytest.mark.parametrize("announced", [False, True])
def test_what_power_alone_found_is_an_object_once_an_event_came_of_it(announced: bool, make_event: MakeEvent) -> None:
    tracker, masks = Tracker(TrackingSettings(), detection_activity=0.15), ObjectMasks(("a", "b", "c"))
    for frame in range(30):
        scene = SceneFrame((slot(0, 10.0, 0, 0.0),), (frame + 1) * 0.1, (frame + 1) * 100_000_000)
        tracks = tracker.update(scene, [Arrival(Direction(80.0, 0.0), 8.0)] if 5 <= frame < 15 else [])
        new = announced and frame == 10
        masks.add(scene, tracks, [make_event(track_id=1, class_label="b")] if new else ())
    objects = masks.objects()
    assert [each.class_label for each in objects] == (["b"] if announced else [])
    for only in objects:
        assert only.first_frame == 0
        # Its ten frames and what may have sounded around them, in which its direction is all that is known of it.
        assert len(only.moments) == 30
        assert {moment.mask for moment in only.moments} == {None}


def test_a_model_without_masks_is_refused() -> None:
    tracker, masks = Tracker(TrackingSettings(), detection_activity=0.15), ObjectMasks(("a", "b", "c"))
    scene = SceneFrame((slot(0, 0.0, 0, masked=False),), 0.0, 0)
    with pytest.raises(ModelError, match="no masks"):
        masks.add(scene, tracker.update(scene), ())


# --- stems ------------------------------------------------------------------------------------------------------------


def test_stems_add_up_to_what_the_array_heard(
    stems: Path, manifest: StemsManifest, recording: Path, heard: Float32Array
) -> None:
    """Read from the files alone, each at its start: no sample differs, at the ends neither."""
    total = soundfile.read(stems / manifest.residual, dtype="float64", always_2d=True)[0].T
    assert total.shape == (4, soundfile.info(recording).frames) == (4, manifest.samples)
    assert len(manifest.objects) >= 2
    assert np.abs(heard - total).max() > 0.05
    for stem in manifest.objects:
        samples = soundfile.read(stems / stem.foa, dtype="float64", always_2d=True)[0].T
        assert samples.shape == (4, stem.samples)
        total[:, stem.start_sample : stem.start_sample + stem.samples] += samples
    np.testing.assert_allclose(total, heard, atol=1e-6)


def test_direct_and_reverberant_sound_add_up_to_the_object(
    stems: Path, manifest: StemsManifest, stems_apart: Path, heard: Float32Array
) -> None:
    """File by file what the same model writes without direct masks; and with the residual, what the array heard."""
    apart = read_manifest(stems_apart)
    assert (manifest.reverberation, apart.reverberation) == ("together", "apart")
    assert len(apart.objects) == len(manifest.objects)
    np.testing.assert_array_equal(file_of(stems_apart, apart.residual), file_of(stems, manifest.residual))
    total = file_of(stems_apart, apart.residual).astype(np.float64)
    for one, whole in zip(apart.objects, manifest.objects, strict=True):
        assert whole.foa_reverb is None
        direct, reverb = file_of(stems_apart, one.foa), file_of(stems_apart, one.foa_reverb)
        assert min(np.abs(direct).max(), np.abs(reverb).max()) > 1e-3
        np.testing.assert_allclose(direct + reverb, file_of(stems, whole.foa), atol=1e-6)
        total[:, one.start_sample : one.start_sample + one.samples] += direct + reverb
    np.testing.assert_allclose(total, heard, atol=1e-6)
    written = {path.name for path in stems_apart.iterdir()}
    named = {name for one in apart.objects for name in (one.mono, one.foa, one.foa_reverb)}
    assert written == named | {apart.residual, "stems.json"}


def test_each_object_is_in_its_own_stem(
    stems: Path, manifest: StemsManifest, geometry: ArrayGeometry, parts: tuple[Samples, Samples], heard: Float32Array
) -> None:
    """In the time in which both sound, where their bands overlap too."""
    both = slice(2 * RATE_HZ, 5 * RATE_HZ)
    for label, part in zip(("drone", "glass_break"), parts, strict=True):
        (stem,) = [one for one in manifest.objects if one.class_label == label]
        true = istft(FoaEncoder(geometry).encode(stft(part.astype(np.float32))))[0]
        for name in (stem.mono, stem.foa):
            samples = np.zeros(manifest.samples)
            file = soundfile.read(stems / name, always_2d=True)[0][:, 0]
            samples[stem.start_sample : stem.start_sample + stem.samples] = file
            gain_db = si_sdr_db(samples[both], true[both]) - si_sdr_db(heard[0, both], true[both])
            assert gain_db > 5.0, (name, gain_db)


def test_the_manifest_says_when_and_where_each_object_was(manifest: StemsManifest) -> None:
    named = {stem.class_label: stem for stem in manifest.objects}
    for label, azimuth_deg, start_s, stop_s in (("drone", LEFT_DEG, 1.0, 5.0), ("glass_break", RIGHT_DEG, 2.0, 6.0)):
        stem = named[label]
        path = [moment for moment in stem.path if moment.heard]
        assert path[0].time_s == pytest.approx(start_s, abs=0.21)
        assert path[-1].time_s == pytest.approx(stop_s, abs=0.21)
        assert np.median([moment.azimuth_deg for moment in path]) == pytest.approx(azimuth_deg, abs=8.0)
        assert stem.start_sample == pytest.approx(max(0.0, start_s - 2.0) * RATE_HZ, abs=0.25 * RATE_HZ)
        assert len(stem.event_ids) == 1
    assert manifest.recording == "two.flac"


# --- what comes from where --------------------------------------------------------------------------------------------


def diffuse(seconds: float, geometry: ArrayGeometry, seed: int) -> Samples:
    """(mics, n) noise from sixty directions all around at once."""
    rng = np.random.default_rng(seed)
    waves = (0.02 * rng.standard_normal(round(seconds * RATE_HZ)) for _ in range(60))
    return np.asarray(np.sum([at_array(wave, geometry, 6.0 * place) for place, wave in enumerate(waves)], axis=0))


def test_the_share_of_a_direction_is_what_comes_from_there(geometry: ArrayGeometry) -> None:
    """Noise from one side in a field from everywhere: the share is known, and nothing is left for the other side."""
    wave, field = scream(6.0), diffuse(6.0, geometry, 3)
    own, other = at_array(wave, geometry, 40.0), field[:, : len(wave)]
    shares, found = SpatialShares(geometry), []
    power = [(np.abs(stft(part.astype(np.float32))) ** 2).mean(axis=1) for part in (own, other)]
    spectrum = stft((own + other).astype(np.float32))
    towards = {1: unit_vector(40.0, 0.0), 2: unit_vector(-140.0, 0.0)}
    for start in range(0, len(spectrum), 7):
        found.append(shares.push(spectrum[start : start + 7], towards))
    bins, settled = slice(50, 160), slice(150, None)
    true = power[0][settled, bins].mean() / (power[0] + power[1])[settled, bins].mean()
    told, opposite = (np.concatenate([one[key] for one in found])[settled, bins].mean() for key in (1, 2))
    assert 0.2 < true < 0.9
    assert told == pytest.approx(true, abs=0.12)
    assert opposite < 0.1


def test_objects_never_have_more_than_there_is(geometry: ArrayGeometry) -> None:
    """Two tracks of one source, as when it was lost and found again: together they get what one would get."""
    spectrum = stft(at_array(scream(2.0), geometry, 40.0).astype(np.float32))
    moment, separator = HeardMoment(40.0, 0.0, np.ones((5, BANDS), np.float32)), Separator(geometry)
    for start in range(0, len(spectrum) - 4, 5):
        _, found = separator.push(spectrum[start : start + 5], {1: moment, 2: moment})
    total = found[1].share + found[2].share
    assert 0.9 < total[:, 60:150].min() <= total.max() < 1.0 + 1e-5
    np.testing.assert_array_equal(found[1].share, found[2].share)


# --- MVDR -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["respeaker_usb_4mic", "tetrahedron_4cm2", "minidsp_uma16_v2"])
def test_the_beam_passes_its_direction_unchanged_and_turns_its_null_to_the_interferer(name: str) -> None:
    """White noise from two directions, a mask that knows when only one sounds: the object comes out as W hears it alone."""
    geometry, rng = load_array(name), np.random.default_rng(3)
    target, interferer = 0.05 * rng.standard_normal((2, 4 * RATE_HZ))
    interferer[: RATE_HZ // 2] = 0.0
    at_mics = [at_array(signal, geometry, azimuth) for signal, azimuth in ((target, 30.0), (interferer, 150.0))]
    own, other = (stft(part.astype(np.float32)) for part in at_mics)
    power = [np.abs(part[:, 0]) ** 2 for part in (own, other)]
    mask = (power[0] / (power[0] + power[1] + 1e-12)).astype(np.float32)
    beams, heard, beam = MvdrBeams(geometry), own + other, []
    encoder, alone = FoaEncoder(geometry), MvdrBeams(geometry)
    for start in range(0, len(heard), 5):
        hops, towards = slice(start, start + 5), {7: unit_vector(30.0, 0.0)}
        beam.append(beams.push(heard[hops], {7: mask[hops]}, towards)[7])
        (passed,) = alone.push(own[hops], {7: np.ones_like(mask[hops])}, towards).values()
        # Where W is omnidirectional it and the beam are one and the same plane wave.
        omni = encoder.encode(own[hops])[:, 0, 10:60]
        if start >= 10:
            assert np.linalg.norm(passed[:, 10:60] - omni) < 0.05 * np.linalg.norm(omni)
    bins = slice(13, 250)
    clean, said = own[100:, 0, bins], np.concatenate(beam)[100:, bins]
    leak = heard[100:, 0, bins] - clean
    aligned = np.angle((said * clean.conj()).sum(axis=0))
    error = said * np.exp(-1j * aligned) - clean
    assert 10 * np.log10((np.abs(leak) ** 2).sum() / (np.abs(error) ** 2).sum()) > 8.0


def test_an_object_that_is_gone_is_forgotten(geometry: ArrayGeometry) -> None:
    beams, rng = MvdrBeams(geometry), np.random.default_rng(0)
    spectrum = stft(0.1 * rng.standard_normal((4, 1600)).astype(np.float32))
    half, towards = np.full((5, spectrum.shape[2]), 0.5, np.float32), unit_vector(0.0, 0.0)
    assert set(beams.push(spectrum, {1: half, 2: half}, {1: towards, 2: towards})) == {1, 2}
    assert set(beams.push(spectrum, {2: half}, {2: towards})) == {2}
    assert not beams.push(spectrum, {}, {})


def test_masks_reach_their_bins_and_no_others() -> None:
    gains = bin_gains(np.arange(1, BANDS + 1, dtype=np.float32))
    assert not gains[:3].any()
    assert not gains[-20:].any()
    assert gains[3:30].tolist() == list(range(1, 28))
    assert (np.diff(gains[3:480]) >= 0).all()


# --- remix ------------------------------------------------------------------------------------------------------------


def test_without_edits_it_is_what_the_array_heard(stems: Path, heard: Float32Array) -> None:
    np.testing.assert_allclose(foa_of(stems), heard, atol=1e-6)


def test_gain_and_mute_touch_one_object_alone(stems: Path, manifest: StemsManifest, heard: Float32Array) -> None:
    stem = manifest.objects[0]
    own = np.zeros_like(heard)
    file = soundfile.read(stems / stem.foa, dtype="float32", always_2d=True)[0].T
    own[:, stem.start_sample : stem.start_sample + stem.samples] = file
    edited = np.concatenate(list(remix(stems, {stem.track_id: Edit(gain=0.0)})), axis=1)
    np.testing.assert_allclose(edited, heard - own, atol=1e-6)
    edited = np.concatenate(list(remix(stems, {stem.track_id: Edit(gain=2.0)}, residual_gain=1.0)), axis=1)
    np.testing.assert_allclose(edited, heard + own, atol=1e-6)


def test_a_moved_object_comes_from_there(stems: Path, manifest: StemsManifest) -> None:
    """Alone, so that the intensity is its own: the FOA is that of a plane wave from the new direction."""
    drone = next(stem for stem in manifest.objects if stem.class_label == "drone")
    edits = {stem.track_id: Edit(gain=0.0) for stem in manifest.objects}
    edits[drone.track_id] = Edit(direction_deg=(-150.0, 35.0))
    moved = np.concatenate(list(remix(stems, edits, residual_gain=0.0)), axis=1)
    assert np.abs(moved[0]).max() > 0.05
    np.testing.assert_allclose(moved, foa_gains(unit_vector(-150.0, 35.0)[None]) * moved[0], atol=1e-6)


def test_a_dry_object_is_without_its_reverberation_and_a_moved_one_leaves_it_behind(
    stems_apart: Path, heard: Float32Array
) -> None:
    stem = read_manifest(stems_apart).objects[0]
    span = slice(stem.start_sample, stem.start_sample + stem.samples)
    direct, reverb, mono = (file_of(stems_apart, name) for name in (stem.foa, stem.foa_reverb, stem.mono))
    np.testing.assert_allclose(foa_of(stems_apart), heard, atol=1e-6)
    dry = foa_of(stems_apart, {stem.track_id: Edit(dry=True)})
    np.testing.assert_allclose((heard - dry)[:, span], reverb, atol=1e-6)
    twice = foa_of(stems_apart, {stem.track_id: Edit(gain=2.0)})
    np.testing.assert_allclose((twice - heard)[:, span], direct + reverb, atol=1e-6)
    there = foa_gains(unit_vector(-150.0, 35.0)[None]) * mono
    for edit, stays in ((Edit(direction_deg=(-150.0, 35.0)), reverb), (Edit(1.0, (-150.0, 35.0), dry=True), 0.0)):
        moved = foa_of(stems_apart, {stem.track_id: edit})
        np.testing.assert_allclose((moved - heard)[:, span], there + stays - direct - reverb, atol=2e-6)


def test_what_lies_in_one_stem_with_its_reverberation_cannot_be_dried(stems: Path, manifest: StemsManifest) -> None:
    with pytest.raises(RecordingError, match=r"its model \(side\) does not tell reverberation apart"):
        foa_of(stems, {manifest.objects[0].track_id: Edit(dry=True)})


@pytest.mark.parametrize(("azimuth_deg", "ear"), [(90.0, 0), (-90.0, 1), (30.0, 0), (-30.0, 1)])
def test_the_nearer_ear_hears_it_louder_and_earlier(azimuth_deg: float, ear: int) -> None:
    click = np.zeros(2000, np.float32)
    click[500] = 1.0
    foa = (foa_gains(unit_vector(azimuth_deg, 0.0)[None]) * click).astype(np.float32)
    ears = BinauralDecoder().push(foa)
    near, far = ears[ear], ears[1 - ear]
    assert (near**2).sum() > 1.2 * (far**2).sum()
    first = [int(np.argmax(np.abs(one) > 0.3 * np.abs(one).max())) for one in (near, far)]
    assert first[0] < first[1] <= first[0] + round(0.0007 * RATE_HZ) + 1


def test_binaural_is_the_same_in_any_pieces_and_symmetrical() -> None:
    foa = np.random.default_rng(0).standard_normal((4, 4000)).astype(np.float32)
    whole = BinauralDecoder().push(foa)
    cuts, pieces = [0, 10, 700, 4000], BinauralDecoder()
    parts = [pieces.push(foa[:, start:stop]) for start, stop in itertools.pairwise(cuts)]
    np.testing.assert_allclose(np.concatenate(parts, axis=1), whole, atol=1e-5)
    mirrored = BinauralDecoder().push(foa * np.array([1, -1, 1, 1], np.float32)[:, None])
    np.testing.assert_allclose(mirrored[::-1], whole, atol=1e-5)


# --- the command ------------------------------------------------------------------------------------------------------


def scene_remix(*args: object) -> object:
    return CliRunner().invoke(app, ["scene", "remix", *map(str, args)])


def test_the_command_writes_foa_and_binaural(
    stems: Path, manifest: StemsManifest, heard: Float32Array, tmp_path: Path
) -> None:
    foa, ears = tmp_path / "foa.wav", tmp_path / "ears.wav"
    assert scene_remix(stems, foa).exit_code == 0  # type: ignore[attr-defined]
    np.testing.assert_allclose(soundfile.read(foa, dtype="float32")[0].T, heard, atol=1e-6)
    number = manifest.objects[0].track_id
    options = ["--binaural", "--gain", f"{number}=6", "--mute", "residual", "--move", f"{number}=90,10"]
    assert scene_remix(stems, ears, *options).exit_code == 0  # type: ignore[attr-defined]
    samples = soundfile.read(ears)[0]
    assert samples.shape == (manifest.samples, 2)
    edits = {number: Edit(10 ** (6 / 20), (90.0, 10.0))}
    expected = BinauralDecoder().push(np.concatenate(list(remix(stems, edits, residual_gain=0.0)), axis=1))
    np.testing.assert_allclose(samples.T, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--gain", "1"], "--gain 1: not to be understood; write it as --gain 3=-6"),
        (["--move", "1=here"], "--move 1=here: not to be understood"),
        (["--gain", "1=9999"], "--gain 1=9999: beyond what is sensible; give -60 to 60 dB, or --mute 1"),
        (["--mute", "drone"], "'drone': no object; give its track_id"),
        (["--mute", "99"], "no object 99 there; it has: 1"),
        (["--dry", "drone"], "'drone': no object; give its track_id"),
        (["--dry", "1"], "does not tell reverberation apart; write the stems with one that does"),
    ],
)
def test_an_edit_that_cannot_be_is_refused_and_costs_no_file(
    stems: Path, tmp_path: Path, options: list[str], said: str
) -> None:
    out = tmp_path / "keep.wav"
    out.write_bytes(b"of an earlier day")
    done = scene_remix(stems, out, *options)
    assert said in str(done.exception)  # type: ignore[attr-defined]
    assert out.read_bytes() == b"of an earlier day"
    assert [*tmp_path.iterdir()] == [out]


def test_what_is_put_together_is_never_written_over(stems_apart: Path, tmp_path: Path) -> None:
    """By whatever path it is called."""
    stem = read_manifest(stems_apart).objects[0]
    link = tmp_path / "link.wav"
    link.symlink_to(stems_apart / stem.mono)
    before = {path: path.read_bytes() for path in stems_apart.iterdir()}
    parts = [stems_apart / str(name) for name in (stem.foa, stem.foa_reverb, "residual.foa.wav", "stems.json")]
    for out in (*parts, stems_apart / ".." / stems_apart.name / stem.mono, link):
        done = scene_remix(stems_apart, out, "--mute", stem.track_id)
        assert f"{out}: belongs to the stems" in str(done.exception)  # type: ignore[attr-defined]
    assert {path: path.read_bytes() for path in stems_apart.iterdir()} == before


def test_a_place_that_cannot_be_written_is_named(stems: Path, tmp_path: Path) -> None:
    for out, said in (("no/out.wav", "cannot be written"), (".", "is there and no file")):
        done = scene_remix(stems, tmp_path / out)
        assert f"{tmp_path / out}: {said}" in str(done.exception)  # type: ignore[attr-defined]


def test_stems_of_a_model_without_masks_are_refused_before_anything_is_heard(
    recording: Path, intensity_model: Path, tmp_path: Path
) -> None:
    args = ["--array", ARRAY, "--model", str(intensity_model), "--stems", str(tmp_path / "stems")]
    done = CliRunner().invoke(app, ["replay", str(recording), *args])
    assert "--stems: model intensity gives no masks" in str(done.exception)
    assert not (tmp_path / "stems").exists()


def test_stems_that_are_missing_or_cut_short_are_named(stems: Path, tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match=r"stems\.json: missing; write stems with"):
        read_manifest(tmp_path)
    (tmp_path / "stems.json").write_bytes((stems / "stems.json").read_bytes())
    with pytest.raises(RecordingError, match=r"residual\.foa\.wav: cannot be read"):
        list(remix(tmp_path, {}))
    soundfile.write(tmp_path / "residual.foa.wav", np.zeros((10, 4)), RATE_HZ)
    with pytest.raises(RecordingError, match="that the manifest says"):
        list(remix(tmp_path, {}))
    text = (stems / "stems.json").read_text(encoding="utf-8").replace('"together"', '"apart"')
    (tmp_path / "stems.json").write_text(text, encoding="utf-8")
    with pytest.raises(RecordingError, match=r"reverberation: 'apart' does not fit object"):
        read_manifest(tmp_path)
    (tmp_path / "stems.json").write_text('{"schema": 1, "sample": 3}', encoding="utf-8")
    with pytest.raises(RecordingError, match=r"stems\.json"):
        read_manifest(tmp_path)
