"""Turn a pydantic validation error into the one line a technician can act on."""

import difflib
import json
from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel, ValidationError


def one_line(error: ValidationError, model: type[BaseModel]) -> str:
    """The first fault of `error` as `[table] key: what is wrong`, with the likely key where one was misspelt."""
    faults = error.errors(include_url=False)
    # A misspelt required key is both unknown and missing; the spelling is the remedy.
    fault = next((fault for fault in faults if fault["type"] == "extra_forbidden"), faults[0])
    path = [str(part) for part in fault["loc"]]
    *tables, key = path or ["(file)"]
    where = f"[{'.'.join(tables)}] {key}" if tables else key
    if fault["type"] == "extra_forbidden":
        near = difflib.get_close_matches(key, list(_known_keys(model, tables)), n=1, cutoff=0.5)
        hint = f'; did you mean "{near[0]}"?' if near else "; remove it"
        return f"{where}: unknown key{hint}"
    if fault["type"] == "missing":
        return f"{where}: missing; add it"
    if fault["type"] in ("model_type", "dict_type"):
        table = ".".join(part for part in path if not part.isdigit())
        return f"{where}: must be a table; write {f'[[{table}]]' if key.isdigit() else f'[{table}]'}"
    if fault["type"] in ("tuple_type", "list_type"):
        example = f", such as {json.dumps([fault['input']])}" if isinstance(fault["input"], str) else ""
        return f"{where}: must be a list{example} (got {fault['input']!r:.60})"
    # Our own validators name the keys of a table and the remedy themselves.
    what = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "value_error" and isinstance(fault["input"], dict):
        return f"[{'.'.join(path)}]: {what}" if path else what
    return f"{where}: {what[0].lower()}{what[1:]} (got {fault['input']!r:.60})"


def _known_keys(model: type[BaseModel], tables: list[str]) -> Iterator[str]:
    """Keys the table at `tables` knows; list indices and keys of free-form tables are passed through."""
    current: type[BaseModel] = model
    for table in tables:
        if table.isdigit() or not issubclass(current, BaseModel):
            continue
        for name, info in current.model_fields.items():
            if table in (name, info.alias):
                current = _inner_model(info.annotation) or current
    for name, info in current.model_fields.items():
        yield info.alias or name


def _inner_model(annotation: Any) -> type[BaseModel] | None:
    """The first pydantic model inside an annotation such as `dict[str, X]`, `tuple[X, ...]` or `X | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((model for inner in get_args(annotation) if (model := _inner_model(inner))), None)
