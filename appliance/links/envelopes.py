"""What goes to the broker and comes from it, in the project's own words: no client library in here."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

NO_MATCHING_SUBSCRIBERS = 0x10
REFUSED = 0x80
"""Reason codes from here on mean that the broker did not take the message."""


@dataclass(frozen=True, slots=True)
class Incoming:
    """A message from the broker; mid is for acknowledge(), received_ns on the monotonic clock.

    is_retained: the broker kept it from before, or (MQTT 5) its sender asked that it be kept.
    """

    topic: str
    payload: bytes
    qos: int
    mid: int
    is_retained: bool
    is_duplicate: bool
    received_ns: int
    response_topic: str | None = None
    correlation: bytes | None = None


@dataclass(frozen=True, slots=True)
class Answered:
    """The broker's answer to a QoS 1 message: token is the publisher's own, code the MQTT 5 reason code."""

    token: object
    code: int
    words: str

    @property
    def is_refused(self) -> bool:
        """The broker did not take the message."""
        return self.code >= REFUSED

    @property
    def is_unheard(self) -> bool:
        """The broker took it and had nobody to hand it on to (MQTT 5 only)."""
        return self.code == NO_MATCHING_SUBSCRIBERS


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message for the broker.

    expiry_s: the broker drops it after so many seconds (MQTT 5 only). leave_by_ns: monotonic; when it cannot be
    handed to the network by then, it is never sent. token: comes back in Answered (QoS 1).
    """

    topic: str
    payload: bytes
    qos: Literal[0, 1] = 1
    is_retained: bool = False
    expiry_s: int | None = None
    leave_by_ns: int | None = None
    token: object = None
    response_topic: str | None = None
    correlation: bytes | None = None
    user_properties: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Subscription:
    """What to hear; QoS 1 always.

    with_retained: what the broker kept from before, too. is_optional: one that the broker refuses is done without.
    """

    topic: str
    with_retained: bool = False
    is_optional: bool = False


@dataclass(frozen=True, slots=True)
class Introduction:
    """Who connects: client id, last will (retained, QoS 1) and subscriptions."""

    client_id: str
    subscriptions: Sequence[Subscription]
    will: Outgoing | None = None
