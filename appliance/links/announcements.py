"""What the link says on behalf of the station: values -> JSON, with no network in sight."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

from appliance.events import Action, Verdict, iso, utc_now
from appliance.links.alarms import Alarm
from appliance.messages import (
    ActionMessage,
    AlarmMessage,
    CertificateInBrief,
    HeartbeatMessage,
    MetaMessage,
    StatusMessage,
)
from appliance.wire import as_json

NS_PER_MS = 1_000_000


@dataclass(frozen=True, slots=True)
class StationState:
    """How the station is right now: last_seq and outbox_depth count records; reason says why it stopped.

    clock_synchronised: None where the device cannot tell.
    """

    last_seq: int = 0
    outbox_depth: int = 0
    state: Literal["online", "stopped"] = "online"
    reason: str = ""
    clock_synchronised: bool | None = None


@dataclass(frozen=True, slots=True)
class StationDescription:
    """What judges here, as `meta` tells it: product in force, bundle and recipe with digests, certificate in brief."""

    software: str
    runtime: str = ""
    bundle: dict[str, Any] = field(default_factory=dict)
    recipe: dict[str, Any] = field(default_factory=dict)
    product: str = ""
    certificate: CertificateInBrief | None = None


@dataclass(frozen=True, slots=True)
class FreshAction:
    """An action as it is sent: expiry_s is the broker's limit in whole seconds, rounded up."""

    payload: bytes
    expiry_s: int


@dataclass(frozen=True, slots=True)
class Voice:
    """Writes this device's messages; boot_id names the process, so that a restart shows in every message."""

    device_id: str
    boot_id: str
    utc: Callable[[], datetime] = utc_now

    def action(self, action: Action, now_ns: int) -> FreshAction | None:
        """Write an action with the time that it has left; None if that is less than a millisecond.

        Args:
            action: only a verdict ACCEPT becomes "pass".
            now_ns: the monotonic clock.
        """
        valid_for_ms = (action.deadline_ns - now_ns) // NS_PER_MS
        if valid_for_ms < 1:
            return None
        now = self.utc()
        message = ActionMessage(
            device_id=self.device_id,
            boot_id=self.boot_id,
            seq=action.seq,
            inspection_id=action.inspection_id,
            trigger_id=action.trigger_id,
            part_id=action.part_id,
            action="pass" if action.verdict is Verdict.ACCEPT else "divert",
            verdict=action.verdict.value,
            reason=action.reason.value,
            sent_at=iso(now),
            valid_until=iso(now + timedelta(milliseconds=valid_for_ms)),
            valid_for_ms=valid_for_ms,
        )
        return FreshAction(as_json(message), math.ceil(valid_for_ms / 1000))

    def status(self, state: Literal["online", "stopped", "offline"], reason: str) -> bytes:
        """Write the retained status or, ahead of time, the last will."""
        message = StatusMessage(
            device_id=self.device_id, boot_id=self.boot_id, state=state, reason=reason, at=iso(self.utc())
        )
        return as_json(message)

    def heartbeat(self, station: StationState) -> bytes:
        """Write one sign of life."""
        message = HeartbeatMessage(
            device_id=self.device_id,
            boot_id=self.boot_id,
            at=iso(self.utc()),
            last_seq=station.last_seq,
            outbox_depth=station.outbox_depth,
            state=station.state,
            clock_synchronised=station.clock_synchronised,
        )
        return as_json(message)

    def meta(
        self, description: StationDescription, consumers: list[str], protocol: Literal["mqtt5", "mqtt311"]
    ) -> bytes:
        """Write what judges here, and what the broker can do."""
        message = MetaMessage(
            device_id=self.device_id,
            boot_id=self.boot_id,
            software=description.software,
            product=description.product,
            bundle=description.bundle,
            recipe=description.recipe,
            runtime=description.runtime,
            certificate=description.certificate,
            consumers=consumers,
            protocol=protocol,
            at=iso(self.utc()),
        )
        return as_json(message)

    def alarm(self, alarm: Alarm) -> bytes:
        """Write what a person should look at."""
        message = AlarmMessage(
            device_id=self.device_id,
            boot_id=self.boot_id,
            name=alarm.name,
            text=alarm.text,
            count=alarm.count,
            at=iso(alarm.at),
        )
        return as_json(message)
