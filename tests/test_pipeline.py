"""The loop: real features, tracker and policy, and a real ONNX model whose answer is known beforehand."""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from plane_waves import FROM_20_DEG, RATE_HZ, at_array, hum, silence

from appliance.config import MountSettings, SiteSettings, TrackingSettings
from appliance.errors import DeviceError
from appliance.events import seeded_ulids
from appliance.geometry import ArrayGeometry, load_array
from appliance.model.scene import SceneModel
from appliance.pipeline import Moment, PipelineSummary, levels_dbfs, run
from appliance.stages import build_stages
from appliance.types import AudioBlock, Event

_BY_DEFAULT = TrackingSettings()


class Blocks:
    """An audio source of blocks that stand ready, and may end in an error."""

    sample_rate_hz = RATE_HZ

    def __init__(self, blocks: Sequence[AudioBlock], error: Exception | None = None) -> None:
        self.mics = len(blocks[0].samples)
        self._blocks = blocks
        self._error = error

    def blocks(self) -> Iterator[AudioBlock]:
        yield from self._blocks
        if self._error:
            raise self._error

    def close(self) -> None:
        """Nothing is open."""

    def __enter__(self) -> "Blocks":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Notes:
    """An observer that keeps everything."""

    def __init__(self) -> None:
        self.moments: list[Moment] = []
        self.ends: list[tuple[Sequence[Event], float]] = []

    def frame(self, moment: Moment) -> None:
        self.moments.append(moment)

    def finished(self, events: Sequence[Event], stream_s: float) -> None:
        self.ends.append((events, stream_s))


@dataclasses.dataclass
class Outcome:
    """What a run said, and to whom."""

    summary: PipelineSummary | None
    events: list[Event]
    notes: Notes


@pytest.fixture
def geometry() -> ArrayGeometry:
    return load_array("tetrahedron_4cm2")


def cut(samples: np.ndarray, block_samples: int, start_sample: int = 0, *, gap: bool = False) -> list[AudioBlock]:
    return [
        AudioBlock(
            samples[:, i : i + block_samples].astype(np.float32),
            RATE_HZ,
            start_sample + i,
            (start_sample + i) * 62_500,
            gap and i == 0,
        )
        for i in range(0, samples.shape[1], block_samples)
    ]


def hear(
    source: Blocks,
    geometry: ArrayGeometry,
    model: Path,
    fails: type[Exception] | None = None,
    *,
    tracking: TrackingSettings = _BY_DEFAULT,
) -> Outcome:
    settings = SiteSettings(mount=MountSettings(heading_true_deg=90.0), tracking=tracking)
    stages = build_stages(settings, geometry, SceneModel.load(model), ulids=seeded_ulids(b""), clock=lambda: "replay")
    notes, events = Notes(), list[Event]()

    def go() -> PipelineSummary:
        return run(source, stages, events, [notes])

    if fails is None:
        return Outcome(go(), events, notes)
    with pytest.raises(fails):
        go()
    return Outcome(None, events, notes)


@pytest.fixture
def passing(geometry: ArrayGeometry) -> np.ndarray:
    """(mics, n): 1 s of silence, 4 s of a drone at 40° left and 20° up, 6 s of silence."""
    return at_array(np.concatenate([silence(1.0), hum(4.0), silence(6.0)]), geometry, 40.0, FROM_20_DEG)


def test_a_drone_is_one_event_at_its_true_bearing(
    passing: np.ndarray, geometry: ArrayGeometry, intensity_model: Path
) -> None:
    outcome = hear(Blocks(cut(passing, 1600)), geometry, intensity_model)
    assert [event.state for event in outcome.events] == ["new", "end"]
    new, end = outcome.events
    assert new.class_label == "drone"
    assert new.bearing_true_deg == pytest.approx(50.0, abs=3.0)
    assert new.elevation_deg == pytest.approx(20.0, abs=3.0)
    assert 1.0 < new.utc_ns * 1e-9 < 2.5
    assert 5.0 < end.utc_ns * 1e-9 < 10.0
    summary = outcome.summary
    assert summary is not None
    assert (summary.frames, summary.gaps, summary.events, summary.alerts) == (110, 0, 1, 1)
    assert summary.audio_s == pytest.approx(11.0)


def test_a_drone_is_the_surer_the_higher_unless_the_site_looks_down_on_drones(
    geometry: ArrayGeometry, intensity_model: Path
) -> None:
    looks_down = TrackingSettings(height_tells=False)
    sure: dict[tuple[float, bool], float] = {}
    for elevation_deg in (0.0, 40.0):
        for tracking in (_BY_DEFAULT, looks_down):
            source = Blocks(cut(at_array(hum(3.0), geometry, 40.0, elevation_deg), 1600))
            (track,) = hear(source, geometry, intensity_model, tracking=tracking).notes.moments[-1].tracks
            sure[elevation_deg, tracking.height_tells] = float(track.class_probs[0])
    assert sure[0.0, False] == pytest.approx(sure[40.0, False], abs=0.02)
    odds = {case: probability / (1.0 - probability) for case, probability in sure.items()}
    assert odds[0.0, True] == pytest.approx(0.5 * odds[0.0, False], rel=1e-3)
    assert odds[40.0, True] == pytest.approx(3.0 * odds[40.0, False], rel=1e-3)


@pytest.mark.parametrize("block_samples", [317, 1600, 5000])
def test_blocks_of_any_size_give_the_same_events(
    passing: np.ndarray, geometry: ArrayGeometry, intensity_model: Path, block_samples: int
) -> None:
    whole = hear(Blocks(cut(passing, passing.shape[1])), geometry, intensity_model)
    parts = hear(Blocks(cut(passing, block_samples)), geometry, intensity_model)
    assert [(e.state, e.event_id, e.utc_ns) for e in parts.events] == [
        (e.state, e.event_id, e.utc_ns) for e in whole.events
    ]


def test_the_observer_learns_when_it_could_be_sent_and_how_loud_it_is(
    passing: np.ndarray, geometry: ArrayGeometry, intensity_model: Path
) -> None:
    moments = hear(Blocks(cut(passing, 1600)), geometry, intensity_model).notes.moments
    assert [moment.stream_s for moment in moments[:3]] == pytest.approx([0.1, 0.2, 0.3])
    for moment in moments:
        for event in moment.events:
            assert event.utc_ns * 1e-9 <= moment.stream_s + 1e-9
    assert all(level < -60.0 for level in moments[5].levels_dbfs)
    assert all(-30.0 < level < -20.0 for level in moments[30].levels_dbfs)


def test_after_a_gap_state_is_forgotten_tracks_coast_and_events_say_so(
    geometry: ArrayGeometry, intensity_model: Path
) -> None:
    """One second is lost: the event goes on, the frame is marked, and what begins next bears the mark."""
    first = at_array(hum(3.0), geometry, 40.0)
    second = np.concatenate([at_array(hum(1.0), geometry, 40.0), at_array(hum(3.0), geometry, -120.0)], axis=1)
    blocks = cut(first, 1600) + cut(second, 1600, start_sample=4 * RATE_HZ, gap=True)
    outcome = hear(Blocks(blocks), geometry, intensity_model)
    marked = [moment.scene for moment in outcome.notes.moments if moment.scene.after_gap]
    assert [(scene.end_s, scene.utc_ns) for scene in marked] == [(4.1, 4_100_000_000)]
    begun = [event for event in outcome.events if event.state == "new"]
    assert [event.after_gap for event in begun] == [False, True]
    assert begun[0].track_id != begun[1].track_id
    across = [moment.tracks[0] for moment in outcome.notes.moments if 4.0 < moment.stream_s < 4.9]
    assert {track.track_id for track in across} == {begun[0].track_id}
    assert outcome.summary is not None
    assert outcome.summary.gaps == 1


@pytest.mark.parametrize("set_by_s", [7200, -7200])
@pytest.mark.parametrize("set_at_s", [1.3, 3.0])
def test_where_the_clock_is_set_an_event_began_by_the_clock_of_today(
    passing: np.ndarray, geometry: ArrayGeometry, intensity_model: Path, set_by_s: int, set_at_s: float
) -> None:
    """Between the first sound and the alert, and while the event is open."""
    blocks = [
        dataclasses.replace(block, utc_ns=block.utc_ns + set_by_s * 10**9)
        if block.start_sample >= set_at_s * RATE_HZ
        else block
        for block in cut(passing, 1600)
    ]
    right = hear(Blocks(cut(passing, 1600)), geometry, intensity_model).events
    events = hear(Blocks(blocks), geometry, intensity_model).events
    assert [(event.state, event.utc_ns - event.onset_utc_ns) for event in events] == [
        (event.state, event.utc_ns - event.onset_utc_ns) for event in right
    ]
    assert events[-1].onset_utc_ns == right[-1].onset_utc_ns + set_by_s * 10**9


def test_what_is_open_when_the_recording_ends_is_ended(geometry: ArrayGeometry, intensity_model: Path) -> None:
    outcome = hear(Blocks(cut(at_array(hum(3.0), geometry, 0.0), 1600)), geometry, intensity_model)
    assert [event.state for event in outcome.events] == ["new", "end"]
    assert outcome.events[-1].utc_ns == 3_000_000_000
    assert outcome.notes.ends == [([outcome.events[-1]], 3.0)]


def test_a_source_that_fails_still_leaves_whole_lifecycles(geometry: ArrayGeometry, intensity_model: Path) -> None:
    blocks = cut(at_array(hum(3.0), geometry, 0.0), 1600)
    outcome = hear(Blocks(blocks, DeviceError("unplugged")), geometry, intensity_model, fails=DeviceError)
    assert [event.state for event in outcome.events] == ["new", "end"]


def test_levels_are_dbfs() -> None:
    samples = np.zeros((3, 1600), np.float32)
    samples[0], samples[1] = 1.0, 0.1
    assert levels_dbfs(samples) == pytest.approx((0.0, -20.0, -120.0))
