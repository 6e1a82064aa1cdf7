"""The demo, whole: recording, model, event log, publisher, broker, subscriber and verdict."""

import re
import subprocess
import sys

import pytest


@pytest.mark.parametrize("broker", ["mosquitto", "amqtt"])
def test_every_event_state_reaches_the_subscriber_and_the_drone_stays_one_event(broker: str) -> None:
    """The status is the verdict's: 1 as long as the weights miss what is in the recording, which the README says."""
    done = subprocess.run(
        [sys.executable, "-c", "from appliance.cli.main import main; main()", "demo", "--broker", broker],
        capture_output=True,
        text=True,
        check=False,
    )
    arrived = re.search(r"(\d+) of (\d+) event states arrived", done.stdout)
    assert arrived, done.stdout + done.stderr
    assert int(arrived[1]) == int(arrived[2]) > 0
    assert re.search(r"drone +│ +6\.1 s +│ +37\.7 s +│ +1 .*right", done.stdout), done.stdout
    assert "false alert" not in done.stdout.replace("no false alert", "")
    assert done.returncode == (0 if "passed" in done.stdout else 1)
