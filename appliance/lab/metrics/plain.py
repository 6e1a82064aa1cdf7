"""Figures as JSON holds them."""

from typing import Any

import numpy as np

from appliance.lab.metrics.detection import Estimate


def plain(value: Any) -> Any:
    """JSON-able: numbers rounded to four places, what is not finite null, estimates as objects."""
    if isinstance(value, Estimate):
        return plain({"value": value.value, "low": value.low, "high": value.high})
    if isinstance(value, dict):
        return {key: plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    if isinstance(value, float | np.floating):
        return round(float(value), 4) + 0.0 if np.isfinite(value) else None
    return int(value) if isinstance(value, np.integer) else value
