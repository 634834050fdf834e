"""What the commands that have a schema of their own ask for; published as JSON Schema under docs/schemas/."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from appliance.errors import ConfigError
from appliance.events import ReleaseKind
from appliance.wire import Hash

MOST_CHARACTERS = 128
"""Of the name of whoever asks for something."""

Who = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MOST_CHARACTERS)]
FileName = Annotated[str, Field(min_length=1, max_length=4096, pattern=r"^[^\x00]+$")]
ProductName = Annotated[str, Field(min_length=1, max_length=MOST_CHARACTERS)]


class Request(BaseModel):
    """Base of every command's arguments; keys that are not known here are passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


class ReleaseRequest(Request):
    """release: put another release of a product's bundle or of its recipe in force; sha256 is the file's.

    rollback: the release may be older than the one in force, if it has run here before. keeps_former: the former one
    stays in memory, so that going back has nothing to load, until a release without this key says that it is final.
    """

    product: ProductName
    bundle: FileName | None = None
    recipe: FileName | None = None
    sha256: Hash
    by: Who
    rollback: bool = False
    keeps_former: bool = False

    @property
    def release(self) -> tuple[ReleaseKind, str]:
        """What is released, and its file."""
        return _one_of(self.bundle, self.recipe)

    @model_validator(mode="after")
    def _names_one(self) -> "ReleaseRequest":
        if (self.bundle is None) == (self.recipe is None):
            raise ValueError("a release is of a `bundle` or of a `recipe`; name one of them")
        return self


class ShadowRequest(Request):
    """shadow: let a candidate judge the same parts beside the line; with stop: no more."""

    product: ProductName
    by: Who
    stop: bool = False
    bundle: FileName | None = None
    recipe: FileName | None = None
    sha256: Hash | None = None

    @property
    def release(self) -> tuple[ReleaseKind, str]:
        """What is tried, and its file."""
        return _one_of(self.bundle, self.recipe)

    @model_validator(mode="after")
    def _names_a_candidate_or_stops(self) -> "ShadowRequest":
        if not self.stop and ((self.bundle is None) == (self.recipe is None) or self.sha256 is None):
            raise ValueError(
                "a shadow needs `bundle` or `recipe`, and `sha256`, the candidate's; or `stop`: true to end it"
            )
        return self


def _one_of(bundle: str | None, recipe: str | None) -> tuple[ReleaseKind, str]:
    return ("bundle", bundle) if bundle is not None else ("recipe", recipe or "")


class UpdateEventRequest(Request):
    """update-event: write a step of an update into the ledger."""

    kind: Literal["model", "recipe", "app", "os"]
    name: Annotated[str, Field(min_length=1, max_length=MOST_CHARACTERS)]
    seq: Annotated[int, Field(ge=0, le=2**53 - 1)]
    sha256: Hash
    state: Annotated[str, Field(pattern=r"^[A-Z][A-Z_]{1,31}$")]
    reason: Annotated[str, Field(max_length=2000)] = ""
    by: Who


class HoldRequest(Request):
    """update-hold: let nothing new begin to judge."""

    by: Who


class ReleaseHoldRequest(HoldRequest):
    """update-release-hold: let updates go on."""


class RollbackRequest(Request):
    """update-rollback: go back to the release before, or give up the one under way; name: where there are several."""

    by: Who
    kind: Literal["model", "recipe"] = "model"
    name: Annotated[str, Field(min_length=1, max_length=MOST_CHARACTERS)] | None = None


REQUESTS: dict[str, type[Request]] = {
    "release": ReleaseRequest,
    "shadow": ShadowRequest,
    "update-event": UpdateEventRequest,
    "update-rollback": RollbackRequest,
    "update-hold": HoldRequest,
    "update-release-hold": ReleaseHoldRequest,
}
"""Command -> its arguments."""

RequestT = TypeVar("RequestT", bound=Request)


def read(model: type[RequestT], arguments: Mapping[str, Any]) -> RequestT:
    """Read a command's arguments.

    Args:
        model: one of REQUESTS.
        arguments: as they came.

    Raises:
        ConfigError: something is missing or wrong; all of it in words.
    """
    try:
        return model.model_validate(dict(arguments))
    except ValidationError as error:
        from appliance.documents.mistakes import describe  # not while an agent waits: it brings the reader of YAML

        mistakes = [describe(each, model) for each in error.errors(include_url=False)]
        command = next(name for name, each in REQUESTS.items() if each is model)
        told = "; ".join(f"`{'.'.join(map(str, each.at))}`: {each.text}" if each.at else each.text for each in mistakes)
        raise ConfigError(f"{command}: {told}") from error
