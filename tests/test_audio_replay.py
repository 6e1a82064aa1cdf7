"""A recording replays exactly as it is, or says in one line what is wrong with it."""

import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from appliance.audio.replay import ReplaySource
from appliance.audio.source import AudioSource
from appliance.errors import RecordingError
from appliance.geometry import ArrayGeometry
from appliance.types import AudioBlock

WriteRecording = Callable[..., Path]


@pytest.fixture
def respeaker() -> ArrayGeometry:
    """Four microphones on channels 1-4 of a six-channel device, not in channel order."""
    positions = np.array([[0.03, 0.0, 0.0], [-0.03, 0.0, 0.0], [0.0, 0.03, 0.0], [0.0, -0.03, 0.0]])
    plain = ArrayGeometry("respeaker", positions, (1, 3, 2, 4))
    return replace(plain, device=plain.device.model_copy(update={"channels": 6}))


@pytest.fixture
def write(tmp_path: Path) -> WriteRecording:
    """Write (frames, channels) to a file under a fresh folder."""

    def write_recording(
        frames: np.ndarray, name: str = "yard.wav", rate_hz: int = 16000, subtype: str | None = None
    ) -> Path:
        path = tmp_path / name
        soundfile.write(path, frames, rate_hz, subtype=subtype)
        return path

    return write_recording


def _noise(frames: int, channels: int) -> np.ndarray:
    return np.random.default_rng(frames + channels).integers(-32768, 32767, (frames, channels), dtype=np.int16)


def _heard(source: AudioSource) -> tuple[list[AudioBlock], np.ndarray]:
    with source:
        blocks = list(source.blocks())
    return blocks, np.concatenate([block.samples for block in blocks], axis=1)


@pytest.mark.parametrize("name", ["yard.wav", "yard.flac"])
@pytest.mark.parametrize("realtime", [False, True])
def test_samples_come_back_unchanged(
    write: WriteRecording, respeaker: ArrayGeometry, name: str, *, realtime: bool
) -> None:
    """At the pace of real time or flat out: the same blocks with the same times."""
    frames = _noise(3900, 4)
    blocks, heard = _heard(ReplaySource(write(frames, name), respeaker, realtime=realtime, start_utc_ns=10**18))
    assert np.array_equal(heard * 32768.0, frames.T)
    assert [block.start_sample for block in blocks] == [0, 1600, 3200]
    assert [block.utc_ns - 10**18 for block in blocks] == [0, 100_000_000, 200_000_000]
    assert not any(block.gap for block in blocks)
    assert {block.sample_rate_hz for block in blocks} == {16000}


@pytest.mark.parametrize("subtype", ["PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
def test_every_usual_sample_format_is_read(write: WriteRecording, respeaker: ArrayGeometry, subtype: str) -> None:
    frames = _noise(2000, 4)
    _, heard = _heard(ReplaySource(write(frames / 32768.0, subtype=subtype), respeaker))
    assert np.array_equal(heard * 32768.0, frames.T)


def test_a_raw_capture_is_mapped_and_a_four_channel_file_is_not(
    write: WriteRecording, respeaker: ArrayGeometry
) -> None:
    raw = _noise(1600, 6)
    _, heard = _heard(ReplaySource(write(raw), respeaker))
    assert np.array_equal(heard * 32768.0, raw[:, [1, 3, 2, 4]].T)
    ordered = _noise(1600, 4)
    _, heard = _heard(ReplaySource(write(ordered), respeaker))
    assert np.array_equal(heard * 32768.0, ordered.T)


@pytest.mark.parametrize("rate_hz", [8000, 44100, 48000, 96000])
def test_other_rates_are_resampled(write: WriteRecording, respeaker: ArrayGeometry, rate_hz: int) -> None:
    frames = _noise(rate_hz // 2, 4)
    blocks, heard = _heard(ReplaySource(write(frames, rate_hz=rate_hz), respeaker))
    expected = soxr.resample(frames.astype(np.float32) / 32768.0, rate_hz, 16000).T
    assert heard.shape == (4, 8000)
    np.testing.assert_allclose(heard, expected, atol=1e-5)
    ends = np.cumsum([block.samples.shape[1] for block in blocks])
    assert [block.start_sample for block in blocks] == [0, *ends[:-1]]
    assert [block.utc_ns for block in blocks] == [block.start_sample * 62500 for block in blocks]


def test_two_replays_are_identical(write: WriteRecording, respeaker: ArrayGeometry) -> None:
    path = write(_noise(30000, 4), rate_hz=44100)
    (first, heard_first), (second, heard_second) = (_heard(ReplaySource(path, respeaker)) for _ in range(2))
    assert np.array_equal(heard_first, heard_second)
    assert [block.utc_ns for block in first] == [block.utc_ns for block in second]


@pytest.mark.parametrize("channels", [1, 2, 5, 8])
def test_another_array_s_recording_is_refused(write: WriteRecording, respeaker: ArrayGeometry, channels: int) -> None:
    with pytest.raises(RecordingError, match=rf"yard\.wav: has {channels} channels, array 'respeaker' needs 4 .* or 6"):
        ReplaySource(write(_noise(100, channels)), respeaker)


def test_a_missing_or_foreign_file_is_refused(tmp_path: Path, respeaker: ArrayGeometry) -> None:
    with pytest.raises(RecordingError, match=r"gone\.flac: no such file"):
        ReplaySource(tmp_path / "gone.flac", respeaker)
    for name in ("text.wav", "text.flac", "text", "text.raw"):
        (tmp_path / name).write_text("not a sound")
        with pytest.raises(RecordingError, match=rf"{name}: not a readable recording"):
            ReplaySource(tmp_path / name, respeaker)
    with pytest.raises(RecordingError, match="not a readable recording"):
        ReplaySource(tmp_path, respeaker)


def test_an_empty_recording_is_refused(write: WriteRecording, respeaker: ArrayGeometry) -> None:
    with pytest.raises(RecordingError, match=r"yard\.wav: holds no audio"):
        ReplaySource(write(np.zeros((0, 4), np.int16)), respeaker)


def test_samples_that_are_no_numbers_are_refused(write: WriteRecording, respeaker: ArrayGeometry) -> None:
    frames = np.zeros((5000, 4))
    frames[4000, 2] = np.nan
    with (
        ReplaySource(write(frames, subtype="FLOAT"), respeaker) as source,
        pytest.raises(RecordingError, match=r"not numbers after 0\.20 s"),
    ):
        list(source.blocks())


def test_samples_far_beyond_full_scale_are_refused(write: WriteRecording, respeaker: ArrayGeometry) -> None:
    """As floats they are numbers, but their power is none."""
    frames = 2.0 * np.ones((5000, 4))
    frames[4000, 2] = -1e30
    with (
        ReplaySource(write(frames, subtype="FLOAT"), respeaker) as source,
        pytest.raises(RecordingError, match=r"beyond ±1000 after 0\.20 s, where full scale is ±1; export"),
    ):
        list(source.blocks())


@pytest.mark.parametrize(("name", "least"), [("yard.wav", 7990), ("yard.flac", 3200)])
def test_a_truncated_recording_is_heard_up_to_its_end_and_then_refused(
    write: WriteRecording, respeaker: ArrayGeometry, name: str, least: int
) -> None:
    frames = _noise(16000, 4)
    path = write(frames, name)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    heard: list[np.ndarray] = []
    with ReplaySource(path, respeaker) as source, pytest.raises(RecordingError, match=name):
        heard.extend(block.samples for block in source.blocks())
    delivered = np.concatenate(heard, axis=1)
    assert delivered.shape[1] >= least
    assert np.array_equal(delivered * 32768.0, frames[: delivered.shape[1]].T)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kept=st.floats(0.0, 1.0, exclude_max=True), name=st.sampled_from(["yard.wav", "yard.flac", "yard.rf64"]))
def test_no_cut_goes_unnoticed(write: WriteRecording, respeaker: ArrayGeometry, kept: float, name: str) -> None:
    """Wherever a recording breaks off, header included, it ends in a `RecordingError`."""
    path = write(_noise(4000, 4), name) if name != "yard.rf64" else _write_rf64(write)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])
    with pytest.raises(RecordingError), ReplaySource(path, respeaker) as source:
        list(source.blocks())


def test_rf64_is_read(write: WriteRecording, respeaker: ArrayGeometry) -> None:
    """The form a WAV takes beyond 4 GiB: hours of many channels."""
    _, heard = _heard(ReplaySource(_write_rf64(write), respeaker))
    assert np.array_equal(heard * 32768.0, _noise(4000, 4).T)


def _write_rf64(write: WriteRecording) -> Path:
    path = write(np.zeros((1, 4), np.int16), "yard.rf64")
    soundfile.write(path, _noise(4000, 4), 16000, format="RF64", subtype="PCM_16")
    return path


@pytest.mark.parametrize("length", [0xFFFFFFFF, 0x7FFFFFFF])
def test_a_wav_from_a_pipe_has_no_length_and_is_read_to_its_end(
    write: WriteRecording, respeaker: ArrayGeometry, length: int
) -> None:
    """`arecord | tee yard.wav` cannot go back to fill in the length."""
    frames = _noise(4000, 4)
    path = write(frames)
    content = bytearray(path.read_bytes())
    at = content.index(b"data") + 4
    content[at : at + 4] = struct.pack("<I", length)
    path.write_bytes(content)
    source = ReplaySource(path, respeaker)
    assert source.duration_s is None
    _, heard = _heard(source)
    assert np.array_equal(heard * 32768.0, frames.T)


def test_closing_ends_the_blocks(write: WriteRecording, respeaker: ArrayGeometry) -> None:
    source = ReplaySource(write(_noise(16000, 4)), respeaker)
    assert source.duration_s == 1.0
    blocks = source.blocks()
    next(blocks)
    source.close()
    source.close()
    assert list(blocks) == []
