"""What a release must show on a device before it stays there, as whoever assigns it says it."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field, SerializerFunctionWrapHandler, ValidationError, model_serializer, model_validator

from appliance.bundle.gate_settings import Count
from appliance.bundle.gate_settings import Gates as DevicesGates
from appliance.errors import ConfigError


class Gates(DevicesGates):
    """The `gates` of an assignment, of which anything may be left out; what devices would refuse is refused here."""

    shadow_parts: Count = 500
    canary_parts: Count = 200
    watch_parts: Count = 2000
    watch_h: Annotated[float, Field(ge=0, le=8760)] = 24

    @model_validator(mode="after")
    def _can_be_judged_by(self) -> Gates:
        try:
            self.settings()
        except ConfigError as error:
            raise ValueError(str(error).removeprefix("gates: ")) from error
        return self

    @model_serializer(mode="wrap")
    def _what_is_said(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {key: value for key, value in write(self).items() if value is not None}


class LabGates(Gates):
    """Of devices that judge no real parts."""

    watch_h: Annotated[float, Field(ge=0, le=8760)] = 1


def read_gates(words: Sequence[str], said: Mapping[str, float | None]) -> Gates:
    """Read the gates of a command line.

    Args:
        words: of `--gate`, each KEY=VALUE.
        said: what options of their own say, None where they were not given.

    Raises:
        ConfigError: A key is unknown or comes twice, or its value is out of its range; says which and what there is.
    """
    found: dict[str, float] = {key: value for key, value in said.items() if value is not None}
    for word in words:
        key, is_given, text = (part.strip() for part in word.partition("="))
        if not is_given:
            raise ConfigError(f"--gate {word}: write KEY=VALUE, such as challenge_parts=3")
        if key not in Gates.model_fields:
            near = difflib.get_close_matches(key, Gates.model_fields, n=1)
            meant = f"did you mean {near[0]}?" if near else f"there are {', '.join(Gates.model_fields)}"
            raise ConfigError(f"--gate {word}: gates have no {key!r}; {meant}")
        if key in found:
            raise ConfigError(f"--gate {word}: {key} is given twice; give it once")
        found[key] = _number(text, word)
    try:
        return Gates.model_validate(found)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, each['loc']))} {_told(each['msg'])}".strip() for each in error.errors())
        raise ConfigError(f"the gates cannot be so: {wrong}") from error


def _number(text: str, word: str) -> float:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    raise ConfigError(f"--gate {word}: {text!r} is no number; write one, such as 0.05 or 3")


def _told(message: str) -> str:
    if message.startswith("Value error, "):
        return message.removeprefix("Value error, ")
    return message.replace("Input should be", "should be")
