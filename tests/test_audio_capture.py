"""Live capture through ALSA's own user-space library, with both PortAudio bindings.

An ALSA configuration of the test's own holds `file` PCMs whose `infile` stands for the microphones, so everything but
the kernel's driver is real. A capture runs in a process of its own, because PortAudio reads that configuration once.
A plain file is delivered as fast as it can be read (and its last part over and over after its end); a FIFO is
delivered as fast as the test writes.
"""

import logging
import multiprocessing
import os
import signal
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from fcntl import F_SETPIPE_SZ, fcntl, ioctl
from multiprocessing.connection import Connection
from pathlib import Path
from termios import FIONREAD
from typing import Any, Literal, TypeVar

import numpy as np
import pytest
import soxr

from appliance.audio.inlet import Inlet
from appliance.audio.live import LiveSource, StreamOpener
from appliance.audio.open import capture_spec, open_capture
from appliance.audio.pyaudio_source import PyAudioStream
from appliance.audio.sounddevice_source import SounddeviceStream
from appliance.audio.spec import CaptureSpec
from appliance.audio.timeline import GapLedger
from appliance.config import CaptureSettings
from appliance.errors import ApplianceError, DeviceError
from appliance.geometry import ArrayGeometry
from appliance.types import AudioBlock

Backend = Literal["sounddevice", "pyaudio"]
BACKENDS: tuple[Backend, ...] = ("sounddevice", "pyaudio")
_STREAMS: Mapping[str, StreamOpener] = {"sounddevice": SounddeviceStream, "pyaudio": PyAudioStream}
_ANSWER_S = 60.0
_CHANNELS, _CHUNK = 6, 1600
_Answer = TypeVar("_Answer")


@dataclass(frozen=True)
class _Order:
    """What the capturing process is to open, and how impatient it shall be."""

    alsa_config: Path
    settings: CaptureSettings
    patience: Mapping[str, float] | None = None


def _respeaker() -> ArrayGeometry:
    """Four microphones on channels 1-4 of six, not in channel order."""
    positions = np.array([[0.03, 0.0, 0.0], [-0.03, 0.0, 0.0], [0.0, 0.03, 0.0], [0.0, -0.03, 0.0]])
    plain = ArrayGeometry("respeaker", positions, (1, 3, 2, 4))
    return replace(plain, device=plain.device.model_copy(update={"channels": _CHANNELS}))


class _Forward(logging.Handler):
    """Sends each warning to the test."""

    def __init__(self, connection: "Connection[Any, Any]") -> None:
        super().__init__(logging.WARNING)
        self._connection = connection

    def emit(self, record: logging.LogRecord) -> None:
        self._connection.send(record.getMessage())


def _serve(connection: "Connection[Any, Any]", order: _Order) -> None:
    """The capturing process: reads as many blocks as it is told; -1: until closed from a thread;
    -2: until closed from a signal handler; 0: sends its ledger.
    """
    os.environ["ALSA_CONFIG_PATH"] = str(order.alsa_config)
    logging.getLogger("appliance").addHandler(_Forward(connection))
    try:
        if order.patience is None:
            source = open_capture(order.settings, _respeaker())
        else:
            spec = capture_spec(order.settings, _respeaker())
            source = LiveSource(spec, _STREAMS[order.settings.backend], **order.patience)
        with source:
            blocks = source.blocks()
            while count := connection.recv():
                if count == -1:
                    threading.Timer(0.2, source.close).start()
                if count == -2:
                    signal.signal(signal.SIGALRM, lambda *_: source.close())
                    signal.setitimer(signal.ITIMER_REAL, 0.2)
                if count < 0:
                    connection.send(list(blocks))
                    continue
                connection.send([next(blocks) for _ in range(count)])
            connection.send(source.ledger)
    except ApplianceError as error:
        connection.send(error)


class _Capture:
    """The test's end of a capturing process."""

    def __init__(self, order: _Order) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._connection, theirs = spawn.Pipe()
        self._process = spawn.Process(target=_serve, args=(theirs, order))
        self._process.start()
        theirs.close()

    def ask(self, blocks: int) -> None:
        self._connection.send(blocks)

    def answered(self, within_s: float = _ANSWER_S) -> bool:
        return bool(self._connection.poll(within_s))

    def answer(self) -> Any:
        assert self.answered(), "the capturing process says nothing"
        return self._connection.recv()

    def wait_for(self, kind: type[_Answer], words: str = "", meanwhile: Callable[[], None] | None = None) -> _Answer:
        """The next answer of a kind (and with such words in it), past whatever is logged before it."""
        while True:
            while meanwhile and not self.answered(0.1):
                meanwhile()
            answer = self.answer()
            if isinstance(answer, kind) and words in str(answer):
                return answer
            assert isinstance(answer, str), answer

    def read(self, blocks: int) -> list[AudioBlock]:
        self.ask(blocks)
        return self.wait_for(list)

    def finish(self) -> GapLedger:
        self.ask(0)
        return self.wait_for(GapLedger)

    def end(self) -> None:
        self._process.kill()
        self._process.join()
        self._connection.close()


StartCapture = Callable[..., _Capture]


@pytest.fixture
def infile(tmp_path: Path) -> Path:
    """Where the microphones of the PCM `yard` come from; to be written, or made a FIFO."""
    return tmp_path / "microphones.raw"


@pytest.fixture
def start(tmp_path: Path, infile: Path) -> Iterator[StartCapture]:
    """Start capturing from the PCM `yard` (or, with 24 bits in 32, from a plug above it)."""
    started: list[_Capture] = []

    def start_capture(
        sample_format: str = "S16_LE", rate_hz: int = 16000, *, patience: Mapping[str, float] | None = None, **keys: Any
    ) -> _Capture:
        alsa_config = tmp_path / "asound.conf"
        file_pcm = f'type file slave.pcm "null" file "/dev/null" infile "{infile}" format "raw"'
        alsa_config.write_text(
            "</usr/share/alsa/alsa.conf>\n"
            f"pcm.yard {{ {file_pcm} }}\n"
            f"pcm.widened {{ type plug slave {{ pcm {{ {file_pcm} }}"
            f" format {sample_format} rate {rate_hz} channels {_CHANNELS} }} }}\n"
            'pcm.stereo { type multi slaves.a { pcm "yard" channels 2 }'
            " bindings { 0 { slave a channel 0 } 1 { slave a channel 1 } } }\n"
        )
        device = "widened" if sample_format == "S24_LE" else "yard"
        keys = {"device": device, "sample_format": sample_format, "sample_rate_hz": rate_hz, **keys}
        started.append(_Capture(_Order(alsa_config, CaptureSettings(**keys), patience)))
        return started[-1]

    yield start_capture
    for capture in started:
        capture.end()


def _noise(frames: int, bits: int) -> np.ndarray:
    limit = 1 << (bits - 1)
    return np.random.default_rng(bits).integers(-limit, limit - 1, (frames, _CHANNELS), dtype=np.int32)


def _as_bytes(frames: np.ndarray, sample_format: str) -> bytes:
    if sample_format == "S16_LE":
        return frames.astype("<i2").tobytes()
    padded = frames.astype("<i4")
    return padded.view(np.uint8).reshape(-1, 4)[:, :3].tobytes() if sample_format == "S24_3LE" else padded.tobytes()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("sample_format", "bits"), [("S16_LE", 16), ("S24_3LE", 24), ("S24_LE", 24), ("S32_LE", 32)])
def test_samples_and_channels_arrive_unchanged(
    start: StartCapture, infile: Path, backend: Backend, sample_format: str, bits: int
) -> None:
    """Two seconds of noise on six channels: the four microphones come out, in their order, to the bit.

    Under the plug layer ALSA's `file` PCM reads ahead and forgets whole periods, so there every period is the same.
    """
    frames = np.tile(_noise(_CHUNK, bits), (20, 1)) if sample_format == "S24_LE" else _noise(20 * _CHUNK, bits)
    infile.write_bytes(_as_bytes(frames, sample_format))
    capture = start(sample_format, backend=backend, queue_seconds=60.0)
    blocks = capture.read(20)
    heard = np.concatenate([block.samples for block in blocks], axis=1)
    expected = (frames[:, [1, 3, 2, 4]].T.astype(np.float32)) / np.float32(2.0 ** (bits - 1))
    assert np.array_equal(heard, expected)
    assert [block.start_sample for block in blocks] == [index * _CHUNK for index in range(20)]
    assert not any(block.gap for block in blocks)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("rate_hz", [44100, 48000])
def test_other_rates_arrive_at_16_khz(start: StartCapture, infile: Path, backend: Backend, rate_hz: int) -> None:
    frames = _noise(2 * rate_hz, 16)
    infile.write_bytes(_as_bytes(frames, "S16_LE"))
    blocks = start("S16_LE", rate_hz, backend=backend, queue_seconds=60.0).read(18)
    heard = np.concatenate([block.samples for block in blocks], axis=1)
    expected = soxr.resample(frames[:, [1, 3, 2, 4]].astype(np.float32) / 32768.0, rate_hz, 16000).T
    assert heard.shape[1] > 16000
    np.testing.assert_allclose(heard, expected[:, : heard.shape[1]], atol=1e-5)
    ends = np.cumsum([block.samples.shape[1] for block in blocks])
    assert [block.start_sample for block in blocks] == [0, *ends[:-1]]


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_missing_device_is_told_with_what_there_is(start: StartCapture, infile: Path, backend: Backend) -> None:
    infile.write_bytes(bytes(12 * _CHUNK))
    error = start(backend=backend, device="ArrayUAC10").answer()
    assert isinstance(error, DeviceError)
    assert '"ArrayUAC10": not found' in str(error)
    assert "PCM yard" in str(error)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_device_that_refuses_is_told_with_what_was_asked(start: StartCapture, infile: Path, backend: Backend) -> None:
    """A PCM of two channels, asked for the array's six."""
    infile.write_bytes(bytes(12 * _CHUNK))
    error = start(backend=backend, device="stereo").answer()
    assert isinstance(error, DeviceError)
    assert '"stereo": refuses 6 channels S16_LE at 16000 Hz' in str(error)


class _Fifo:
    """Microphones that sound when told to. Channel c of frame i holds 6·i + c."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        # Open for both ends, so that neither ALSA nor the test waits for the other to open.
        self._descriptor = os.open(path, os.O_RDWR)
        fcntl(self._descriptor, F_SETPIPE_SZ, 1 << 20)
        self._frames = 0

    def sound(self, chunks: int = 1) -> None:
        for _ in range(chunks):
            values = np.arange(self._frames * _CHANNELS, (self._frames + _CHUNK) * _CHANNELS, dtype=np.int64) << 7
            os.write(self._descriptor, values.astype("<i4").tobytes())
            self._frames += _CHUNK

    def wait_until_heard(self) -> None:
        """Until ALSA has read everything."""
        while struct.unpack("i", ioctl(self._descriptor, FIONREAD, bytes(4)))[0]:
            time.sleep(0.01)

    def close(self) -> None:
        os.close(self._descriptor)


@pytest.fixture
def fifo(infile: Path) -> Iterator[_Fifo]:
    """The PCM `yard` on a FIFO, S32_LE."""
    made = _Fifo(infile)
    yield made
    made.close()


def _first_frame(block: AudioBlock) -> int:
    """The number of the block's first frame as the FIFO wrote it; fails where the block is not of one piece."""
    numbers = (block.samples[0].astype(np.float64) * 2.0**24 - 1) / _CHANNELS
    assert np.array_equal(numbers, np.arange(numbers[0], numbers[0] + block.samples.shape[1]))
    return int(numbers[0])


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_reader_that_sleeps_loses_counted_samples(start: StartCapture, fifo: _Fifo, backend: Backend) -> None:
    """Three chunks fit; of the twenty that sound while nobody reads the rest is dropped, and counted to the sample."""
    capture = start("S32_LE", backend=backend, queue_seconds=0.3)
    capture.ask(1)
    fifo.sound()
    blocks = capture.wait_for(list)
    fifo.sound(20)
    fifo.wait_until_heard()
    while not any(block.gap for block in blocks):
        capture.ask(1)
        blocks += capture.wait_for(list, meanwhile=fifo.sound)
    assert [_first_frame(block) for block in blocks] == [block.start_sample for block in blocks]
    ledger = capture.finish()
    delivered = sum(block.samples.shape[1] for block in blocks)
    assert ledger.gaps == 1
    assert ledger.lost_samples == ledger.dropped_frames > 0
    assert blocks[-1].start_sample + _CHUNK == delivered + ledger.lost_samples


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_stuck_stream_is_noticed_and_reopened(
    start: StartCapture, fifo: _Fifo, infile: Path, backend: Backend
) -> None:
    """The device hangs, then is gone, then comes back: capture goes on by itself and says that it missed something."""
    capture = start("S32_LE", backend=backend, patience={"stall_s": 1.0})
    capture.ask(3)
    fifo.sound(3)
    before = capture.wait_for(list)
    capture.ask(1)
    capture.wait_for(str, "no audio for")
    infile.rename(infile.with_suffix(".unplugged"))
    # The old stream can end only once ALSA's read returns.
    capture.wait_for(str, "not found", meanwhile=fifo.sound)
    infile.with_suffix(".unplugged").rename(infile)
    fifo.sound()
    (after,) = capture.wait_for(list)
    assert [block.start_sample for block in before] == [0, 1600, 3200]
    assert after.gap
    assert _first_frame(after) > _first_frame(before[-1])
    ledger = capture.finish()
    assert (ledger.gaps, ledger.reopenings) == (1, 1)
    assert after.start_sample == 4800 + ledger.lost_samples
    assert ledger.lost_samples > 0
    assert after.utc_ns > before[-1].utc_ns


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_device_that_stays_away_ends_the_run(
    start: StartCapture, fifo: _Fifo, infile: Path, backend: Backend
) -> None:
    """A sensor must not look alive for ever without an ear."""
    capture = start("S32_LE", backend=backend, patience={"stall_s": 0.3, "give_up_s": 0.5})
    capture.ask(2)
    fifo.sound()
    capture.wait_for(str, "no audio for")
    infile.unlink()
    capture.wait_for(DeviceError, "gave up after", meanwhile=fifo.sound)


class _SilentStream:
    """A device that opens and runs, and gives nothing: no ALSA plugin does that without hanging in its driver."""

    active = True

    def __init__(self, spec: CaptureSpec, inlet: Inlet) -> None: ...

    def start(self) -> None: ...

    def close(self) -> None: ...


def test_a_device_that_is_there_and_gives_nothing_ends_the_run() -> None:
    spec = capture_spec(CaptureSettings(device="yard"), _respeaker())
    with (
        LiveSource(spec, _SilentStream, stall_s=0.05, give_up_s=0.2) as source,
        pytest.raises(DeviceError, match=r'"yard": no audio for .* gave up after .* check cable and power'),
    ):
        list(source.blocks())


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_driver_that_never_lets_go_ends_the_run(start: StartCapture, fifo: _Fifo, backend: Backend) -> None:
    """The kernel hangs in a read for ever: better an error than a capture loop that hangs with it."""
    capture = start("S32_LE", backend=backend, patience={"stall_s": 0.3, "close_s": 0.5})
    capture.ask(2)
    fifo.sound()
    error = capture.wait_for(DeviceError)
    assert '"yard": its driver does not let go' in str(error)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("order", [-1, -2], ids=["thread", "signal"])
def test_closing_from_elsewhere_ends_the_blocks(start: StartCapture, fifo: _Fifo, backend: Backend, order: int) -> None:
    """A supervisor ends the process while the pipeline waits for audio."""
    capture = start("S32_LE", backend=backend)
    capture.ask(order)
    blocks = capture.wait_for(list, meanwhile=fifo.sound)
    assert [block.start_sample for block in blocks] == [_CHUNK * index for index in range(len(blocks))]
    assert capture.finish().gaps == 0
