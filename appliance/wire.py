"""What every message has in common, as JSON on its way."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Identifier = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[\x21-\x7e]+$")]
Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Utc = Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")]


class Message(BaseModel):
    """Base of every message; a reader ignores keys that it does not know, a writer sends no others."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


def as_json(message: BaseModel) -> bytes:
    """Write a message as the bytes that go out."""
    return message.model_dump_json(by_alias=True).encode()
