"""What a site does not normally make raises an event of its own; what has a name, or is learned by now, does not."""

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import onnx
import pytest
from conftest import fill
from intensity_model import write_intensity_model
from plane_waves import RATE_HZ, Samples, at_array, hiss, hum
from typer.testing import CliRunner

from appliance import wire
from appliance.cli.main import app
from appliance.config import ClassPolicy, MountSettings, NoveltySettings, SiteSettings, StoreSettings, UnitSettings
from appliance.daemon.site_memory import MemoryKeeper
from appliance.errors import ConfigError, StoreError
from appliance.events import EventPolicy, policies_for, seeded_ulids
from appliance.geometry import load_array
from appliance.lab.judge.novelty_hours import SceneStream, count, site_hours
from appliance.model.meta import file_sha256, find_tagger
from appliance.model.scene import SceneModel
from appliance.novelty.keep import memory_path, read_memory, save_memory
from appliance.novelty.listener import NoveltyListener, sound_vector
from appliance.novelty.memory import MemorySettings, SiteMemory
from appliance.pipeline import Moment, run
from appliance.publish.presence import _novelty
from appliance.stages import build_stages
from appliance.types import ANOMALY, Direction, Event, Float32Array, SceneFrame, Severity, Track, TrackStatus, UnitState

CLASSES = ("drone", "dog")
GEOMETRY = load_array("tetrahedron_4cm2")
STRANGE = 0.9
NEAREST = (("hand_saw", 0.4), ("music", 0.1))


def strange(score: float = STRANGE, azimuth_deg: float = 30.0, sigma_deg: float = 8.0) -> Track:
    """A track of nothing that has a name."""
    covariance = ((sigma_deg**2, 0.0), (0.0, 9.0))
    probs = np.array([0.1, 0.4], np.float32)
    return Track(
        2, "confirmed", Direction(azimuth_deg, 5.0), covariance, probs, 0, 0, strangeness=score, nearest=NEAREST
    )


def drone(azimuth_deg: float, strangeness: float = 0.0) -> Track:
    probs = np.array([0.9, 0.0], np.float32)
    return Track(
        1,
        "confirmed",
        Direction(azimuth_deg, 0.0),
        ((9.0, 0.0), (0.0, 9.0)),
        probs,
        0,
        0,
        strangeness=strangeness,
        nearest=NEAREST,
    )


class Run:
    """A policy that is told of anomalies, frame by frame."""

    def __init__(self, *, anomalies: bool = True, severity: Severity = "detection") -> None:
        self.policy = EventPolicy(
            CLASSES,
            policies_for(CLASSES, {}, {ANOMALY: ClassPolicy(severity=severity)}),
            unit=UnitSettings(),
            mount=MountSettings(heading_sigma_deg=0.0),
            ulids=seeded_ulids(b"anomaly"),
            clock=lambda: "replay",
            anomalies=anomalies,
        )
        self.now_ns = 0
        self.events: list[Event] = []

    def hold(self, seconds: float, *tracks: Track) -> None:
        for _ in range(round(seconds * 10)):
            self.now_ns += 100_000_000
            self.events += self.policy.decide(tracks, SceneFrame((), self.now_ns * 1e-9, self.now_ns))

    @property
    def told(self) -> list[str]:
        return [f"{event.class_label} {event.state}" for event in self.events]


# --- policy -----------------------------------------------------------------------------------------------------------


def test_what_stays_strange_is_one_event_of_its_track_with_the_nearest_sounds() -> None:
    run_ = Run()
    run_.hold(4.0, strange())
    run_.hold(4.0, strange(0.05))
    assert run_.told == ["anomaly new", "anomaly end"]
    new, end = run_.events
    assert (new.severity, new.track_id) == ("detection", 2)
    assert new.nearest == NEAREST
    assert wire.event_text(new).startswith("anomaly like a hand saw, bearing ")
    assert (new.azimuth_deg, new.elevation_deg) == (30.0, 5.0)
    assert new.bearing_sigma_deg == pytest.approx(8.0, rel=0.01)
    assert 2.0 <= new.utc_ns * 1e-9 <= 2.2
    assert end.confidence == pytest.approx(STRANGE)
    message = json.loads(wire.event_to_json(new))
    jsonschema.Draft202012Validator(wire.load_schema("event.v1")).validate(message)
    assert message["nearest"][0] == {"class": "hand_saw", "probability": 0.4}


def test_what_is_strange_for_a_moment_is_none_and_is_counted() -> None:
    run_ = Run()
    run_.hold(1.5, strange())
    run_.hold(0.1, replace(strange(0.0), status="deleted", updated=False))
    assert run_.told == []
    assert run_.policy.rejected == {("anomaly", "not_confirmed"): 1}


@pytest.mark.parametrize("said", [strange(), strange(azimuth_deg=75.0, sigma_deg=30.0)])
def test_what_has_a_name_there_is_no_anomaly(said: Track) -> None:
    run_ = Run()
    run_.hold(1.5, drone(25.0))
    run_.hold(5.0, said, drone(25.0, STRANGE))
    run_.hold(2.0, said, replace(drone(25.0), status="deleted", updated=False))  # the tagger still hears it
    assert run_.told == ["drone new", "drone end"]
    assert run_.events[0].nearest == ()


def test_a_named_event_elsewhere_excuses_nothing() -> None:
    run_ = Run()
    run_.hold(5.0, strange(azimuth_deg=-120.0), drone(25.0))
    assert sorted(run_.told) == ["anomaly new", "drone new"]


@pytest.mark.parametrize("severity", ["detection", "alert"])
def test_an_anomaly_that_gets_a_name_ends_at_once_and_delays_nothing(severity: Severity) -> None:
    run_ = Run(severity=severity)
    run_.hold(3.0, strange())
    named = replace(strange(), class_probs=np.array([0.9, 0.0], np.float32))
    run_.hold(0.8, named)  # the same track, as soon as the drone has its eight frames
    assert run_.told == ["anomaly new", "anomaly end", "drone new"]
    assert run_.events[0].severity == severity


def test_it_cools_down_and_obeys_its_threshold() -> None:
    run_ = Run()
    for _ in range(2):
        run_.hold(3.0, strange())
        run_.hold(4.0, strange(0.0))
    run_.hold(0.1, replace(strange(0.0), status="deleted", updated=False))
    assert run_.told == ["anomaly new", "anomaly end"]
    patient = Run()
    patient.policy.set_thresholds({"anomaly": 0.95})
    patient.hold(5.0, strange())
    assert patient.told == []


def test_without_a_memory_there_is_no_such_class() -> None:
    deaf = Run(anomalies=False)
    deaf.hold(5.0, strange())
    assert deaf.told == []
    stages = build_stages(
        SiteSettings(),
        GEOMETRY,
        SceneModel.load("deepasa-edge-small-int8"),
        ulids=seeded_ulids(b""),
        clock=lambda: "replay",
    )
    assert stages.novelty is None


# --- what a unit learns of its tracks -----------------------------------------------------------------------------------

# A bird that sings its one song, where hums and bells vary.
HUM, BELL, BIRD = np.eye(6, dtype=np.float32)[:3] * 0.9 + 0.1 / 6.0


def sounding(
    sounds: Float32Array, *, number: int = 1, status: TrackStatus = "confirmed", updated: bool = True
) -> Track:
    return Track(
        number,
        status,
        Direction(0.0, 0.0),
        ((9.0, 0.0), (0.0, 9.0)),
        np.zeros(2, np.float32),
        0,
        0,
        updated,
        sounds=sounds,
    )


class Site:
    """A listener that hears one sound after another, each as a track of its own."""

    def __init__(self, learning_s: float = 400.0) -> None:
        self.memory = SiteMemory(6, MemorySettings(learning_s=learning_s))
        self.listener = NoveltyListener(self.memory, "abcdef")
        self.rng = np.random.default_rng(0)
        self.number, self.heard_s = 0, 0.0

    def said(self, sound: Float32Array) -> Float32Array:
        """As the tagger says it: never twice the same."""
        wavered = sound * np.exp(self.rng.normal(0.0, 0.02 if sound is BIRD else 0.1, 6))
        return np.asarray(wavered / wavered.sum(), np.float32)

    def hear(self, sound: Float32Array, seconds: float = 4.0, events: Sequence[Event] = ()) -> float:
        """A new track; how strange it was, by median."""
        self.number += 1
        strangeness, said = [], self.said(sound)
        for frame in range(round(seconds * 10)):
            said = self.said(sound) if frame % 5 == 0 else said
            (track,) = self.listener.judge([sounding(said, number=self.number)])
            strangeness.append(track.strangeness)
            self.learn([track], [replace(event, track_id=self.number) for event in events])
        self.learn([], [])
        return float(np.median(strangeness))

    def learn(self, tracks: Sequence[Track], events: Sequence[Event]) -> None:
        self.heard_s += 0.1
        self.listener.learn(tracks, events, 0.1)

    def settle(self) -> "Site":
        """Half an hour of hums and bells."""
        for index in range(450):
            self.hear((HUM, BELL)[index % 2])
        assert self.memory.learned
        return self


@pytest.fixture
def event() -> Event:
    run_ = Run()
    run_.hold(3.0, strange())
    return run_.events[0]


def test_the_vector_is_what_the_ears_say_on_average() -> None:
    assert sound_vector(np.array([0.729, 0.216, 0.027], np.float32)) == pytest.approx(np.sqrt([0.5, 1 / 3, 1 / 6]))
    assert np.isfinite(sound_vector(np.array([1.0, 0.0, 0.0], np.float32))).all()


def test_a_track_is_nearest_to_what_the_ears_take_it_for_on_average() -> None:
    said = np.array([0.0, 0.001, 0.0, 0.729, 0.216, 0.0], np.float32)
    (track,) = Site().listener.judge([sounding(said)])
    assert [name for name, _ in track.nearest] == ["d", "e", "b"]
    assert [share for _, share in track.nearest] == pytest.approx([0.5625, 0.375, 0.0625])


def test_a_site_knows_its_own_sounds_and_wonders_at_others() -> None:
    site = Site()
    assert site.hear(BIRD) == 0.0  # nothing is strange before the site is known
    site.settle()
    assert max(site.hear(HUM), site.hear(BELL)) < 0.2
    assert site.hear(0.5 * (HUM + BELL)) > 0.5
    assert site.memory.heard_s == pytest.approx(site.heard_s, rel=1e-6)


def test_what_raised_an_alert_is_not_learned(event: Event) -> None:
    site = Site().settle()
    alert = replace(event, class_label="drone", severity="alert")
    for _ in range(6):
        assert site.hear(BIRD, 8.0, [alert]) > 0.5
    # Of a detection that has a name it knows: a car that is a little too faint for its name is none the less the site's.
    for _ in range(6):
        site.hear(BIRD, 8.0, [replace(event, class_label="dog")])
    assert site.hear(BIRD) < 0.5


def test_what_was_told_as_strange_is_familiar_after_three_times(event: Event) -> None:
    site, anomaly = Site().settle(), [event]
    assert event.class_label == ANOMALY
    before = site.memory.arrays()["distances"]
    assert [site.hear(BIRD, 8.0, anomaly) > 0.5 for _ in range(4)] == [True, True, True, False]
    # How far away it was says nothing of what is rare here.
    assert site.memory.arrays()["distances"][: len(before)] == pytest.approx(before)


def test_what_stays_strange_is_familiar_after_twenty_minutes(event: Event) -> None:
    site = Site().settle()
    site.number += 1
    strange_s, said = 0, BIRD
    for frame in range(18_000):
        said = site.said(BIRD) if frame % 5 == 0 else said
        (track,) = site.listener.judge([sounding(said, number=site.number)])
        told = track.strangeness > 0.5
        strange_s += told
        site.learn([track], [replace(event, track_id=site.number)] if told else [])
    assert 1190.0 <= 0.1 * strange_s <= 1230.0


def test_a_track_that_goes_on_is_a_sound_every_ten_seconds() -> None:
    site = Site()
    site.hear(HUM, 60.0)
    assert site.memory.arrays()["scalars"][2] == 6


def test_what_is_too_short_or_coasts_says_nothing_of_what_is_rare() -> None:
    site = Site().settle()
    before = site.memory.arrays()["scalars"][2]
    site.hear(BELL, 1.9)
    for _ in range(30):
        site.learn(site.listener.judge([sounding(BELL, number=9999, status="coasting", updated=False)]), [])
    site.learn([], [])
    assert site.memory.arrays()["scalars"][2] == before


def test_a_model_without_a_tagger_is_refused(intensity_model: Path) -> None:
    settings = SiteSettings(novelty=NoveltySettings(enabled=True))
    with pytest.raises(ConfigError, match=r"site\.toml: \[novelty\] enabled: .* no tagger"):
        MemoryKeeper(settings, SceneModel.load(intensity_model), Path("site.toml"))


# --- the loop ---------------------------------------------------------------------------------------------------------


def visit(signal: Samples, azimuth_deg: float) -> Samples:
    """(mics, n) a sound from somewhere, and a pause, in a little noise."""
    padded = np.concatenate([signal, np.zeros(round(1.7 * RATE_HZ))])
    samples = at_array(padded, GEOMETRY, azimuth_deg)
    return samples + np.random.default_rng(1).normal(0.0, 1e-3, samples.shape)


def own_sounds(count: int, seed: int) -> list[Samples]:
    """Hums and low hisses from all around."""
    rng = np.random.default_rng(seed)
    made = (
        lambda: hum(3.3, float(rng.uniform(0.005, 0.02))),
        lambda: 0.02 * hiss(rng, 3.3, float(rng.uniform(350.0, 450.0))),
    )
    return [visit(made[index % 2](), float(rng.uniform(-180.0, 180.0))) for index in range(count)]


class Watch:
    """Keeps what was said in the loop."""

    def __init__(self) -> None:
        self.events: list[tuple[float, Event]] = []

    def frame(self, moment: Moment) -> None:
        self.events += [(moment.stream_s, event) for event in moment.events]

    def finished(self, events: Iterable[Event], stream_s: float) -> None:
        self.events += [(stream_s, event) for event in events]


def heard(memory: SiteMemory, model: Path, scenes: Sequence[Samples]) -> list[tuple[float, Event]]:
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


def test_a_sound_that_the_site_never_made_is_an_anomaly_from_where_it_came(tagged_model: Path) -> None:
    memory = SiteMemory(len(SceneModel.load(tagged_model).sounds), MemorySettings(learning_s=60.0))
    assert heard(memory, tagged_model, own_sounds(68, seed=1)) == []
    assert memory.learned
    whistle = 0.02 * np.sin(2.0 * np.pi * 2300.0 * np.arange(6 * RATE_HZ) / RATE_HZ)
    strangers = [*own_sounds(4, seed=2), visit(whistle, 70.0), *own_sounds(4, seed=3)]
    events = heard(memory, tagged_model, strangers)
    assert [(event.class_label, event.state) for _, event in events if event.state != "update"] == [
        ("anomaly", "new"),
        ("anomaly", "end"),
    ]
    at_s, new = events[0]
    assert 21.9 < at_s < 26.0
    assert new.azimuth_deg == pytest.approx(70.0, abs=10.0)
    assert new.nearest[0][0] == "siren"
    assert new.confidence > 0.5


# --- over restarts ----------------------------------------------------------------------------------------------------


def keeper(folder: Path, model: Path) -> MemoryKeeper:
    settings = SiteSettings(
        store=StoreSettings(path=folder / "events.db"), novelty=NoveltySettings(enabled=True, learning_hours=0.1)
    )
    return MemoryKeeper(settings, SceneModel.load(model))


MOMENT = Moment(SceneFrame((), 0.0, 0), (), (), 0.0, (), 0.0, ())


def met(memory: SiteMemory, seconds: float = 400.0) -> None:
    rng = np.random.default_rng(0)
    for _ in range(round(seconds / 2.0)):
        memory.listen(2.0)
        memory.learn([rng.normal(0.0, 1.0, memory.dimensions)], 1.0)


def test_the_site_is_known_after_a_restart(tmp_path: Path, tagged_model: Path) -> None:
    first = keeper(tmp_path, tagged_model)
    assert first.state()["state"] == "learning"
    met(first.memory)
    first.finished([], 0.0)
    second = keeper(tmp_path, tagged_model)
    assert second.state() == first.state() == {"state": "watching", "heard_s": 400, "learning_s": 360, "sounds": 200}
    assert second.faults == []


def test_another_tagger_learns_the_site_anew_and_says_so(
    tmp_path: Path, tagged_model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = keeper(tmp_path, tagged_model)
    met(first.memory)
    first.finished([], 0.0)
    # Other bytes, the same graph: metadata of its own.
    tagger = SceneModel.load(tagged_model).meta.tagger
    assert tagger is not None
    graph = onnx.load(str(find_tagger(tagged_model, tagger)))
    graph.producer_name = "another"
    onnx.save(graph, tmp_path / "another.onnx")
    reference = {"file": "another.onnx", "sha256": file_sha256(tmp_path / "another.onnx")}
    other = write_intensity_model(tmp_path / "other.onnx", tagger=reference)
    second = keeper(tmp_path, other)
    assert second.state()["sounds"] == 0
    assert "learned with another model" in caplog.text
    assert read_memory(tmp_path / "events.site-memory.npz.other-model")[0].prototypes == 200


def test_a_corrupt_memory_is_kept_aside_begun_anew_and_told(tmp_path: Path, tagged_model: Path) -> None:
    path = memory_path(tmp_path / "events.db")
    path.write_bytes(b"PK\x03\x04 and then the power went")
    kept = keeper(tmp_path, tagged_model)
    assert kept.state()["sounds"] == 0
    (fault,) = kept.faults
    assert "corrupt and begun anew" in fault
    aside = tmp_path / "events.site-memory.npz.corrupt"
    assert str(aside) in fault
    assert read_memory(path)[0].prototypes == 0
    kept.finished([], 0.0)
    assert kept.faults == [fault]
    # A second one takes the place of the first: on a failing disk there may be many.
    path.write_bytes(b"again")
    keeper(tmp_path, tagged_model)
    assert aside.read_bytes() == b"again"
    assert sorted(file.name for file in tmp_path.glob("events.site-memory*")) == [path.name, aside.name]


def test_a_memory_that_cannot_be_written_is_a_fault_and_is_no_end(tmp_path: Path, tagged_model: Path) -> None:
    kept = keeper(tmp_path, tagged_model)
    partial = kept.path.with_name(kept.path.name + ".partial")
    partial.mkdir()
    kept.finished([], 0.0)
    assert "cannot be written" in kept.faults[0]
    partial.rmdir()
    kept.finished([], 0.0)
    assert kept.faults == []


@pytest.mark.parametrize("told", [lambda kept: kept.frame(MOMENT), lambda kept: kept.finished([], 0.0)])
def test_the_command_makes_a_running_sensor_forget(
    tmp_path: Path, tagged_model: Path, told: Callable[[MemoryKeeper], None]
) -> None:
    """Also one that is told to stop at once: a restart is what a technician does next."""
    kept = keeper(tmp_path, tagged_model)
    met(kept.memory)
    kept.finished([], 0.0)
    site_file = tmp_path / "site.toml"
    site_file.write_text(f'[store]\npath = "{tmp_path / "events.db"}"\n[novelty]\nlearning_hours = 0.1\n')
    shown = CliRunner().invoke(app, ["novelty", "show", "--site", str(site_file)]).output
    assert "learned, 0.1 of 0.1 h heard, 200 sounds" in shown
    assert "enabled is false" in shown
    assert "forgotten" in CliRunner().invoke(app, ["novelty", "reset", "--site", str(site_file)]).output
    told(kept)
    assert kept.state()["sounds"] == 0
    assert read_memory(kept.path)[0].prototypes == 0


def test_a_quiet_site_takes_longer_and_the_command_says_how_much(tmp_path: Path, tagged_model: Path) -> None:
    kept = keeper(tmp_path, tagged_model)
    met(kept.memory, 190.0)
    kept.memory.listen(400.0)
    met(kept.memory, 16.0)
    kept.finished([], 0.0)
    site_file = tmp_path / "site.toml"
    site_file.write_text(f'[store]\npath = "{tmp_path / "events.db"}"\n[novelty]\nlearning_hours = 0.1\n')
    shown = CliRunner().invoke(app, ["novelty", "show", "--site", str(site_file)]).output
    assert "being learned, 0.2 of 0.1 h heard" in shown
    assert f"{kept.memory.sounds_missing} more sounds of two seconds" in shown
    met(kept.memory, 2.0 * kept.memory.sounds_missing)
    assert kept.memory.learned


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


def test_a_memory_that_does_not_fit_on_the_disk_leaves_no_half_of_it(small_disk: Path) -> None:
    path = small_disk / "events.site-memory.npz"
    save_memory(SiteMemory(3), path, vectors="a")
    before = path.read_bytes()
    fill(small_disk)
    with pytest.raises(StoreError, match="No space left on device"):
        save_memory(SiteMemory(3), path, vectors="a")
    assert sorted(file.name for file in small_disk.iterdir()) == [path.name, "of_somebody_else"]
    assert path.read_bytes() == before


def test_a_damaged_disk_is_named_where_a_memory_is_written(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be written"):
        save_memory(SiteMemory(3), tmp_path / "gone" / "x.npz", vectors="a")
    assert SiteMemory(3).own_per_day(1.0) == math.inf
