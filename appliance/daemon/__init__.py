"""The sensor process: microphones to event log, and what it says about itself meanwhile."""

from appliance.daemon.sensor import run_sensor

__all__ = ["run_sensor"]
