"""The event log and the outbox: one SQLite file, where the sensor and the publisher meet."""

from appliance.store.log import EventLog
from appliance.store.outbox import Outbox

__all__ = ["EventLog", "Outbox"]
