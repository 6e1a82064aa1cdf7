"""Which state of the code made a file."""

import subprocess
from pathlib import Path


def current_commit() -> str:
    """Commit of this checkout, with `+` where files differ from it."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty=+"]
    asked = subprocess.run(command, capture_output=True, text=True, check=False)
    return asked.stdout.strip() or "unknown"
