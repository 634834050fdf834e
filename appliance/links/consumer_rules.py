"""The consumer's rules: when a line may let a part through. Pure, and the model for the PLC's code.

A part passes on a fresh, first, matching ACCEPT from the station that is up now. Whatever else comes, and also if
nothing comes before the deadline, the part is diverted.
"""

from collections.abc import Container
from dataclasses import dataclass
from datetime import datetime, timedelta

from pydantic import ValidationError

from appliance.events import Challenge, moment_of
from appliance.messages import ActionMessage

NS_PER_MS = 1_000_000


@dataclass(frozen=True, slots=True)
class Expectation:
    """A part that was announced; until_ns is the line's own deadline on its own monotonic clock.

    challenge: that the part is a known one; no rule asks for it.
    """

    trigger_id: str
    part_id: str
    until_ns: int
    challenge: Challenge | None = None


@dataclass(frozen=True, slots=True)
class StationSeen:
    """What the retained status said last; boot_id and state are None while nothing was heard."""

    device_id: str
    boot_id: str | None = None
    state: str | None = None


@dataclass(frozen=True, slots=True)
class ReceivedAction:
    """A message on `action` as it came; received_ns on the consumer's monotonic clock."""

    payload: bytes
    is_retained: bool
    received_ns: int


@dataclass(frozen=True, slots=True)
class Ruling:
    """What the line does: let the part pass or not.

    settles: the message is the station's answer for this part, so waiting is over; a message that is none (retained,
    foreign, a duplicate) is no answer at all, and the part is diverted only when its deadline has come.
    """

    passes: bool
    settles: bool
    reason: str
    action: ActionMessage | None = None


def decide(
    received: ReceivedAction,
    expectation: Expectation,
    station: StationSeen,
    acted_on: Container[tuple[str, int]],
    now_ns: int,
    now: datetime,
    clock_tolerance_ms: int = 0,
) -> Ruling:
    """Decide about one part on one message.

    Args:
        received: the message.
        expectation: the part that the line waits for.
        station: who may speak: the device, and the boot_id of its retained status.
        acted_on: (device_id, seq) of the actions that were answers before.
        now_ns: the consumer's monotonic clock.
        now: the consumer's wall clock, UTC.
        clock_tolerance_ms: by how much the consumer's wall clock may be ahead of the station's.

    Returns:
        passes is True only for a fresh, first, matching ACCEPT.
    """
    try:
        action = ActionMessage.model_validate_json(received.payload, strict=True)
        sent_at, valid_until = moment_of(action.sent_at), moment_of(action.valid_until)
    except (ValidationError, ValueError):
        return Ruling(False, False, "unreadable")
    is_consistent = (valid_until - sent_at) / timedelta(milliseconds=1) == action.valid_for_ms > 0
    is_expired = (
        now_ns > received.received_ns + action.valid_for_ms * NS_PER_MS
        or now_ns > expectation.until_ns
        or now > valid_until + timedelta(milliseconds=clock_tolerance_ms)
    )
    no_answer = (
        (received.is_retained, "retained"),
        (action.device_id != station.device_id, "another device"),
        (station.state != "online" or station.boot_id is None, f"the station is {station.state or 'unknown'}"),
        (action.boot_id != station.boot_id, "from before the station's restart"),
        (action.trigger_id != expectation.trigger_id, "another trigger"),
        ((action.device_id, action.seq) in acted_on, "duplicate"),
    )
    no_pass = (
        (action.part_id != expectation.part_id, "another part"),
        ((action.action == "pass") != (action.verdict == "ACCEPT"), "contradictory"),
        (action.action != "pass", f"{action.verdict}: {action.reason}"),
        (not is_consistent, "contradictory"),
        (is_expired, "expired"),
    )
    for rules, settles in ((no_answer, False), (no_pass, True)):
        for applies, reason in rules:
            if applies:
                return Ruling(False, settles, reason, action)
    return Ruling(True, True, "accepted", action)
