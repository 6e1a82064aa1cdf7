"""A TOML file as a document, whichever of Python's two readers is there."""

import sys
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def read_toml(path: Path) -> dict[str, Any]:
    """Raises `OSError` where it cannot be read, `ValueError` where it is no TOML in UTF-8."""
    # Editors on Windows begin a file with a byte order mark.
    document: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    return document
