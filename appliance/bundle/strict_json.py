"""JSON as a device may trust it: bounded, flat enough, each key once, finite numbers, and of a known schema."""

import json
import re
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from appliance.errors import BundleFormatError

MAX_DEPTH = 16
"""Brackets inside brackets."""

_ESCAPE = re.compile(rb"\\.", re.DOTALL)
_STRING = re.compile(rb'"[^"]*"?')
"""With the escapes taken out first; a match never fails, so that no byte is looked at twice."""
_BRACKET = re.compile(rb"[\[\]{}]")
_SCHEMA = re.compile(r"(?P<kind>[a-z.]+)/(?P<version>\d{1,6})")

Model = TypeVar("Model", bound=BaseModel)


class _JsonError(ValueError):
    """Something that json.loads would have let through."""


def parse(
    data: bytes, model: type[Model], *, schema: str | tuple[str, ...], origin: str, max_bytes: int,
    remedy: str = "export the bundle again",
) -> Model:  # fmt: skip
    """Read a JSON file into a strict pydantic model.

    Args:
        data: the file, UTF-8.
        model: what it must be; its field `schema` holds the format's name.
        schema: the format that this version reads, such as "vi.bundle/1"; of several the newest last.
        origin: names the file in messages.
        max_bytes: a bigger file is refused unread.
        remedy: what a person does about a file that is not as it must be.

    Returns:
        The validated model.

    Raises:
        BundleFormatError: too big, not JSON, of a newer or other schema, or not what the model says.
    """
    if len(data) > max_bytes:
        raise BundleFormatError(f"{origin} has {len(data)} bytes and may have {max_bytes}; {remedy}")
    try:
        if (depth := depth_of(data)) > MAX_DEPTH:
            raise _JsonError(f"{depth} brackets deep, at most {MAX_DEPTH} are allowed")
        document = json.loads(data.decode("utf-8"), object_pairs_hook=_object, parse_constant=_refuse_constant)
    except ValueError as error:
        raise BundleFormatError(f"{origin} is not strict JSON: {error}; {remedy}") from error
    _check_schema(document, (schema,) if isinstance(schema, str) else schema, origin, remedy)
    try:
        return model.model_validate_json(data)
    except ValidationError as error:
        raise BundleFormatError(f"{origin} is not valid: {in_words(error)}; {remedy}") from error


def dump(model: BaseModel) -> bytes:
    """Write a model as JSON whose bytes depend on its contents only.

    Args:
        model: a model that `parse` can read.

    Returns:
        UTF-8, indented, keys sorted, no NaN.
    """
    text = json.dumps(
        model.model_dump(mode="json", by_alias=True), indent=1, sort_keys=True, allow_nan=False, ensure_ascii=True
    )
    return text.encode("ascii") + b"\n"


def depth_of(data: bytes) -> int:
    """Return how many brackets deep a text of JSON is, without reading it."""
    deepest = depth = 0
    for match in _BRACKET.finditer(_STRING.sub(b"", _ESCAPE.sub(b"", data))):
        depth += 1 if match[0] in b"[{" else -1
        deepest = max(deepest, depth)
    return deepest


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    document: dict[str, object] = {}
    for key, value in pairs:
        if key in document:
            raise _JsonError(f"the key {key!r} comes twice")
        document[key] = value
    return document


def _refuse_constant(name: str) -> float:
    raise _JsonError(f"{name} is no number")


def _check_schema(document: object, schemas: tuple[str, ...], origin: str, remedy: str) -> None:
    found = document.get("schema") if isinstance(document, dict) else None
    if found in schemas:
        return
    schema = schemas[-1]
    kind, _, version = schema.partition("/")
    match = _SCHEMA.fullmatch(found) if isinstance(found, str) else None
    if match and match["kind"] == kind and int(match["version"]) > int(version):
        raise BundleFormatError(
            f"{origin} is of format {found} and this software reads {schema}; update the software, or {remedy} for "
            "this version"
        )
    raise BundleFormatError(f"{origin} does not say schema {schema!r} (it says {str(found)[:80]!r}); {remedy}")


def in_words(error: ValidationError, most: int = 3) -> str:
    """Say what is wrong with a model: the first `most` errors as field: message."""
    details = error.errors(include_url=False, include_context=False, include_input=False)
    words = [f"{'.'.join(map(str, item['loc'])) or 'file'}: {item['msg']}" for item in details[:most]]
    if len(details) > most:
        words.append(f"and {len(details) - most} more")
    return "; ".join(words)
