"""Commands from the network: told apart, allowed or refused, carried out at a bounded rate, and each one answered.

Nothing that comes in is trusted. What cannot be answered is not carried out, only counted.
"""

import dataclasses
import time
from collections import Counter, deque
from collections.abc import Callable, Collection
from typing import Any, Protocol, get_args

from appliance import wire
from appliance.config import CommandSettings, UnitSettings
from appliance.errors import ConfigError, WireError
from appliance.publish import requests
from appliance.publish.actions import Effects, Refusal, carry_out
from appliance.publish.clip_parts import ReadClip, with_audio
from appliance.publish.connector import Connector
from appliance.publish.packets import MAX_RECEIVED_BYTES, Incoming, Outgoing
from appliance.publish.requests import Request, read_id, read_request
from appliance.publish.topics import Topic, UnitTopics
from appliance.types import Answer, Command, CommandError, CommandName, Job

ANSWER_EXPIRY_S = 60
"""Who asked has given up by then."""
JOB_TIMEOUT_S = 30.0
"""The sensor looks once a second, and has to answer within this."""

_MINUTE_S = 60.0
_LOOK_S = 0.2
_MAX_WAITING = 64
_LOGGED_CHARACTERS = 1000
_MAX_CORRELATION_BYTES = 1024
_ID_USED = Refusal("malformed", "id: this id was used for another command; give each its own")


class CommandLog(Protocol):
    """What the commands need of `store.commands.CommandLog`."""

    def carry_out(self, command: Command, answer: Callable[[Any], str | None]) -> int:
        """Do and log, in one transaction; None leaves the answer to the sensor. Returns the key in the log."""

    def is_id_used(self, command: Command) -> bool:
        """True where another command was logged under its id."""

    def jobs(self) -> list[Job]:
        """What the sensor has not answered yet."""

    def answer(self, row: int, payload: str) -> bool:
        """Answer a job; False where it was answered already."""

    def unsent(self) -> list[Answer]:
        """Answers that wait."""

    def mark_sent(self, row: int) -> None:
        """Nobody waits for it any more."""


class Commands:
    """Takes commands from the connector, and sends their answers. It keeps nothing that the event log does not hold."""

    def __init__(
        self,
        unit: UnitSettings,
        settings: CommandSettings,
        connector: Connector,
        topics: UnitTopics,
        read_clip: ReadClip,
        *,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._unit = unit
        self._settings = settings
        self._connector = connector
        self._topics = topics
        self._read_clip = read_clip
        self._clock_s = clock_s
        self._inbox: deque[tuple[Incoming, Request | Refusal]] = deque()
        self._asked_s: deque[float] = deque(maxlen=2 * settings.per_minute)
        self._in_flight: dict[int, int] = {}
        self._connection = 0
        self._look_due_s = 0.0
        self._restart_asked = False
        self._answers_wait = False
        self.waiting = 0
        """Answers for which the latest look found no room."""
        self.accepted = 0
        """Commands that were carried out, or handed to the sensor; a repeat counts again."""
        self.rejected: Counter[str] = Counter()
        """Cause → commands that were refused, with an answer or without one."""

    @property
    def restart_wanted(self) -> bool:
        """True once this process was asked to restart and everybody has an answer."""
        return self._restart_asked and not self._answers_wait and not self._in_flight

    def step(self, log: CommandLog, classes: Collection[str] | None) -> None:
        """Carry out what has come in, send what was answered. `classes` are the model's, None where nobody said yet.

        Raises `StoreError` and `BrokerError`; a command that could not be logged is tried again.
        """
        self._take_in()
        while self._inbox:
            self._handle(log, *self._inbox[0], classes)
            self._inbox.popleft()
            self._look_due_s = 0.0
        if self._clock_s() >= self._look_due_s:
            self._look_due_s = self._clock_s() + _LOOK_S
            self._give_up_jobs(log)
            self._send(log)

    def _take_in(self) -> None:
        for message in self._connector.received():
            cause = self._unanswerable(message)
            if cause is None and len(self._inbox) >= _MAX_WAITING:
                cause = "overflow"
            if cause is None:
                self._inbox.append((message, self._permitted(message)))
            else:
                self.rejected[cause] += 1
        if self._connector.overflowed:
            self.rejected["overflow"] += self._connector.overflowed
            self._connector.overflowed = 0

    def _handle(
        self, log: CommandLog, message: Incoming, asked: Request | Refusal, classes: Collection[str] | None
    ) -> None:
        name = _name(message)
        request = asked if isinstance(asked, Request) else None
        command = Command(
            name,
            request.id if request else None,
            request.by if request else None,
            # As it was understood, so that a repeat may be spelt in another order.
            request.model_dump_json(by_alias=True, exclude_unset=True)
            if request
            else message.payload.decode("utf-8", "replace")[:_LOGGED_CHARACTERS],
            message.response_topic or "",
            message.correlation,
        )
        if log.is_id_used(command):
            asked, command = _ID_USED, dataclasses.replace(command, command_id=None)
        command_id = request.id if request else read_id(message.payload)
        refused: list[CommandError] = []
        done: list[Request] = []

        def answer(effects: Effects) -> str | None:
            outcome = asked if isinstance(asked, Refusal) else carry_out(asked, effects, self._settings, classes)
            if isinstance(outcome, Refusal):
                refused.append(outcome.error)
                return self._answer(name, command_id, outcome.text, error=outcome.error)
            done.extend([request] if request else [])
            return None if outcome is None else self._answer(name, command_id, outcome[0], result=outcome[1])

        row = log.carry_out(command, answer)
        # Of a repeat the answer may be on its way; it has to go a second time.
        self._in_flight.pop(row, None)
        # Only now: had the transaction failed, the command would be tried again.
        self.rejected.update(refused)
        self.accepted += not refused
        if any(isinstance(each, requests.Restart) and each.process == "publisher" for each in done):
            self._restart_asked = self._answers_wait = True

    def _unanswerable(self, message: Incoming) -> str | None:
        """Why nobody gets an answer; counted, so that a flood costs nothing else."""
        if not message.topic.startswith(self._topics.commands.removesuffix("+")):
            return "topic"
        if message.retained:
            return "retained"
        if len(message.payload) > MAX_RECEIVED_BYTES:
            return "too_large"
        if message.response_topic is None:
            return "no_response_topic"
        try:
            if not self._topics.is_for_answers(Topic(message.response_topic)):
                return "response_topic"
        except ConfigError:
            return "response_topic"
        if len(message.correlation or b"") > _MAX_CORRELATION_BYTES:
            return "correlation"
        if len(self._recent_s()) >= 2 * self._settings.per_minute:
            return "flood"
        return None

    def _permitted(self, message: Incoming) -> Request | Refusal:
        """The command, read, or why not; it counts towards the rate."""
        name, recent_s = _name(message), self._recent_s()
        recent_s.append(self._clock_s())
        if len(recent_s) > self._settings.per_minute:
            return Refusal("rate_limited", f"more than {self._settings.per_minute} commands within a minute")
        known = next((known for known in get_args(CommandName) if known == name), None)
        if known is None:
            return Refusal("unknown_command", f"no such command; there are {', '.join(get_args(CommandName))}")
        if known not in self._settings.allow:
            return Refusal("not_allowed", f"[commands] allow in the unit's site file does not name {name}")
        if message.expiry_s is None:
            return Refusal("no_expiry", "give it a message expiry, or an outage would have it carried out late")
        try:
            return read_request(known, message.payload)
        except WireError as error:
            return Refusal("malformed", str(error))

    def _recent_s(self) -> deque[float]:
        while self._asked_s and self._asked_s[0] <= self._clock_s() - _MINUTE_S:
            self._asked_s.popleft()
        return self._asked_s

    def _give_up_jobs(self, log: CommandLog) -> None:
        for job in log.jobs():
            if job.age_s > JOB_TIMEOUT_S:
                text = f"the sensor did not answer within {JOB_TIMEOUT_S:.0f} s"
                log.answer(job.row, self._answer(job.name, job.command_id, text, error="unavailable"))
                self.rejected["unavailable"] += 1

    def _send(self, log: CommandLog) -> None:
        if self._connector.connections != self._connection:
            self._connection = self._connector.connections
            self._in_flight.clear()
        for row, number in [*self._in_flight.items()]:
            if self._connector.connected and not self._connector.awaits(number):
                log.mark_sent(row)
                del self._in_flight[row]
        waiting = [answer for answer in log.unsent() if answer.row not in self._in_flight]
        self._answers_wait = bool(waiting)
        self.waiting = 0
        for answer in waiting:
            left_s = int(ANSWER_EXPIRY_S + JOB_TIMEOUT_S - answer.age_s)
            if left_s < 1:
                log.mark_sent(answer.row)
            elif self._connector.room > 0:
                outgoing = Outgoing(
                    Topic(answer.response_topic),
                    with_audio(answer.payload, self._read_clip),
                    (("schema", wire.ANSWER_SCHEMA),),
                    expiry_s=left_s,
                    correlation=answer.correlation,
                )
                self._in_flight[answer.row] = self._connector.publish(outgoing)
            else:
                self.waiting += 1

    def _answer(
        self,
        name: str,
        command_id: str | None,
        text: str,
        *,
        error: CommandError | None = None,
        result: dict[str, Any] | None = None,
    ) -> str:
        return wire.answer_to_json(
            site=self._unit.site,
            node=self._unit.node,
            command=name,
            command_id=command_id,
            utc_ns=time.time_ns(),
            text=text,
            error=error,
            result=result,
        )


def _name(message: Incoming) -> str:
    return message.topic.rpartition("/")[2][:64]
