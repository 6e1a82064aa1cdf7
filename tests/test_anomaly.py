"""What a site does not normally make raises an event of its own; what has a name, or is learned by now, does not."""

import json
import math
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from intensity_model import write_intensity_model
from plane_waves import RATE_HZ, Samples, at_array, hum
from typer.testing import CliRunner

from appliance import wire
from appliance.cli.main import app
from appliance.config import ClassPolicy, MountSettings, NoveltySettings, SiteSettings, StoreSettings, UnitSettings
from appliance.daemon.site_memory import MemoryKeeper
from appliance.errors import StoreError
from appliance.events import EventPolicy, policies_for, seeded_ulids
from appliance.geometry import load_array
from appliance.lab.hear import MemorySource
from appliance.lab.novelty_hours import SceneStream, count, site_hours
from appliance.model.scene import SceneModel
from appliance.novelty.direction import WindowDirection
from appliance.novelty.keep import memory_path, read_memory, save_memory
from appliance.novelty.listener import LEVEL_DIMENSIONS
from appliance.novelty.memory import MemorySettings, SiteMemory
from appliance.pipeline import Moment, run
from appliance.publish.presence import _novelty
from appliance.stages import Stages, build_stages
from appliance.types import Direction, Event, SceneFrame, SceneObject, Strangeness, Track, UnitState

CLASSES = ("drone", "dog")
NEAREST = (("drone", 0.4), ("dog", 0.1))
GEOMETRY = load_array("tetrahedron_4cm2")
QUIET, STRANGE = 0.05, 0.9


def strange(score: float = STRANGE, azimuth_deg: float | None = 30.0, sigma_deg: float = 8.0) -> Strangeness:
    if azimuth_deg is None:
        return Strangeness(score, None, 180.0, NEAREST)
    return Strangeness(score, Direction(azimuth_deg, 5.0), sigma_deg, NEAREST)


def drone(azimuth_deg: float) -> Track:
    probs = np.array([0.9, 0.0], np.float32)
    return Track(1, "confirmed", Direction(azimuth_deg, 0.0), ((9.0, 0.0), (0.0, 9.0)), probs, 0, 0)


class Run:
    """A policy that is told of anomalies, frame by frame."""

    def __init__(self) -> None:
        self.policy = EventPolicy(
            CLASSES,
            policies_for(CLASSES, {}, {}),
            unit=UnitSettings(),
            mount=MountSettings(heading_sigma_deg=0.0),
            ulids=seeded_ulids(b"anomaly"),
            clock=lambda: "replay",
            anomalies=True,
        )
        self.now_ns = 0
        self.events: list[Event] = []

    def hold(self, seconds: float, said: Strangeness | None, *tracks: Track) -> None:
        for _ in range(round(seconds * 10)):
            self.now_ns += 100_000_000
            self.events += self.policy.decide(tracks, self.now_ns, strange=said)

    @property
    def told(self) -> list[str]:
        return [f"{event.class_label} {event.state}" for event in self.events]


# --- policy -----------------------------------------------------------------------------------------------------------


def test_what_stays_strange_is_one_event_with_its_nearest_classes() -> None:
    run_ = Run()
    run_.hold(4.0, strange())
    run_.hold(8.0, strange(QUIET))
    assert run_.told == ["anomaly new", "anomaly end"]
    new, end = run_.events
    assert (new.severity, new.track_id, new.nearest) == ("detection", 0, NEAREST)
    assert (new.azimuth_deg, new.elevation_deg) == (30.0, 5.0)
    assert new.bearing_sigma_deg == pytest.approx(8.0, rel=0.01)
    assert 2.0 <= new.utc_ns * 1e-9 <= 2.2
    assert end.confidence == pytest.approx(STRANGE)
    message = json.loads(wire.event_to_json(new))
    jsonschema.Draft202012Validator(wire.load_schema("event.v1")).validate(message)
    assert message["nearest"][0] == {"class": "drone", "probability": 0.4}


def test_what_is_strange_for_a_moment_is_none_and_is_counted() -> None:
    run_ = Run()
    run_.hold(1.5, strange())
    run_.hold(6.0, None)
    assert run_.told == []
    assert run_.policy.rejected == {("anomaly", "not_confirmed"): 1}


def test_without_a_direction_the_bearing_says_that_it_knows_none() -> None:
    run_ = Run()
    run_.hold(3.0, strange(azimuth_deg=None))
    (new,) = run_.events
    assert (new.bearing_sigma_deg, new.elevation_valid) == (180.0, False)


@pytest.mark.parametrize("said", [strange(), strange(azimuth_deg=None), strange(azimuth_deg=75.0, sigma_deg=30.0)])
def test_what_has_a_name_there_is_no_anomaly(said: Strangeness) -> None:
    run_ = Run()
    run_.hold(5.0, said, drone(25.0))
    run_.hold(2.0, said, replace(drone(25.0), status="deleted", updated=False))  # it is still within the window
    assert run_.told == ["drone new", "drone end"]


def test_a_named_event_elsewhere_excuses_nothing() -> None:
    run_ = Run()
    run_.hold(5.0, strange(azimuth_deg=-120.0), drone(25.0))
    assert sorted(run_.told) == ["anomaly new", "drone new"]


def test_an_anomaly_that_gets_a_name_ends() -> None:
    run_ = Run()
    run_.hold(3.0, strange())
    run_.hold(6.0, strange(), drone(25.0))
    assert run_.told == ["anomaly new", "drone new", "anomaly end"]


def test_it_cools_down_and_obeys_its_threshold() -> None:
    run_ = Run()
    for _ in range(2):
        run_.hold(3.0, strange())
        run_.hold(7.0, None)
    assert run_.told == ["anomaly new", "anomaly end"]
    assert run_.policy.rejected == {("anomaly", "cooldown"): 1}
    patient = Run()
    patient.policy.set_thresholds({"anomaly": 0.95})
    patient.hold(5.0, strange())
    assert patient.told == []


def stages_without_memory() -> Stages:
    return build_stages(
        SiteSettings(),
        GEOMETRY,
        SceneModel.load("deepasa-edge-small-int8"),
        ulids=seeded_ulids(b""),
        clock=lambda: "replay",
    )


def test_without_a_memory_there_is_no_such_class() -> None:
    stages = stages_without_memory()
    assert stages.novelty is None
    stages.policy.decide([], 0, strange=strange())
    assert stages.policy.finish(10**9) == []


# --- direction --------------------------------------------------------------------------------------------------------


def directions(samples: Samples, *slots: SceneObject) -> tuple[Direction | None, float]:
    stages = stages_without_memory()
    hops = [hop for block in MemorySource(samples.astype(np.float32)).blocks() for hop in stages.extractor.push(block)]
    window = WindowDirection(20)
    for index in range(0, len(hops) - 4, 5):
        window.push(hops[index : index + 5], SceneFrame(slots, index // 5, 0))
    return window.direction()


def noise(seconds: float, seed: int = 0) -> Samples:
    return np.random.default_rng(seed).normal(0.0, 0.02, round(seconds * RATE_HZ))


def test_where_no_slot_is_active_the_intensity_tells_where_it_is() -> None:
    doa, sigma_deg = directions(at_array(noise(2.0), GEOMETRY, 70.0, 20.0))
    assert doa is not None
    assert doa.azimuth_deg == pytest.approx(70.0, abs=4.0)
    assert doa.elevation_deg == pytest.approx(20.0, abs=6.0)
    assert sigma_deg < 20.0


def test_an_active_slot_is_believed_over_the_intensity() -> None:
    active = SceneObject(0, 0.8, np.zeros(2, np.float32), Direction(-50.0, 0.0), 4.0)
    doa, _ = directions(at_array(noise(2.0), GEOMETRY, 70.0), active)
    assert doa is not None
    assert doa.azimuth_deg == pytest.approx(-50.0, abs=0.1)


def test_what_comes_from_everywhere_has_no_direction() -> None:
    diffuse = np.stack([noise(2.0, seed) for seed in range(4)])
    assert directions(diffuse) == (None, 180.0)


# --- the loop ---------------------------------------------------------------------------------------------------------


def band(seconds: float, low_hz: float, seed: int) -> Samples:
    spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal(round(seconds * RATE_HZ)))
    hz = np.arange(len(spectrum)) / seconds
    spectrum[(hz < low_hz) | (hz > 2.0 * low_hz)] = 0.0
    return 0.02 * np.asarray(np.fft.irfft(spectrum))


def ambience(seconds: float, seed: int = 1) -> Samples:
    """(mics, n) from everywhere, two low rumbles of which now one is louder and now the other: what the site sounds like."""
    rng = np.random.default_rng(seed)
    rumbles = [
        np.stack([band(seconds, low_hz, int(rng.integers(2**31))) for _ in range(4)]) for low_hz in (160.0, 320.0)
    ]
    swell = 0.5 + 0.4 * np.sin(2.0 * np.pi * np.arange(rumbles[0].shape[1]) / RATE_HZ / 7.0 + rng.uniform(0.0, 6.0))
    sound = swell * rumbles[0] + (1.0 - swell) * rumbles[1]
    return np.asarray(sound + rng.normal(0.0, 5e-4, sound.shape))


class Watch:
    """Keeps what was said in the loop."""

    def __init__(self) -> None:
        self.events: list[tuple[float, Event]] = []

    def frame(self, moment: Moment) -> None:
        self.events += [(moment.stream_s, event) for event in moment.events]

    def finished(self, events: Iterable[Event], stream_s: float) -> None:
        self.events += [(stream_s, event) for event in events]


def heard(memory: SiteMemory, model: Path, *scenes: Samples) -> list[tuple[float, Event]]:
    """Through the pipeline of the field, with the site's memory."""
    settings = SiteSettings(mount=MountSettings(heading_sigma_deg=0.0), policy={"anomaly": ClassPolicy(cooldown_s=4.0)})
    stages = build_stages(
        settings,
        GEOMETRY,
        SceneModel.load(model),
        ulids=seeded_ulids(b""),
        clock=lambda: "replay",
        memory=memory,
    )
    watch = Watch()
    source = SceneStream([scene.astype(np.float32) for scene in scenes], GEOMETRY.mics)
    run(source, stages, [], [watch])
    return watch.events


@pytest.fixture(scope="module")
def site() -> SiteMemory:
    return SiteMemory(LEVEL_DIMENSIONS, MemorySettings(learning_s=110.0))


@pytest.fixture(scope="module")
def unsure_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that never is sure enough of a class to announce it."""
    path = tmp_path_factory.mktemp("unsure") / "unsure.onnx"
    return write_intensity_model(path, thresholds={"drone": 0.99, "glass_break": 0.99})


@pytest.fixture(scope="module")
def learned(site: SiteMemory, unsure_model: Path) -> SiteMemory:
    """The site after nearly three minutes, in which nothing was said."""
    assert heard(site, unsure_model, ambience(168.0)) == []
    assert site.learned
    return site


def again(memory: SiteMemory) -> SiteMemory:
    """The same knowledge, so that a test leaves none behind."""
    return SiteMemory.from_arrays(memory.arrays(), memory.dimensions, memory.settings)


def hiss(seconds: float, azimuth_deg: float = 70.0) -> Samples:
    return at_array(band(seconds, 2500.0, 9), GEOMETRY, azimuth_deg)


def test_a_sound_that_the_site_never_made_is_an_anomaly_from_where_it_came(
    learned: SiteMemory, unsure_model: Path
) -> None:
    events = heard(again(learned), unsure_model, ambience(20.0, seed=2), hiss(8.0), ambience(12.0, seed=3))
    assert [(event.class_label, event.state) for _, event in events if event.state != "update"] == [
        ("anomaly", "new"),
        ("anomaly", "end"),
    ]
    at_s, new = events[0]
    assert 22.0 < at_s < 27.0
    assert new.azimuth_deg == pytest.approx(70.0, abs=10.0)
    assert new.bearing_sigma_deg < 60.0
    assert new.nearest[0][0] == "glass_break"
    assert new.confidence > 0.5


def test_with_a_name_the_same_sound_is_what_it_is_called_and_is_not_learned(
    learned: SiteMemory, intensity_model: Path
) -> None:
    memory = again(learned)
    drone = at_array(hum(8.0), GEOMETRY, 70.0)
    events = heard(memory, intensity_model, ambience(12.0, seed=2), drone)
    assert {event.class_label for _, event in events} == {"drone"}
    # The windows that waited when it began are not learned either.
    assert 2.0 <= memory.heard_s - learned.heard_s <= 8.0


def test_an_anomaly_that_comes_again_and_again_becomes_familiar(learned: SiteMemory, unsure_model: Path) -> None:
    memory = again(learned)
    visits = [part for seed in range(5) for part in (hiss(8.0), ambience(12.0, seed=10 + seed))]
    begun = [
        at_s for at_s, event in heard(memory, unsure_model, ambience(20.0, seed=2), *visits) if event.state == "new"
    ]
    assert begun == pytest.approx([22.5, 42.5, 62.5], abs=1.5)


def test_while_it_learns_nothing_is_an_anomaly(unsure_model: Path) -> None:
    memory = SiteMemory(LEVEL_DIMENSIONS, MemorySettings(learning_s=120.0))
    assert heard(memory, unsure_model, ambience(40.0), hiss(8.0)) == []
    assert not memory.learned
    assert 30.0 < memory.heard_s < 48.0


def test_the_shipped_model_gives_the_embedding_that_its_memory_is_made_of() -> None:
    model = SceneModel.load("deepasa-edge-small-int8")
    stages = build_stages(SiteSettings(), GEOMETRY, model, ulids=seeded_ulids(b""), clock=lambda: "replay")
    block = next(MemorySource(at_array(noise(0.2), GEOMETRY, 0.0).astype(np.float32)).blocks())
    hops = stages.extractor.push(block)
    frame = model.step([*hops, *hops][: model.frames_per_step])
    assert frame.embedding is not None
    assert frame.embedding.shape == (model.embedding_dimensions,)


# --- over restarts ----------------------------------------------------------------------------------------------------


def keeper(folder: Path, model: Path) -> MemoryKeeper:
    settings = SiteSettings(
        store=StoreSettings(path=folder / "events.db"), novelty=NoveltySettings(enabled=True, learning_hours=0.1)
    )
    return MemoryKeeper(settings, SceneModel.load(model))


MOMENT = Moment(SceneFrame((), 0, 0), (), (), 0.0, (), 0.0, ())


def met(memory: SiteMemory, seconds: float = 400.0) -> None:
    rng = np.random.default_rng(0)
    for index in range(round(seconds / 2.0)):
        memory.learn(rng.normal(0.0, 1.0, memory.dimensions), 2.0 * index, 2.0)


def test_the_site_is_known_after_a_restart(tmp_path: Path, intensity_model: Path) -> None:
    first = keeper(tmp_path, intensity_model)
    assert first.state()["state"] == "learning"
    met(first.memory)
    first.finished([], 0.0)
    second = keeper(tmp_path, intensity_model)
    assert second.state() == first.state() == {"state": "watching", "heard_s": 400, "learning_s": 360, "sounds": 200}
    assert second.faults == []


def test_another_model_learns_the_site_anew_and_says_so(
    tmp_path: Path, intensity_model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = keeper(tmp_path, intensity_model)
    met(first.memory)
    first.finished([], 0.0)
    model = tmp_path / "other.onnx"
    # Other bytes, the same graph: metadata of its own.
    import onnx

    other = onnx.load(write_intensity_model(model))
    other.producer_name = "another"
    onnx.save(other, model)
    write_meta_again(model)
    second = keeper(tmp_path, model)
    assert second.state()["sounds"] == 0
    assert "learned with another model" in caplog.text
    assert read_memory(tmp_path / "events.site-memory.npz.other-model")[0].prototypes == 200


def write_meta_again(model: Path) -> None:
    from appliance.model.meta import file_sha256

    path = model.with_suffix(".meta.json")
    document = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(document | {"sha256": file_sha256(model)}), encoding="utf-8")


def test_a_corrupt_memory_is_kept_aside_begun_anew_and_told(tmp_path: Path, intensity_model: Path) -> None:
    path = memory_path(tmp_path / "events.db")
    path.write_bytes(b"PK\x03\x04 and then the power went")
    kept = keeper(tmp_path, intensity_model)
    assert kept.state()["sounds"] == 0
    (fault,) = kept.faults
    assert "corrupt and begun anew" in fault
    (aside,) = tmp_path.glob("events.site-memory.npz.corrupt-*")
    assert str(aside) in fault
    assert read_memory(path)[0].prototypes == 0
    kept.finished([], 0.0)
    assert kept.faults == [fault]


def test_a_memory_that_cannot_be_written_is_a_fault_and_is_no_end(tmp_path: Path, intensity_model: Path) -> None:
    kept = keeper(tmp_path, intensity_model)
    partial = kept.path.with_name(kept.path.name + ".partial")
    partial.mkdir()
    kept.finished([], 0.0)
    assert "cannot be written" in kept.faults[0]
    partial.rmdir()
    kept.finished([], 0.0)
    assert kept.faults == []


def test_the_command_makes_a_running_sensor_forget(tmp_path: Path, intensity_model: Path) -> None:
    kept = keeper(tmp_path, intensity_model)
    met(kept.memory)
    kept.finished([], 0.0)
    site_file = tmp_path / "site.toml"
    site_file.write_text(f'[store]\npath = "{tmp_path / "events.db"}"\n[novelty]\nlearning_hours = 0.1\n')
    shown = CliRunner().invoke(app, ["novelty", "show", "--site", str(site_file)]).output
    assert "learned, 0.1 of 0.1 h heard, 200 sounds" in shown
    assert "enabled is false" in shown
    assert "forgotten" in CliRunner().invoke(app, ["novelty", "reset", "--site", str(site_file)]).output
    kept.frame(MOMENT)
    assert kept.state()["sounds"] == 0
    assert read_memory(kept.path)[0].prototypes == 0


def test_where_there_is_no_memory_the_command_says_so(tmp_path: Path) -> None:
    site_file = tmp_path / "site.toml"
    site_file.write_text(f'[store]\npath = "{tmp_path / "events.db"}"\n')
    assert "nothing to forget" in CliRunner().invoke(app, ["novelty", "reset", "--site", str(site_file)]).output
    result = CliRunner().invoke(app, ["novelty", "show", "--site", str(site_file)])
    assert isinstance(result.exception, StoreError)
    assert "no memory of a site yet" in str(result.exception)


def test_status_says_whether_the_site_is_still_being_learned() -> None:
    assert _novelty(UnitState({"novelty": {"state": "learning"}}, 0.0)) == {"novelty": "learning"}
    for other in (None, UnitState("x", 0.0), UnitState({}, 0.0), UnitState({"novelty": {"state": 3}}, 0.0)):
        assert _novelty(other) == {}


# --- the judge of hours -----------------------------------------------------------------------------------------------


def test_hours_are_counted_by_what_was_heard_in_them() -> None:
    recipes = site_hours(learn_minutes=2, test_minutes=3, each_label=1)
    assert [recipe.notes["part"] for recipe in recipes[:5]] == ["learn"] * 2 + ["normal"] * 3
    learned = {source.clip for recipe in recipes[:2] for source in recipe.sources}
    assert not learned & {source.clip for recipe in recipes[2:5] for source in recipe.sources}
    first, second = str(recipes[5].notes["label"]), str(recipes[6].notes["label"])
    events = [(30.0, "anomaly"), (130.0, "anomaly"), (140.0, "dog"), (305.0, "anomaly"), (325.0, "siren")]
    figures = count(recipes, events, learned=True)
    assert figures.false_alarms == 1
    assert figures.test_hours == pytest.approx(0.05)
    assert figures.false_alarms_per_day == pytest.approx(480.0)
    assert (figures.anomalies, figures.named, figures.strange_scenes) == (1, 1, len(recipes) - 5)
    assert (figures.by_label[first], figures.by_label[second]) == ((1, 0), (0, 1))


def test_a_damaged_disk_is_named_where_a_memory_is_written(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be written"):
        save_memory(SiteMemory(3), tmp_path / "gone" / "x.npz", vectors="a")
    assert SiteMemory(3).share_beyond(math.inf) == 1.0
