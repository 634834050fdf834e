"""Commands, their answers, and how the updates are: what `appliance agent run` speaks while it waits, and no more."""

from typing import Annotated, Any, Literal

from pydantic import Field

from appliance.wire import Hash, Identifier, Message, Utc, as_json


class CommandMessage(Message):
    """command/<name> (in): what to do, and where to answer.

    response_topic and correlation are for brokers that speak MQTT 3.1.1 only; MQTT 5's own properties go first.
    """

    schema_: Literal["vi.command/1"] = Field(default="vi.command/1", alias="schema")
    arguments: dict[str, Any] = Field(default_factory=dict)
    response_topic: Annotated[str, Field(min_length=1, max_length=512)] | None = None
    correlation: Annotated[str, Field(max_length=128)] | None = None


class ReleaseUpdate(Message):
    """The newest update of one kind and name: how far it is, why, and what it waits for (in words).

    by: who asked for it, if a person did. p99_ms: of one part in the new model, null before it was measured.
    progress_percent, left_s: how far BUILD or PROVE is, and about how many seconds it still takes; null where nobody
    knows.
    """

    kind: Literal["model", "recipe", "app", "os"]
    name: str
    seq: int
    sha256: Hash
    assignment_seq: int
    rollout: str
    state: str
    outcome: Literal["running", "success", "failed", "rolled_back", "quarantined"]
    reason: str
    by: str
    waits_for: str
    parts: int
    p99_ms: float | None
    progress_percent: Annotated[int, Field(ge=0, le=100)] | None = None
    left_s: Annotated[int, Field(ge=0)] | None = None


class UpdateStatusMessage(Message):
    """update (out, retained; also the agent's last will): how the updates of this device are.

    state: offline, without releases, when the agent is gone. problem: why nothing newer is known, in words.
    held_by: who holds updates; empty if nobody does.
    """

    schema_: Literal["vi.update-status/1"] = Field(default="vi.update-status/1", alias="schema")
    device_id: Identifier
    boot_id: Identifier
    state: Literal["online", "offline"]
    reason: str
    problem: str = ""
    held_by: str = ""
    assignment_seq: int = 0
    rollout: str = ""
    releases: tuple[ReleaseUpdate, ...] = ()
    at: Utc


class CommandReply(Message):
    """The answer to command/<name>, on the request's response topic with its correlation data."""

    schema_: Literal["vi.reply/1"] = Field(default="vi.reply/1", alias="schema")
    device_id: Identifier
    command: str
    ok: bool
    error: str | None = None
    correlation: str | None = None
    result: dict[str, Any] = Field(default_factory=dict)


def reply(device_id: str, command: str, answer: dict[str, Any], correlation: str | None) -> bytes:
    """Write the answer to a command: `ok` and `error` are its head, everything else its result."""
    message = CommandReply(
        device_id=device_id,
        command=command,
        ok=bool(answer.get("ok")),
        error=answer.get("error"),
        correlation=correlation,
        result={key: value for key, value in answer.items() if key not in ("ok", "error")},
    )
    return as_json(message)
