"""Site file and array file together say what is opened; contradictions are a person's to mend."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from appliance.audio.open import capture_spec
from appliance.config import CaptureSettings
from appliance.errors import ConfigError
from appliance.geometry import ArrayGeometry


def _array(**device: Any) -> ArrayGeometry:
    positions = np.array([[0.03, 0.0, 0.0], [-0.03, 0.0, 0.0], [0.0, 0.03, 0.0], [0.0, -0.03, 0.0]])
    plain = ArrayGeometry("square", positions, (1, 2, 3, 4))
    return replace(plain, device=plain.device.model_copy(update=device))


def test_the_site_file_wins_over_the_array_file_over_the_defaults() -> None:
    hints = {"alsa_card_id": "ArrayUAC10", "channels": 6, "sample_rate_hz": 48000, "sample_format": "S32_LE"}
    spec = capture_spec(CaptureSettings(), _array(**hints))
    assert (spec.device, spec.channels, spec.sample_rate_hz, spec.sample_format) == ("ArrayUAC10", 6, 48000, "S32_LE")
    chosen = CaptureSettings(
        device="hw:CARD=yard", channels=8, sample_rate_hz=44100, sample_format="S24_3LE", queue_seconds=2.0
    )
    spec = capture_spec(chosen, _array(**hints))
    assert (spec.device, spec.channels, spec.sample_rate_hz, spec.sample_format) == (
        "hw:CARD=yard",
        8,
        44100,
        "S24_3LE",
    )
    assert (spec.chunk_frames, spec.queue_chunks, spec.alsa_channels) == (4410, 20, (1, 2, 3, 4))
    spec = capture_spec(CaptureSettings(device="yard"), _array())
    assert (spec.channels, spec.sample_rate_hz, spec.sample_format) == (5, 16000, "S16_LE")


@pytest.mark.parametrize(
    ("settings", "device", "message"),
    [
        ({}, {}, r"\[capture\] device: empty"),
        ({"device": "hw:1,0"}, {}, r"\[capture\] device: .*card id"),
        ({"device": "yard", "channels": 4}, {}, r"\[capture\] channels: 4 leaves out channel 4 .* at least 5"),
        ({"device": "yard"}, {"sample_rate_hz": 96000}, r"'square': \[device\] sample_rate_hz: 96000"),
    ],
)
def test_a_contradiction_names_key_and_remedy(settings: dict[str, Any], device: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        capture_spec(CaptureSettings(**settings), _array(**device), Path("site.toml"))
    assert str(caught.value).startswith("array " if device else "site.toml: [capture] ")


def test_a_binding_that_is_not_installed_is_a_settings_error() -> None:
    """In a process of its own, where Python is told that there is no pyaudio."""
    program = (
        "import sys; sys.modules['pyaudio'] = None\n"
        "from appliance.audio.open import open_capture\n"
        "from appliance.config import CaptureSettings\n"
        "from appliance.errors import ConfigError\n"
        "from test_audio_open import _array\n"
        "try: open_capture(CaptureSettings(backend='pyaudio', device='yard'), _array())\n"
        "except ConfigError as error: print(error); sys.exit(error.exit_status)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=Path(__file__).parent
    )
    assert run.returncode == 78, run.stderr
    assert 'pip install "appliance[pyaudio]"' in run.stdout
