"""What a later minor version of a schema may do: add. Nothing else."""

import copy
from collections.abc import Iterator
from typing import Any

Schema = dict[str, Any]

# What narrows or widens a value. Titles and descriptions may be bettered at any time.
_CONSTRAINTS = (
    "type", "const", "enum", "pattern", "format", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum",
    "minLength", "maxLength", "$ref", "additionalProperties", "dependentRequired", "anyOf", "oneOf", "allOf", "if",
)  # fmt: skip


def breaks(frozen: Schema, current: Schema, *, received: bool, where: str = "") -> Iterator[str]:
    """What of `current` breaks who relies on `frozen`. `received`: the unit reads such messages, rather than sends them.

    Of what the unit sends, no field may go, change its type or its values, or become optional. Of what it reads, no
    field may go or change, and no new one may be required.
    """
    for key in _CONSTRAINTS:
        if key == "additionalProperties" and isinstance(frozen.get(key), dict):
            continue
        if frozen.get(key) != current.get(key):
            yield f"{where or '(message)'}: {key} was {frozen.get(key)!r} and is {current.get(key)!r}"
    before, after = set(frozen.get("required", [])), set(current.get("required", []))
    for name in sorted(after - before if received else before - after):
        yield f"{where}/{name}: {'is required now' if received else 'is not required any more'}"
    for branch in ("properties", "$defs"):
        for name, schema in frozen.get(branch, {}).items():
            here = f"{where}/{name}"
            if name not in current.get(branch, {}):
                yield f"{here}: is gone"
            else:
                yield from breaks(schema, current[branch][name], received=received, where=here)
    for inner in ("items", "additionalProperties"):
        if isinstance(frozen.get(inner), dict):
            yield from breaks(frozen[inner], current.get(inner) or {}, received=received, where=f"{where}[]")


def fields(schema: Schema, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Where each field lies, as the keys that lead to it."""
    for branch in ("properties", "$defs"):
        for name, inner in schema.get(branch, {}).items():
            here = (*path, branch, name)
            yield here
            yield from fields(inner, here)
    for inner in ("items", "additionalProperties"):
        if isinstance(schema.get(inner), dict):
            yield from fields(schema[inner], (*path, inner))


def differences(value: Any, schema: Schema, where: str = "") -> Iterator[str]:
    """Keys that a message has and its schema does not name, and those that it names and the message has not."""
    if not isinstance(value, dict) or "object" not in schema.get("type", ()):
        return
    named, others = schema.get("properties", {}), schema.get("additionalProperties")
    yield from (f"{where}/{key}" for key in named.keys() - value.keys())
    for key, inner in value.items():
        if key in named or isinstance(others, dict):
            yield from differences(inner, named.get(key, others), f"{where}/{key}")
        else:
            yield f"{where}/{key}"


def without(schema: Schema, path: tuple[str, ...]) -> Schema:
    """The schema after the field was removed."""
    changed, parent = _parent(schema, path)
    del parent[path[-1]]
    return changed


def retyped(schema: Schema, path: tuple[str, ...]) -> Schema:
    """The schema after the field became something else."""
    changed, parent = _parent(schema, path)
    parent[path[-1]] = {"type": "boolean" if parent[path[-1]].get("type") != "boolean" else "string"}
    return changed


def _parent(schema: Schema, path: tuple[str, ...]) -> tuple[Schema, Schema]:
    changed = copy.deepcopy(schema)
    parent = changed
    for key in path[:-1]:
        parent = parent[key]
    return changed, parent
