"""What a validation error means to the person who wrote the file: the key, what was expected, what to do."""

import difflib
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from pydantic.errors import PydanticUserError
from pydantic_core import ErrorDetails

UNITS = {
    "us": "microseconds",
    "ms": "milliseconds",
    "s": "seconds",
    "h": "hours",
    "hz": "hertz",
    "px": "pixels",
    "mm": "millimetres",
    "um": "micrometres",
    "mb": "megabytes of 1,000,000 bytes",
    "bytes": "bytes",
    "db": "decibels",
    "ratio": "a ratio from 0 to 1",
    "percent": "percent",
}


@dataclass(frozen=True, slots=True)
class Mistake:
    """One mistake: at = keys from the model's top, text = what is wrong and what to do."""

    at: tuple[str | int, ...]
    text: str


def describe(error: ErrorDetails, model: type[BaseModel]) -> Mistake:
    """Put a validation error into words.

    Args:
        error: one entry of ValidationError.errors().
        model: the model that was validated against.

    Returns:
        The mistake, with a remedy in its text.
    """
    at = error["loc"]
    key = str(at[-1]) if at else ""
    kind = error["type"]
    if kind == "extra_forbidden":
        return Mistake(at, f"unknown key `{key}`; {_suggest(key, _known_keys(model, at[:-1]))}")
    if kind == "missing":
        unit = unit_of(key)
        return Mistake(at, f"the key `{key}` is missing; add it{f' (in {unit})' if unit else ''}")
    message = error["msg"].removeprefix("Value error, ").replace("Input should be ", "expected ")
    if kind == "value_error":
        return Mistake(at, message)
    return Mistake(at, f"{message}, got {_shown(error['input'])}; {_remedy(key, error['input'])}")


def unit_of(key: str) -> str | None:
    """Return the unit in a key's name in words (`deadline_ms` -> milliseconds), None if it has none."""
    return UNITS.get(key.rpartition("_")[2]) if "_" in key else None


def closest(word: str, known: list[str]) -> str | None:
    """Return the known word that was most likely meant; the same word with another unit comes first."""
    stem = _stem(word)
    for other in known:
        if _stem(other) == stem:
            return other
    found = difflib.get_close_matches(word.lower(), known, n=1, cutoff=0.6)
    return found[0] if found else None


def _stem(key: str) -> str:
    return key.rpartition("_")[0] if unit_of(key) else key


def _suggest(key: str, known: list[str]) -> str:
    meant = closest(key, known)
    if meant is None:
        return f"delete it (keys here: {', '.join(known) or 'none'})"
    unit = unit_of(meant)
    return f"did you mean `{meant}`{f' (in {unit})' if unit else ''}?"


def _remedy(key: str, value: Any) -> str:
    unit = unit_of(key)
    if unit and isinstance(value, str) and any(letter.isdigit() for letter in value):
        return f"write the bare number, in {unit}"
    return f"correct the value (it is in {unit})" if unit else "correct the value"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _known_keys(model: type[BaseModel], at: tuple[str | int, ...]) -> list[str]:
    try:
        schema = model.model_json_schema()
    except PydanticUserError:
        return []
    definitions = schema.get("$defs", {})
    nodes = [_resolved(schema, definitions)]
    for key in at:
        nodes = [
            _resolved(inner, definitions) for node in _alternatives(nodes, definitions) for inner in _inside(node, key)
        ]
    found = [name for node in _alternatives(nodes, definitions) for name in node.get("properties", {})]
    return list(dict.fromkeys(found))


def _resolved(node: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in node:
        node = definitions[node["$ref"].rpartition("/")[2]]
    return node


def _alternatives(nodes: list[dict[str, Any]], definitions: dict[str, Any]) -> list[dict[str, Any]]:
    found = []
    for node in nodes:
        options = node.get("anyOf") or node.get("oneOf")
        inner = [_resolved(option, definitions) for option in options] if options else []
        found += _alternatives(inner, definitions) if inner else [node]
    return found


def _inside(node: dict[str, Any], key: str | int) -> list[dict[str, Any]]:
    if key in node.get("properties", {}):
        return [node["properties"][key]]
    if isinstance(key, int):
        inner = [node.get("items")]
    else:
        inner = [node.get("additionalProperties"), *node.get("patternProperties", {}).values()]
    return [each for each in inner if isinstance(each, dict)]
