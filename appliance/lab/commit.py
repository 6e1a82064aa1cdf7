"""Which state of the code made a file."""

import os
import shutil
import subprocess
from pathlib import Path


def current_commit() -> str:
    """Commit of this checkout, with `+` where files differ from it; `$APPLIANCE_COMMIT` says it where there is no git."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty=+"]
    if said := os.environ.get("APPLIANCE_COMMIT"):
        return said
    if shutil.which("git") is None:
        return "unknown"
    asked = subprocess.run(command, capture_output=True, text=True, check=False)
    return asked.stdout.strip() or "unknown"
