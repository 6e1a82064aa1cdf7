"""Where the shipped arrays, models and example sites lie."""

from pathlib import Path

_PACKAGE_DIR = Path(__file__).resolve().parent
_IN_WHEEL = _PACKAGE_DIR / "firmware_configs"

FIRMWARE_DIR = _IN_WHEEL if _IN_WHEEL.is_dir() else _PACKAGE_DIR.parent / "firmware_configs"
"""In a wheel the folder travels inside the package; in a checkout it stands beside it."""
