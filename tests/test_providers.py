"""Execution providers are proved by inference; the CPU takes over aloud."""

import logging
import subprocess
import sys

import numpy as np
import pytest

from appliance.model.meta import find_model, load_meta
from appliance.model.providers import disagreement, open_session, trials
from appliance.model.scene import SceneModel

_NAME = "deepasa-edge-small-int8"


def test_the_cpu_is_tried_and_timed() -> None:
    path = find_model(_NAME)
    (cpu,) = [trial for trial in trials(path, load_meta(path)) if trial.provider == "cpu"]
    assert cpu.fault == ""
    assert cpu.step_ms > 0.0
    assert cpu.session is not None


def test_a_provider_that_is_not_there_is_missed_aloud(caplog: pytest.LogCaptureFixture) -> None:
    path = find_model(_NAME)
    with caplog.at_level(logging.WARNING):
        session = open_session(path, load_meta(path), "cuda", 1)
    assert session.get_providers() == ["CPUExecutionProvider"]
    assert "provider cuda" in caplog.text
    assert "CPU is used instead" in caplog.text


def test_auto_and_cpu_hear_the_same_on_a_machine_without_accelerator() -> None:
    assert SceneModel.load(_NAME, provider="auto").provider == SceneModel.load(_NAME).provider == "CPUExecutionProvider"


def test_wrong_and_broken_outputs_disagree() -> None:
    right = [{"activity": np.array([0.1, 0.9], np.float32)}]
    assert disagreement(right, right) == 0.0
    assert disagreement([{"activity": np.array([0.1, 0.7], np.float32)}], right) == pytest.approx(0.2)
    assert disagreement([{"activity": np.array([0.1, np.nan], np.float32)}], right) == np.inf


def test_verify_names_every_shipped_model() -> None:
    command = "from appliance.cli.main import main; main()"
    done = subprocess.run([sys.executable, "-c", command, "model", "verify"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for name in ("deepasa-edge-small-int8", "deepasa-edge-small-fp32"):
        assert name in done.stdout
