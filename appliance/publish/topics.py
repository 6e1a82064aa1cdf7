"""The unit's MQTT topics. A `Topic` cannot hold what a broker would refuse or read as a wildcard."""

from dataclasses import dataclass

from appliance.errors import ConfigError

_MAX_BYTES = 65535


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic to publish to: no wildcard, no empty level, nothing reserved. Raises `ConfigError` where it is not one."""

    name: str
    """Levels joined by "/"."""

    def __post_init__(self) -> None:
        fault = _fault(self.name)
        if fault:
            raise ConfigError(f"topic {self.name!r:.80}: {fault}; check [unit] site and node in the site file")

    def __str__(self) -> str:
        return self.name

    def __truediv__(self, level: str) -> "Topic":
        """The topic one level below."""
        if "/" in level:
            raise ConfigError(f"topic level {level!r:.80}: holds a slash; check [unit] site and node in the site file")
        return Topic(f"{self.name}/{level}")


class UnitTopics:
    """`acoustic/v1/{site}/{node}/…` of one unit."""

    def __init__(self, site: str, node: str) -> None:
        self.site, self.node = site, node
        self._unit = Topic("acoustic/v1") / site / node
        self.status = self._unit / "status"
        self.health = self._unit / "health"
        self.config = self._unit / "config"
        self.alerts = self._unit / "alerts"
        self.tracks = self._unit / "tracks"
        self.commands = f"{self._unit}/cmd/+"

    def event(self, event_id: str) -> Topic:
        """Where the lifecycle of one event goes."""
        return self._unit / "events" / event_id

    def command(self, name: str) -> Topic:
        """Where a command is sent to."""
        return self._unit / "cmd" / name

    def answers(self, asker: str) -> Topic:
        """Where an asker may have answers sent to: nothing that is sent in makes the unit speak anywhere else."""
        return self._unit / "answers" / asker

    def is_for_answers(self, topic: Topic) -> bool:
        """True where it is one of `answers`."""
        return str(topic).startswith(f"{self._unit}/answers/")


def _fault(name: str) -> str | None:
    try:
        size_bytes = len(name.encode())
    except UnicodeEncodeError:
        return "not valid Unicode"
    if size_bytes > _MAX_BYTES:
        return f"longer than {_MAX_BYTES} bytes"
    if any(character in name for character in "+#\0"):
        return "holds one of +, # and NUL, which MQTT reserves"
    if name.startswith("$"):
        return "begins with $, which brokers keep for themselves"
    if not all(name.split("/")):
        return "has an empty level"
    return None
