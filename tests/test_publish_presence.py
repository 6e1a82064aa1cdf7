"""Silence means quiet only where the sensor says that it hears."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.config import UnitSettings
from appliance.publish.presence import SENSOR_SILENT_S, assess, hears, last_will
from appliance.publish.topics import UnitTopics
from appliance.types import UnitState

_JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["hearing", "faults", "other"]), inner),
)


@pytest.mark.parametrize(
    ("sensor", "state", "reasons"),
    [
        (None, "degraded", ["the sensor has not reported yet"]),
        (UnitState({"hearing": True, "faults": []}, SENSOR_SILENT_S), "online", []),
        (
            UnitState({"hearing": True, "faults": []}, SENSOR_SILENT_S + 1),
            "degraded",
            ["the sensor has stopped reporting"],
        ),
        (UnitState({"hearing": False, "faults": []}, 0.0), "degraded", ["the sensor does not hear"]),
        (UnitState({"hearing": True, "faults": ["microphone 3 is dead"]}, 0.0), "degraded", ["microphone 3 is dead"]),
        (UnitState({"hearing": False, "faults": ["no audio"]}, 0.0), "degraded", ["no audio"]),
    ],
)
def test_state_follows_what_the_sensor_said(sensor: UnitState | None, state: str, reasons: list[str]) -> None:
    assert assess(sensor) == (state, reasons)


@given(_JSON)
def test_whatever_else_the_sensor_says_is_never_online(value: object) -> None:
    state, reasons = assess(UnitState(value, 0.0))
    hears = isinstance(value, dict) and value.get("hearing") is True
    assert (state == "online") == (not reasons)
    assert hears or state == "degraded"


def test_what_the_publisher_finds_wrong_comes_after_what_the_sensor_does() -> None:
    hearing, deaf = UnitState({"hearing": True, "faults": []}, 0.0), UnitState({"hearing": False, "faults": []}, 0.0)
    assert assess(hearing, ["the disk was full"]) == ("degraded", ["the disk was full"])
    assert assess(deaf, ["the disk was full"]) == ("degraded", ["the sensor does not hear", "the disk was full"])


@pytest.mark.parametrize(
    ("sensor", "heard"),
    [
        (None, False),
        (UnitState({"hearing": True, "faults": ["microphone 3 is dead"]}, SENSOR_SILENT_S), True),
        (UnitState({"hearing": True, "faults": []}, SENSOR_SILENT_S + 1), False),
        (UnitState({"hearing": False, "faults": []}, 0.0), False),
        (UnitState("nonsense", 0.0), False),
    ],
)
def test_a_sensor_hears_that_says_so_now(sensor: UnitState | None, heard: bool) -> None:
    assert hears(sensor) is heard


def test_last_will_is_retained() -> None:
    will = last_will(UnitSettings(site="north", node="mast-1"), UnitTopics("north", "mast-1"))
    assert (str(will.topic), will.retain) == ("acoustic/v1/north/mast-1/status", True)
