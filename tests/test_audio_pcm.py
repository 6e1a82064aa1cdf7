"""Bytes from PortAudio become ±1.0 without losing a bit that a float can hold."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from appliance.audio.pcm import WIRE_FORMATS, PortAudioFormat, decode

_INT24 = 1 << 23


@given(arrays(np.int16, st.tuples(st.integers(1, 40), st.integers(1, 8))))
def test_16_bit_samples_come_back_exactly(frames: np.ndarray) -> None:
    decoded = decode(frames.astype("<i2").tobytes(), frames.shape[1], "int16")
    assert decoded.dtype == np.float32
    assert np.array_equal(decoded * 2.0**15, frames)


@given(
    arrays(np.int32, st.tuples(st.integers(1, 40), st.integers(1, 8)), elements=st.integers(-_INT24, _INT24 - 1)),
)
def test_packed_24_bit_samples_come_back_exactly(frames: np.ndarray) -> None:
    packed = frames.astype("<i4").view(np.uint8).reshape(-1, 4)[:, :3].tobytes()
    decoded = decode(packed, frames.shape[1], "int24")
    assert np.array_equal(decoded.astype(np.float64) * _INT24, frames)


@given(arrays(np.int32, st.tuples(st.integers(1, 40), st.integers(1, 8))))
def test_32_bit_samples_keep_what_a_float_holds(frames: np.ndarray) -> None:
    decoded = decode(frames.astype("<i4").tobytes(), frames.shape[1], "int32")
    assert np.array_equal(decoded, frames.astype(np.float32) / np.float32(2.0**31))


@pytest.mark.parametrize("name", ["int16", "int24", "int32"])
def test_full_scale_is_one_in_every_format(name: PortAudioFormat) -> None:
    width = {"int16": 2, "int24": 3, "int32": 4}[name]
    lowest = b"\x00" * (width - 1) + b"\x80"
    assert decode(lowest, 1, name)[0, 0] == -1.0


def test_only_padded_24_bit_needs_alsa_to_convert() -> None:
    assert [name for name, wire in WIRE_FORMATS.items() if wire.needs_plug] == ["S24_LE"]
