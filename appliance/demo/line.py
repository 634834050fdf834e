"""The line around the demo's station: announces parts, obeys the answers, takes every record, knows the truth."""

import threading
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, TypeVar

from appliance.demo.station import CONSUMER, DEVICE_ID, PLACE, Scene
from appliance.errors import DeliveryError
from appliance.events import Verdict, moment_of, utc_now
from appliance.links.awaited_parts import Outcome as LineOutcome
from appliance.links.consumer import LineConsumer
from appliance.links.record_chain import ReceivedRecord
from appliance.links.settings import MqttSettings
from appliance.report import Outcome, Report
from appliance.simulator.conveyor import PartTrigger

Value = TypeVar("Value")

POLL_S = 0.2
STATUS_TIMEOUT_S = 5.0
REMEMBERED_ROWS = 50
REMEMBERED_ENDS = 1000
"""What the line did comes before or after the record that makes the row, and rarely more than a few parts apart."""


@dataclass(frozen=True, slots=True)
class Row:
    """One part on the screen."""

    seq: int
    part_id: str
    verdict: str
    why: str
    is_defective: bool | None
    line_does: str = ""
    round_trip_ms: float | None = None


class DemoLine:
    """Line control and quality data base in one, over MQTT like any other."""

    def __init__(self, port: int, scene: Scene, deadline_ms: int) -> None:
        """Prepare to speak to the station through the broker on this port.

        Args:
            port: of the broker on this machine.
            scene: knows the truth about the parts.
            deadline_ms: of the recipe; without a fresh ACCEPT until then the line diverts.
        """
        settings = MqttSettings.model_validate({"port": port, "device_id": DEVICE_ID, "consumers": [CONSUMER], **PLACE})
        self._consumer = LineConsumer(settings, CONSUMER, on_record=self._take_record, wants_all=True)
        self._scene = scene
        self._deadline_ms = deadline_ms
        self._lock = threading.Lock()
        self._report = Report()
        self._rows: deque[Row] = deque(maxlen=REMEMBERED_ROWS)
        self._ends: dict[str, tuple[LineOutcome, datetime]] = {}
        self._captured_at: dict[str, datetime] = {}
        self._answers: Counter[bool] = Counter()
        self._waiting: set[str] = set()

    def __enter__(self) -> "DemoLine":
        """Connect."""
        self._consumer.open()
        return self

    def __exit__(self, *_: object) -> None:
        """Disconnect."""
        self._consumer.close()

    @property
    def topic_root(self) -> str:
        """The station's topic without its last name."""
        return self._consumer.topics.action.rpartition("/")[0]

    def wait_until_online(self, timeout_s: float, check: Callable[[], None]) -> bool:
        """Wait for the station; check is called meanwhile and may raise."""
        waited_s = 0.0
        while waited_s < timeout_s:
            if self._consumer.wait_until_online(POLL_S):
                return True
            check()
            waited_s += POLL_S
        return False

    def send(self, part: PartTrigger) -> None:
        """Announce a part."""
        with self._lock:
            self._report.triggers += 1
            self._waiting.add(part.part_id)
        future = self._consumer.announce(part.part_id, self._deadline_ms, f"trigger-{part.part_id}")
        future.add_done_callback(self._take_outcome)

    def wait_for_the_rest(self, timeout_s: float) -> bool:
        """Wait until every trigger has its record; False if that took too long."""
        done = threading.Event()
        for _ in range(int(timeout_s / POLL_S)):
            with self._lock:
                if not self._waiting and self._answers.total() >= self._report.triggers:
                    return True
            done.wait(POLL_S)
        return False

    def rows(self, count: int) -> list[Row]:
        """Return the last parts, oldest first, with what the line did."""
        with self._lock:
            return [self._finished(row) for row in list(self._rows)[-count:]]

    def counts(self) -> dict[str, Any]:
        """Return triggers and verdicts so far."""
        with self._lock:
            return {"triggers": self._report.triggers, "verdicts": self._report.verdicts()}

    def times_after_decision(self) -> dict[str, dict[str, float]]:
        """Ask the station how long its commits and actions took; empty if it does not answer."""
        try:
            status = self._consumer.command("status").result(STATUS_TIMEOUT_S).result
        except (DeliveryError, TimeoutError, FutureTimeoutError):
            return {}
        return {stage: status[f"{stage}_ms"] for stage in ("record", "deliver") if status.get(f"{stage}_ms")}

    def document(self, broker: str) -> dict[str, Any]:
        """Return the run's report; losses are all zero if nothing was lost."""
        times = self.times_after_decision()
        with self._lock:
            self._report.losses = {
                "without_action_in_time": self._answers[False],
                "altered_records": self._consumer.counts["records_unchained"],
            }
            document = self._report.document()
        stages = document["latency_ms"]
        whole = {name: stages.pop(name) for name in ("decided", "frame_to_action", "round_trip") if name in stages}
        document["latency_ms"] = {**stages, **times, **whole}
        return {"broker": broker, **document}

    def _finished(self, row: Row) -> Row:
        if row.part_id not in self._ends:
            return row
        end, _ = self._ends[row.part_id]
        does = "pass" if end.passes else "divert"
        return replace(row, line_does=does, round_trip_ms=end.waited_us / 1000 if end.action else None)

    def _take_outcome(self, future: "Future[LineOutcome]") -> None:
        outcome, ended_at = future.result(), utc_now()
        with self._lock:
            self._answers[outcome.action is not None] += 1
            if outcome.action is not None:
                self._report.add_time("round_trip", outcome.waited_us / 1000)
            _remember(self._ends, outcome.part_id, (outcome, ended_at))
            self._note_answer_time(outcome.part_id)

    def _take_record(self, record: ReceivedRecord) -> None:
        message = record.message
        source = message.views[0].source if message.views else ""
        is_defective = self._scene.is_defective(message.part_id, source)
        why = f"{message.label} {message.score:.2f}" if message.label and message.score is not None else message.reason
        with self._lock:
            self._waiting.discard(message.part_id)
            self._rows.append(Row(message.seq, message.part_id, message.verdict, why, is_defective))
            self._report.add(
                Outcome(Verdict(message.verdict), message.reason, is_defective, message.stage_ms, message.latency_ms)
            )
            captured_at = [view.captured_at for view in message.views if view.captured_at]
            if captured_at:
                _remember(self._captured_at, message.part_id, moment_of(min(captured_at)))
                self._note_answer_time(message.part_id)

    def _note_answer_time(self, part_id: str) -> None:
        """Note it when both the answer and the record are here, whichever comes first."""
        if part_id not in self._ends or part_id not in self._captured_at:
            return
        end, ended_at = self._ends[part_id]
        # Two processes of one computer: only the wall clock is common to both, and nothing but a figure rests on it.
        spent = ended_at - self._captured_at.pop(part_id)
        if end.action is not None:
            self._report.add_time("frame_to_action", spent / timedelta(milliseconds=1))


def _remember(by_part: dict[str, Value], part_id: str, value: Value) -> None:
    by_part[part_id] = value
    if len(by_part) > REMEMBERED_ENDS:
        del by_part[next(iter(by_part))]
