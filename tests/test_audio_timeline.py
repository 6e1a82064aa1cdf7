"""Every sample is either delivered or in the ledger."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.audio.inlet import Chunk, Inlet
from appliance.audio.spec import CaptureSpec
from appliance.audio.timeline import Timeline
from appliance.types import AudioBlock

_SECOND = 1_000_000_000
_UTC_MINUS_MONOTONIC_NS = 1_700_000_000 * _SECOND


def _spec(rate_hz: int = 16000, queue_seconds: float = 5.0) -> CaptureSpec:
    return CaptureSpec("array", 6, rate_hz, "S32_LE", (1, 2, 3, 4), queue_seconds)


def _ramp(first: int, frames: int) -> bytes:
    """Channel c at frame i holds 6·i + c, shifted up so that a float keeps it."""
    values = (np.arange(first * 6, (first + frames) * 6, dtype=np.int64) << 7).astype("<i4")
    return values.tobytes()


def _frame_numbers(block: AudioBlock) -> np.ndarray:
    """The frame numbers that `_ramp` wrote, from the microphone on channel 2."""
    numbers: np.ndarray = (block.samples[1].astype(np.float64) * 2.0**24 - 2) / 6
    return numbers


def test_a_quiet_run_counts_from_zero_and_skips_no_channel() -> None:
    timeline = Timeline(_spec())
    blocks = [
        block
        for index in range(3)
        for block in timeline.push(
            Chunk(_ramp(index * 1600, 1600), 1600, (index + 1) * _SECOND // 10, 0, 0), _UTC_MINUS_MONOTONIC_NS
        )
    ]
    assert [block.start_sample for block in blocks] == [0, 1600, 3200]
    assert not any(block.gap for block in blocks)
    assert blocks[0].samples.shape == (4, 1600)
    assert np.array_equal(blocks[0].samples[:, 0] * 2.0**24, [1, 2, 3, 4])
    assert [block.utc_ns - _UTC_MINUS_MONOTONIC_NS for block in blocks] == [0, _SECOND // 10, _SECOND // 5]
    assert timeline.ledger.gaps == 0


@settings(deadline=None)
@given(script=st.lists(st.sampled_from(["push", "push", "push", "take"]), max_size=80))
def test_a_slow_reader_loses_whole_chunks_and_knows_which(script: list[str]) -> None:
    """The real queue, any order of writing and reading: what is delivered sits at its true sample number."""
    inlet, timeline = Inlet(3), Timeline(_spec())
    written = 0
    blocks: list[AudioBlock] = []
    for step in [*script, "take", "take", "take", "push", "take"]:
        if step == "push":
            inlet.push(_ramp(written, 160), 160, overrun=False)
            written += 160
        elif (chunk := inlet.take(0.0)) is not None:
            blocks += list(timeline.push(chunk, 0))
    end = 0
    for block in blocks:
        assert np.array_equal(_frame_numbers(block), np.arange(block.start_sample, block.start_sample + 160))
        assert block.gap == (block.start_sample > end)
        end = block.start_sample + 160
    ledger = timeline.ledger
    assert end == written == 160 * len(blocks) + ledger.lost_samples
    assert ledger.lost_samples == ledger.dropped_frames == inlet.dropped_frames
    assert ledger.gaps == sum(block.gap for block in blocks)


def test_an_overrun_in_the_driver_is_measured_with_the_clock() -> None:
    """Two chunks arrive on time, then PortAudio reports an overrun with the third 1.25 s late."""
    timeline = Timeline(_spec())
    arrivals = [(_SECOND // 10, 0), (_SECOND // 5, 0), (_SECOND * 3 // 10 + _SECOND * 5 // 4, 1)]
    blocks = [
        block
        for index, (arrival_ns, overruns) in enumerate(arrivals)
        for block in timeline.push(Chunk(_ramp(index * 1600, 1600), 1600, arrival_ns, 0, overruns), 0)
    ]
    assert [block.gap for block in blocks] == [False, False, True]
    assert blocks[2].start_sample == 3200 + 20000
    assert blocks[2].utc_ns == _SECOND // 5 + _SECOND * 5 // 4
    assert (timeline.ledger.overruns, timeline.ledger.lost_samples, timeline.ledger.gaps) == (1, 20000, 1)


@pytest.mark.parametrize("rate_hz", [16000, 48000])
def test_what_is_lost_and_nobody_tells_is_found_by_the_clock(rate_hz: int) -> None:
    """A bad cable: one packet in twenty is left out by the driver, for ten minutes. Times stay true to the half second."""
    timeline, frames = Timeline(_spec(rate_hz)), rate_hz // 10
    blocks: list[AudioBlock] = []
    for tenth in range(5700):
        arrival_ns = round((tenth + 1) / 0.95 * _SECOND / 10)
        blocks += timeline.push(Chunk(_ramp(0, frames), frames, arrival_ns, 0, 0), 0)
    end_s = (blocks[-1].start_sample + blocks[-1].samples.shape[1]) / 16000
    assert end_s == pytest.approx(600.0, abs=0.8)
    assert blocks[-1].utc_ns * 1e-9 == pytest.approx(599.9, abs=0.8)
    assert timeline.ledger.lost_samples / 16000 == pytest.approx(30.0, abs=0.8)
    assert timeline.ledger.gaps == sum(block.gap for block in blocks) > 30


@pytest.mark.parametrize("rate_hz", [44100, 48000])
def test_an_outage_restarts_the_resampler_and_keeps_time(rate_hz: int) -> None:
    """One second, two seconds of outage, one second, at the device's rate: 16 kHz sample numbers stay true."""
    timeline, frames = Timeline(_spec(rate_hz)), rate_hz // 10
    blocks: list[AudioBlock] = []
    for tenth in [*range(10), *range(30, 40)]:
        if tenth == 30:
            timeline.reopened(dropped_frames=frames)
        blocks += timeline.push(Chunk(_ramp(tenth, frames), frames, (tenth + 1) * _SECOND // 10, 0, 0), 0)
    (first_after,) = [index for index, block in enumerate(blocks) if block.gap]
    assert sum(block.samples.shape[1] for block in blocks[:first_after]) == 16000
    assert blocks[first_after].start_sample == 48000
    assert blocks[first_after].utc_ns == 3 * _SECOND
    ledger = timeline.ledger
    assert (ledger.reopenings, ledger.lost_samples, ledger.dropped_frames) == (1, 32000, frames)
    for before, after in pairwise(blocks):
        if not after.gap:
            assert after.start_sample == before.start_sample + before.samples.shape[1]


def test_what_the_queue_dropped_counts_even_where_the_clock_says_less() -> None:
    timeline = Timeline(_spec())
    list(timeline.push(Chunk(_ramp(0, 1600), 1600, _SECOND, 0, 0), 0))
    (block,) = timeline.push(Chunk(_ramp(0, 1600), 1600, _SECOND, 3200, 1), 0)
    assert block.gap
    assert block.start_sample == 1600 + 3200
