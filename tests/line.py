"""A whole station for tests: real ledger, real stages, and a camera, an inspection, a link and a disk on a script."""

import sqlite3
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from appliance.changeover import Products
from appliance.errors import CameraError, StorageError
from appliance.events import (
    Action,
    Challenge,
    Changeover,
    Decision,
    Frame,
    Inspection,
    Reason,
    Record,
    Trigger,
    Verdict,
    Versions,
    ViewResult,
    utc_now,
)
from appliance.health import StageWatchdog
from appliance.parts import Product
from appliance.ports import LineEvents, TriggerRequest
from appliance.stages.deliver import Delivery
from appliance.stages.record import Recorder
from appliance.station import Station, StationSettings
from appliance.stores.ledger import SqliteLedger
from appliance.verdicts import Verdicts

WAIT_S = 30.0
VERSIONS = Versions("0", "tiny", 1, "0" * 64, "recipe", 1, "1" * 64, "2" * 64, "scripted", "recipe", "3" * 64)


class SystemClock:
    """The real clocks, with a wall clock that a test may set back, and let go; and a time that it may skip."""

    def __init__(self) -> None:
        self.set_back_s = 0.0
        self.skipped_s = 0.0
        self.synchronised: bool | None = True

    def monotonic_ns(self) -> int:
        return time.monotonic_ns() + int(self.skipped_s * 1e9)

    def utc(self) -> datetime:
        return datetime.fromtimestamp(utc_now().timestamp() + self.skipped_s - self.set_back_s, utc_now().tzinfo)

    def is_synchronised(self) -> bool | None:
        return self.synchronised


class ScriptedCamera:
    """Shows a grey picture per trigger; parts named in `lost` find it gone, `gate` holds every picture back."""

    def __init__(self, view: str = "top", lost: Callable[[str], bool] = lambda _: False) -> None:
        self.view = view
        self.lost = lost
        self.gate = threading.Event()
        self.gate.set()
        self.opened = 0
        self.frame_id = 0
        self.repeat_frame_id = False
        self.delay_ns = 0

    def open(self) -> None:
        self.opened += 1

    def capture(self, trigger: Trigger, timeout_s: float) -> Frame:
        if not self.gate.wait(timeout_s) or self.lost(trigger.part_id):
            raise CameraError(f"view {self.view}: the camera is gone; check its cable")
        self.frame_id += 0 if self.repeat_frame_id else 1
        pixels = np.full((64, 64, 1), 128, np.uint8)
        return Frame(
            self.view, self.frame_id, pixels, utc_now(), trigger.received_ns + self.delay_ns, source=trigger.part_id
        )

    def close(self) -> None: ...


@dataclass
class ScriptedInspection:
    """Rejects parts whose id holds "bad"; `gate` holds every decision back."""

    gate: threading.Event = field(default_factory=threading.Event)
    inspected: list[str] = field(default_factory=list)
    failure: Exception | None = None

    def __post_init__(self) -> None:
        self.gate.set()

    def __call__(
        self, frames: Mapping[str, Frame], stage_us: dict[str, int]
    ) -> tuple[Decision, tuple[ViewResult, ...]]:
        part_id = next(iter(frames.values())).source
        self.inspected.append(part_id)
        assert self.gate.wait(WAIT_S)
        if self.failure is not None:
            raise self.failure
        stage_us["infer"] = 1
        views = tuple(ViewResult(view, frame, None, ()) for view, frame in frames.items())
        if "bad" in part_id:
            return Decision(Verdict.REJECT, Reason.DEFECT, "spot", "spot", 0.9, 0.5), views
        return Decision(Verdict.ACCEPT, Reason.COMPLETE), views


class RecordingLink:
    """A link that is always up and keeps what it is given, with the ledger's state at that moment."""

    def __init__(self, committed: Callable[[str], bool]) -> None:
        self.actions: list[Action] = []
        self.records: list[Record] = []
        self.was_committed: list[bool] = []
        self._committed = committed

    def open(self, events: LineEvents) -> None: ...

    def send_action(self, action: Action) -> bool:
        self.was_committed.append(self._committed(action.trigger_id))
        self.actions.append(action)
        return True

    def send_record(self, record: Record, attempt: int) -> bool:
        self.records.append(record)
        return True

    def close(self) -> None: ...


class RefusingLedger(SqliteLedger):
    """The real ledger on a disk that can be declared full, for accepting and for recording."""

    refuses_accept = False
    refuses_record = False
    refuses_changeover = False
    before_changeover: Callable[[], object] = staticmethod(lambda: None)
    is_recording = False
    accepts: threading.Event | None = None
    commits: threading.Event | None = None

    def accept(self, trigger: Trigger) -> bool:
        if self.accepts is not None:
            assert self.accepts.wait(WAIT_S)
        if self.refuses_accept:
            raise StorageError("the disk is full; free some space")
        return super().accept(trigger)

    def record(self, inspection: Inspection) -> Record:
        self.is_recording = True
        if self.refuses_record:
            raise StorageError("the disk is full; free some space")
        if self.commits is not None:
            assert self.commits.wait(WAIT_S)
        return super().record(inspection)

    def note_changeover(self, changeover: Changeover) -> int:
        self.before_changeover()
        if self.refuses_changeover:
            raise StorageError("the disk is full; free some space")
        return super().note_changeover(changeover)

    def note_late(self, inspection: Inspection) -> None:
        if self.refuses_record:
            raise StorageError("the disk is full; free some space")
        super().note_late(inspection)

    def probe(self) -> None:
        if self.refuses_accept:
            raise StorageError("the disk is full; free some space")
        super().probe()


class NoImages:
    """Keeps no picture."""

    def plan(self, inspection_id: str, verdict: str, views: Sequence[str], moment: datetime) -> dict[str, str]:
        return {}

    def keep(self, frames: Sequence[Frame], names: dict[str, str]) -> None: ...


class Line:
    """A running station with everything around it."""

    def __init__(
        self,
        folder: Path,
        *,
        views: Sequence[str] = ("top",),
        boot_id: str = "boot-1",
        products: Sequence[str] = ("recipe",),
        unavailable: Mapping[str, str] | None = None,
        **settings: int,
    ) -> None:
        self.folder = folder
        self.clock = SystemClock()
        self.cameras = {view: ScriptedCamera(view) for view in views}
        self.camera = next(iter(self.cameras.values()))
        instances = settings.pop("instances", 1)
        deadline_ms, answer_reserve_ms = settings.pop("deadline_ms", 5000), settings.pop("answer_reserve_ms", 10)
        self.inspections = {name: ScriptedInspection() for name in products}
        self.inspection = self.inspections[products[0]]
        ledger = RefusingLedger.open(folder / "ledger.db", "device-1", boot_id)
        assert isinstance(ledger, RefusingLedger)
        self.ledger = ledger
        self.link = RecordingLink(lambda trigger_id: self.ledger.find(trigger_id) is not None)
        self.watchdog = StageWatchdog(self.clock, on_hang=lambda stage: None)
        self.delivery = Delivery([self.link], self.ledger, self.clock, self.watchdog, resend_after_s=60)
        self.records: list[tuple[Inspection, Record]] = []
        self._recorded = threading.Condition()
        last = self.ledger.last_changeover()
        self.products = Products(
            {
                name: Product(
                    (inspection,) * instances, replace(VERSIONS, product=name), deadline_ms, answer_reserve_ms
                )
                for name, inspection in self.inspections.items()
            },
            unavailable or {},
            last.to_product if last else products[0],
            self.ledger,
            self.clock,
        )
        self.station = Station(
            cameras=self.cameras,
            products=self.products,
            ledger=self.ledger,
            verdicts=Verdicts(
                Recorder(self.ledger, NoImages(), self.clock),
                self.delivery,
                self.clock,
                note_late=self.ledger.note_late,
                probe=self.ledger.probe,
                on_record=self._note,
            ),
            delivery=self.delivery,
            clock=self.clock,
            watchdog=self.watchdog,
            settings=StationSettings(**{"max_capture_delay_ms": 1000, "queue_size": 100, **settings}),
        )

    def _note(self, inspection: Inspection, record: Record, record_us: int) -> None:
        with self._recorded:
            self.records.append((inspection, record))
            self._recorded.notify_all()

    def trigger(
        self,
        part_id: str,
        trigger_id: str | None = None,
        *,
        is_repeat: bool = False,
        received_ns: int | None = None,
        challenge: Challenge | None = None,
    ) -> None:
        request = TriggerRequest(trigger_id or f"t-{part_id}", part_id, is_repeat, received_ns, challenge)
        self.station.on_trigger(request)

    def change_over(self, product: object, by: object = "A. Person") -> dict[str, Any]:
        return self.station.on_command("changeover", {"product": product, "by": by})

    def wait_for(self, count: int) -> list[tuple[Inspection, Record]]:
        """Wait until so many verdicts are on record."""
        with self._recorded:
            assert self._recorded.wait_for(lambda: len(self.records) >= count, WAIT_S), (
                f"{len(self.records)} of {count}"
            )
            return list(self.records)

    def late_results(self) -> list[tuple[str, str]]:
        """Return trigger id and verdict of what is kept as a late result."""
        connection = sqlite3.connect(f"file:{self.folder / 'ledger.db'}?mode=ro", uri=True)
        try:
            return connection.execute("SELECT trigger_id, verdict FROM late_result ORDER BY trigger_id").fetchall()
        finally:
            connection.close()

    def verdicts(self) -> dict[str, tuple[Verdict, Reason]]:
        return {item.trigger.part_id: (item.decision.verdict, item.decision.reason) for item, _ in self.records}

    def __enter__(self) -> "Line":
        self.station.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self.camera.gate.set()
        for inspection in self.inspections.values():
            inspection.gate.set()
        self.station.stop()
        self.ledger.close()


def eventually(condition: Callable[[], bool]) -> bool:
    """Wait until a condition holds that other threads bring about; False after WAIT_S."""
    until = time.monotonic() + WAIT_S
    pause = threading.Event()
    while time.monotonic() < until:
        if condition():
            return True
        pause.wait(0.005)
    return condition()
