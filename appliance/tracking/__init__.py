"""Identity over time: tracks on the sphere."""

from appliance.tracking.tracker import Tracker

__all__ = ["Tracker"]
