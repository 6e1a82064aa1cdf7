"""What a command may say: `schemas/command.v1.json` as types. A key that is not known is an error; a typing error must not mute a sector."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from appliance.errors import WireError
from appliance.types import CommandName

_EventId = Annotated[str, Field(pattern=r"^[0-9A-HJKMNP-TV-Z]{26}$")]
_ClassLabel = Annotated[str, Field(pattern=r"^[A-Za-z0-9_]{1,64}$")]
_BearingDeg = Annotated[float, Field(ge=0.0, le=360.0)]
_CommandId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:-]{1,64}$")]


class Request(BaseModel):
    """What every command says."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)

    schema_name: Literal["acoustic.command.v1"] = Field(alias="schema")
    """The contract."""
    id: _CommandId
    """The asker's own id, by which a repeat is known."""
    by: str = Field(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f]*$")
    """Who asks."""


class Acknowledge(Request):
    """Somebody deals with an event."""

    event_id: _EventId
    """The event."""


class Mute(Request):
    """No alerts of a class, of a sector, or of a class in a sector."""

    class_label: _ClassLabel = Field(default="", alias="class")
    """Only this class; empty: any."""
    from_deg: _BearingDeg | None = None
    """Only true bearings from here, clockwise …"""
    to_deg: _BearingDeg | None = None
    """… to here."""
    duration_s: float = Field(gt=0.0, le=7 * 24 * 3600)
    """For how long."""

    @model_validator(mode="after")
    def _consistent(self) -> "Mute":
        if {"from_deg", "to_deg"} & self.model_fields_set:
            if self.from_deg is None or self.to_deg is None:
                raise ValueError("from_deg and to_deg: give both, as numbers")
            if self.from_deg == self.to_deg:
                raise ValueError("from_deg and to_deg: are the same; for all around give 0 and 360")
        elif not self.class_label:
            raise ValueError("give class, from_deg and to_deg, or all three")
        return self


class Unmute(Request):
    """End a mute early."""

    mute_id: int = Field(ge=1, le=2**53 - 1)
    """The mute."""


class Threshold(Request):
    """Change the threshold of a class."""

    class_label: _ClassLabel = Field(alias="class")
    """The class."""
    threshold: Annotated[float, Field(gt=0.0, lt=1.0)] | None
    """Probability; None: back to what the site file and the model say."""


class Selftest(Request):
    """Is the unit fit?"""


class Clip(Request):
    """The audio of an event."""

    event_id: _EventId
    """The event."""
    offset: int | None = Field(default=None, ge=0, le=2**53 - 1)
    """Send the file's bytes from here on, as many as go into one answer; None: only tell of it."""


class Restart(Request):
    """End a process; systemd starts it again."""

    process: Literal["sensor", "publisher"]
    """Which one."""


REQUESTS: dict[CommandName, type[Request]] = {
    "acknowledge": Acknowledge,
    "mute": Mute,
    "unmute": Unmute,
    "threshold": Threshold,
    "selftest": Selftest,
    "clip": Clip,
    "restart": Restart,
}


def read_request(name: CommandName, payload: bytes) -> Request:
    """The command `name` in a payload from the network; raises `WireError` that names the key."""
    try:
        return REQUESTS[name].model_validate_json(payload)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(str(part)[:40] for part in fault["loc"]) or "message"
        raise WireError(f"{where}: {fault['msg']}"[:300]) from None


class _Identified(BaseModel):
    """The one key of a message that an answer to it needs."""

    model_config = ConfigDict(strict=True)

    id: _CommandId


def read_id(payload: bytes) -> str | None:
    """The asker's id in a payload that may be no command otherwise; None where it cannot be read."""
    try:
        return _Identified.model_validate_json(payload).id
    except ValidationError:
        return None
