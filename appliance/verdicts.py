"""The end of every part: settled once, recorded, then acted on; and what happens while the disk refuses."""

import logging
import threading
from collections import OrderedDict, deque
from collections.abc import Callable

from appliance.errors import StorageError
from appliance.events import Action, Decision, Inspection, Reason, Record, Trigger, Verdict, Versions, ViewResult
from appliance.parts import Part
from appliance.ports import Clock
from appliance.report import RecentTimes
from appliance.stages.deliver import Delivery
from appliance.stages.record import Recorder

log = logging.getLogger(__name__)

RECENT_ACTIONS = 1000
MOST_LATE_RESULTS = 1000


class Verdicts:
    """Whoever settles a part first gives its one verdict; what the disk refuses is kept here and never acted on."""

    def __init__(
        self,
        recorder: Recorder,
        delivery: Delivery,
        clock: Clock,
        *,
        note_late: Callable[[Inspection], None],
        probe: Callable[[], None],
        on_record: Callable[[Inspection, Record, int], None] | None,
    ) -> None:
        """Begin with nothing owed.

        Args:
            recorder: commits inspections.
            delivery: takes actions.
            clock: its monotonic half says what is still fresh.
            note_late: keeps what the inspection found after the deadline clock had answered.
            probe: tries whether the disk takes data; raises StorageError while it does not.
            on_record: told of each committed inspection and the microseconds that the commit took.
        """
        self._recorder = recorder
        self._delivery = delivery
        self._clock = clock
        self._note_late = note_late
        self._probe = probe
        self._on_record = on_record
        self._lock = threading.Lock()
        self._unrecorded: list[Inspection] = []
        self._committing: set[str] = set()
        self._late: deque[Inspection] = deque(maxlen=MOST_LATE_RESULTS)
        self._recent: OrderedDict[str, Action] = OrderedDict()
        self.commit_times = RecentTimes()
        self.outrun = 0
        self._refusal = ""

    @property
    def refusal(self) -> str:
        """Why the disk takes nothing, in words; empty while it does."""
        return self._refusal

    @property
    def is_waiting_for_disk(self) -> bool:
        """Whether verdicts are waiting that the disk refused."""
        return bool(self._unrecorded)

    def refuse(self, error: StorageError) -> None:
        """Note that the disk refused a trigger."""
        with self._lock:
            self._refusal = str(error)

    def recent_action(self, trigger_id: str) -> Action | None:
        """Return the action that a trigger got lately, fresh or not."""
        with self._lock:
            return self._recent.get(trigger_id)

    def fail(self, part: Part, reason: Reason, detail: str) -> None:
        """Give FAULT, unless the part has its verdict already."""
        views = tuple(ViewResult(view, frame, None, ()) for view, frame in list(part.frames.items()))
        self.finish(part, fault(reason, detail), views)

    def finish(self, part: Part, decision: Decision, views: tuple[ViewResult, ...]) -> None:
        """Give the verdict, or keep it as a late result if its time is over or another one was given before."""
        if not part.wait_until_accepted():
            return
        trigger = part.trigger
        if decision.verdict is not Verdict.FAULT and self._clock.monotonic_ns() >= part.answer_ns:
            self.fail(part, Reason.DEADLINE, "not decided in time: the answer was due before the deadline")
        with self._lock:
            is_first = part.settle()
            if is_first:
                self._committing.add(trigger.trigger_id)
        stage_us, versions = dict(part.stage_us), part.product.versions
        if is_first:
            self._commit(self._recorder.assemble(trigger, versions, decision, views, stage_us))
        elif decision.verdict is not Verdict.FAULT:
            late = self._recorder.assemble(trigger, versions, decision, views, stage_us, keeps_images=False)
            with self._lock:
                self._late.append(late)
        part.frames.clear()

    def finish_abandoned(self, trigger: Trigger, versions: Versions) -> None:
        """Give FAULT(restart) to a part that the last process left open.

        Args:
            trigger: the part's.
            versions: of the product that was in force when it was taken.

        Raises:
            StorageError: the disk refuses; the part stays open.
        """
        decision = fault(Reason.RESTART, "the process ended")
        inspection = self._recorder.assemble(trigger, versions, decision, (), {})
        self._announce(inspection, self._recorder.record(inspection), None)

    def catch_up(self) -> None:
        """Write what the disk refused, and late results; called again and again by the deadline thread."""
        if self._unrecorded:
            self._record_again()
        elif self._refusal:
            try:
                self._probe()
            except StorageError:
                return
            self._accept_again()
        if self._late and not self._refusal:
            self._write_late()

    def _commit(self, inspection: Inspection) -> None:
        started_ns = self._clock.monotonic_ns()
        try:
            record = self._recorder.record(inspection)
        except StorageError as error:
            with self._lock:
                self._unrecorded.append(inspection)
                self._refusal = str(error)
            log.error("taking no more parts: %s", error)
            return
        self._announce(inspection, record, (self._clock.monotonic_ns() - started_ns) // 1000)

    def _announce(self, inspection: Inspection, record: Record, record_us: int | None) -> None:
        trigger, decision = inspection.trigger, inspection.decision
        action = Action(
            trigger_id=trigger.trigger_id,
            part_id=trigger.part_id,
            inspection_id=inspection.inspection_id,
            seq=record.seq,
            verdict=decision.verdict,
            reason=decision.reason,
            deadline_ns=trigger.deadline_ns,
        )
        if record_us is not None:
            self.commit_times.add(record_us)
        with self._lock:
            self._committing.discard(trigger.trigger_id)
            self._recent[trigger.trigger_id] = action
            while len(self._recent) > RECENT_ACTIONS:
                self._recent.popitem(last=False)
        if not self._delivery.act(action) and not inspection.is_late:
            with self._lock:
                self.outrun += 1
            log.warning(
                "the verdict for trigger %s was on record only after its deadline had passed: no action was sent; is "
                "the disk slow?",
                trigger.trigger_id,
            )
        if self._on_record is not None:
            self._on_record(inspection, record, record_us or 0)

    def _record_again(self) -> None:
        with self._lock:
            waiting = list(self._unrecorded)
        for refused in waiting:
            inspection = self._recorder.renew(refused)
            try:
                record = self._recorder.record(inspection)
            except StorageError:
                return
            with self._lock:
                self._unrecorded.remove(refused)
            self._announce(inspection, record, None)
        self._accept_again()

    def _accept_again(self) -> None:
        with self._lock:
            if self._unrecorded:
                return
            self._refusal = ""
        log.info("the disk takes records again: taking parts")

    def _write_late(self) -> None:
        with self._lock:
            ready = [item for item in self._late if item.trigger.trigger_id not in self._committing]
        for inspection in ready:
            try:
                self._note_late(inspection)
            except StorageError as error:
                log.error("a late result is not kept yet: %s", error)
                return
            with self._lock:
                self._late.remove(inspection)


def fault(reason: Reason, detail: str) -> Decision:
    """Make a FAULT."""
    return Decision(Verdict.FAULT, reason, detail)
