"""The part's way, in one screen: trigger -> capture -> correct -> infer -> decide -> record -> deliver.

One thread per camera, one or more that inspect (each with one that measures beside it), one that answers for late
parts, one that delivers records. Whoever settles a part first gives its one verdict and sends its action: an
inspection, the deadline clock, or the first thing that went wrong.
"""

import logging
import queue
import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import Any

from appliance.changeover import Products
from appliance.engine_faults import EngineFaults
from appliance.errors import AnswerFault, CameraError, RuntimeFault, StorageError
from appliance.events import Reason, Trigger
from appliance.parts import NS_PER_MS, OpenParts, Part
from appliance.ports import Answer, Camera, Clock, Command, Ledger, TriggerRequest, Watchdog
from appliance.stages.capture import Capture
from appliance.stages.deliver import Delivery
from appliance.verdicts import Verdicts
from appliance.waiting_line import WaitingLine

log = logging.getLogger(__name__)

BEAT_S = 0.5
CAPTURE_TIMEOUT_S = 5.0
SETTLE_POLL_S = 0.01


@dataclass(frozen=True, slots=True)
class StationSettings:
    """How long and how many: milliseconds and parts."""

    max_capture_delay_ms: int
    queue_size: int


class Station:
    """Every accepted trigger gets exactly one verdict."""

    def __init__(
        self,
        *,
        cameras: Mapping[str, Camera],
        products: Products,
        ledger: Ledger,
        verdicts: Verdicts,
        delivery: Delivery,
        clock: Clock,
        watchdog: Watchdog,
        settings: StationSettings,
        status: Callable[[], dict[str, Any]] = dict,
        commands: Mapping[str, Command] | None = None,
        inspecting: AbstractContextManager[None] | None = None,
        engine_faults: EngineFaults | None = None,
    ) -> None:
        """Put the station together; nothing runs yet.

        Args:
            cameras: view -> closed camera, one for each view of the recipe.
            products: what judges the parts, and which of them is in force.
            ledger: takes triggers.
            verdicts: records and announces.
            delivery: takes actions and knows the outbox.
            clock: monotonic for every deadline, UTC for the record.
            watchdog: told of every thread's progress.
            settings: capture delay and queue.
            status: what else the command `status` answers.
            commands: name -> what carries it out, besides status, replay and changeover.
            inspecting: entered with each trigger, and by each inspection until its part is settled; several at once.
            engine_faults: told at which parts the model's engine failed; None: nobody is.
        """
        self._captures = {
            view: Capture(view, camera, settings.max_capture_delay_ms) for view, camera in cameras.items()
        }
        self._products = products
        self._ledger = ledger
        self._verdicts = verdicts
        self._delivery = delivery
        self._clock = clock
        self._watchdog = watchdog
        self._settings = settings
        self._status = status
        self._inspecting = nullcontext() if inspecting is None else inspecting
        self._engine_faults = engine_faults or EngineFaults(lambda words: None)
        own = {"status": self._tell, "replay": delivery.replay_on_request, "changeover": products.change}
        self._commands: dict[str, Command] = {**own, **(commands or {})}
        self._capture_queues: dict[str, queue.SimpleQueue[Part]] = {view: queue.SimpleQueue() for view in cameras}
        self._inspect_queue = WaitingLine[Part](len(products.in_force.inspections))
        self._open = OpenParts()
        self._gate = threading.Condition()
        self._arriving: set[str] = set()
        self._stopping_because = "the station has not started"
        self._held_because = ""
        self._ending_because = ""
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    # -- life ---------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Answer for the parts that the last process left open, then take new ones.

        Raises:
            StorageError: the ledger does not take records; nothing was started.
        """
        for trigger in self._ledger.open_triggers():
            now_ns = self._clock.monotonic_ns()  # the clock of the process that took it is gone: its time is over
            abandoned = replace(trigger, received_ns=now_ns, deadline_ns=now_ns)
            self._verdicts.finish_abandoned(abandoned, self._products.versions_of(trigger.product))
        bodies: dict[str, Callable[[], None]] = {
            f"capture:{view}": partial(self._capture_parts, view) for view in self._captures
        }
        instances = range(len(self._products.in_force.inspections))
        bodies |= {f"inspect:{instance}": partial(self._inspect_parts, instance) for instance in instances}
        bodies |= {"deadline": self._answer_late_parts, "deliver": self._delivery.run}
        self._threads = [threading.Thread(target=body, name=name, daemon=True) for name, body in bodies.items()]
        self._stopping_because = ""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Take no more parts, let the open ones come to their verdict, and end the threads."""
        with self._gate:
            self._stopping_because = "the station was asked to stop"
            while self._arriving:
                self._gate.wait()
        self._open.wait_until_none(SETTLE_POLL_S)
        self._stop.set()
        for thread in self._threads:
            if thread.name == "deliver":
                self._delivery.stop()
            thread.join()
        self._verdicts.catch_up()

    @property
    def stopped_because(self) -> str:
        """Why no parts are taken, in words; empty while they are."""
        return self._closed_because or self._verdicts.refusal

    @property
    def _closed_because(self) -> str:
        """Why no parts are taken though the disk takes records."""
        return self._ending_because or self._stopping_because or self._held_because

    def hold(self, because: str) -> None:
        """Take no more parts; those that were taken get their verdict.

        Args:
            because: why, in words; empty to take parts again.
        """
        self._held_because = because

    def end(self, because: str) -> None:
        """Take no more parts, for good; those that were taken get their verdict.

        Args:
            because: why, in words.
        """
        self._ending_because = because

    # -- from the links: LineEvents ----------------------------------------------------------------------------------

    def on_trigger(self, request: TriggerRequest) -> None:
        """Take a trigger; a known one gets the verdict that it has.

        Raises:
            StorageError: the station takes no parts; the trigger is not accepted.
        """
        with self._gate:
            self._gate.wait_for(lambda: request.trigger_id not in self._arriving)
            if self._closed_because or self._verdicts.is_waiting_for_disk:
                raise StorageError(f"trigger {request.trigger_id} is not taken: {self.stopped_because}")
            self._arriving.add(request.trigger_id)
        try:
            with self._inspecting:
                self._take(request)
        finally:
            with self._gate:
                self._arriving.remove(request.trigger_id)
                self._gate.notify_all()

    def _take(self, request: TriggerRequest) -> None:
        received_ns = self._clock.monotonic_ns() if request.received_ns is None else request.received_ns
        try:
            if self._ledger.knows(request.trigger_id):
                self._answer_again(request)
            else:
                self._take_new(request, received_ns)
        except StorageError as error:
            self._verdicts.refuse(error)
            raise

    def _take_new(self, request: TriggerRequest, received_ns: int) -> None:
        product = self._products.take(request.trigger_id)
        now_ns = self._clock.monotonic_ns()
        received_at = self._clock.utc() - timedelta(microseconds=(now_ns - received_ns) // 1000)
        deadline_ns = received_ns + product.deadline_ms * NS_PER_MS
        trigger = Trigger(
            request.trigger_id, request.part_id, received_at, received_ns, deadline_ns, product.name, request.challenge
        )
        part = Part(trigger, product)
        failure: tuple[Reason, str] | None = None
        try:
            if now_ns >= part.answer_ns:
                failure = Reason.DEADLINE, "it waited too long on its way in: its answer was due before its turn came"
            elif request.is_repeat:
                failure = Reason.MISSED_TRIGGER, "announced again, but never seen before: the part has passed"
            else:
                failure = self._send_to_cameras(part)
            if not self._ledger.accept(trigger):
                self._answer_again(request)
                return
            part.stage_us["accept"] = self._since_us(received_ns)
            part.accept()
        finally:
            part.withdraw()
        if failure is None:
            self._open.add(part)
        else:
            self._verdicts.fail(part, *failure)

    def _send_to_cameras(self, part: Part) -> tuple[Reason, str] | None:
        """Let the cameras begin while the disk takes the trigger; why not, if one of them has too much to do."""
        for view, waiting in self._capture_queues.items():
            if not self._offer(waiting, part):
                detail = f"view {view}: {self._settings.queue_size} parts are waiting for the camera already"
                return Reason.QUEUE_FULL, detail
        return None

    def on_acknowledge(self, consumer: str, upto_seq: int) -> None:
        """Take a consumer's acknowledgement of records."""
        self._delivery.acknowledged(consumer, upto_seq)

    def on_connected(self) -> None:
        """Begin again at the first unacknowledged record."""
        self._delivery.start_over()

    def on_command(self, name: str, arguments: dict[str, Any]) -> Answer:
        """Carry out a command; the answer has `ok` and, if not, `error`."""
        if name not in self._commands:
            there = ", ".join(sorted(self._commands))
            return {"ok": False, "error": f"unknown command {name!r}; there are: {there}"}
        return self._commands[name](arguments)

    def _tell(self, _: dict[str, Any]) -> dict[str, Any]:
        times = {
            "record_ms": self._verdicts.commit_times.percentiles(),
            "deliver_ms": self._delivery.action_times.percentiles(),
        }
        outrun = {"actions_outrun": self._verdicts.outrun}
        more = self._products.status() | self._status()
        return {"ok": True, "stopped_because": self.stopped_because, **times, **outrun, **more}

    def _answer_again(self, request: TriggerRequest) -> None:
        """Give a known trigger its verdict again: as an action while that is fresh, always as a record."""
        record = self._ledger.find(request.trigger_id)
        if record is None:
            return  # still open: its verdict is on the way
        if not request.is_repeat:
            log.warning(
                "trigger id %s was used before and is no repeat: the part is not inspected; "
                "the line must give each part a new trigger id",
                request.trigger_id,
            )
        action = self._verdicts.recent_action(request.trigger_id)
        if action is not None:
            self._delivery.act(action)
        self._delivery.replay([record])

    # -- the threads' bodies -----------------------------------------------------------------------------------------

    def _capture_parts(self, view: str) -> None:
        capture, waiting, stage = self._captures[view], self._capture_queues[view], f"capture:{view}"
        self._watchdog.beat(stage)
        try:
            capture.open()
        except CameraError as error:
            log.error("%s", error)
        while not self._stop.is_set():
            self._watchdog.beat(stage)
            try:
                part = waiting.get(timeout=BEAT_S)
            except queue.Empty:
                continue
            if not part.is_settled:
                self._capture_part(capture, view, part)
            del part  # who waits holds no part, and so no release that was replaced
        capture.close()

    def _capture_part(self, capture: Capture, view: str, part: Part) -> None:
        started_ns = self._clock.monotonic_ns()
        until_answer_s = max(0.0, (part.answer_ns - started_ns) / 1e9)
        try:
            frame = capture.take(part.trigger, min(until_answer_s, CAPTURE_TIMEOUT_S))
        except CameraError as error:
            self._verdicts.fail(part, Reason.CAMERA, str(error))
            return
        with self._gate:
            part.stage_us["capture"] = max(part.stage_us.get("capture", 0), self._since_us(started_ns))
            part.frames[view] = frame
            is_complete = len(part.frames) == len(self._captures)
        if is_complete and not self._offer(self._inspect_queue, part):
            detail = f"{self._settings.queue_size} parts are waiting for the inspection already"
            self._verdicts.fail(part, Reason.QUEUE_FULL, detail)

    def _inspect_parts(self, instance: int) -> None:
        stage = f"inspect:{instance}"
        while not self._stop.is_set():
            self._watchdog.beat(stage)
            try:
                part = self._inspect_queue.get(instance, BEAT_S)
            except queue.Empty:
                continue
            with self._inspecting:
                self._inspect_part(instance, part)
            del part  # as in _capture_parts

    def _inspect_part(self, instance: int, part: Part) -> None:
        frames = dict(part.frames)
        if part.is_settled or len(frames) != len(self._captures):
            return
        try:
            decision, views = part.product.inspections[instance](frames, part.stage_us)
        except AnswerFault as error:
            self._verdicts.fail(part, Reason.RUNTIME, str(error))
            self._engine_faults.answered(instance)
        except RuntimeFault as error:
            self._verdicts.fail(part, Reason.RUNTIME, str(error))
            self._engine_faults.failed(instance, str(error))
        else:
            self._verdicts.finish(part, decision, views)
            self._engine_faults.answered(instance)

    def _answer_late_parts(self) -> None:
        while not self._stop.is_set():
            self._watchdog.beat("deadline")
            self._verdicts.catch_up()
            self._watchdog.beat("deadline")
            part = self._open.next_overdue(self._clock.monotonic_ns(), BEAT_S)
            if part is not None:
                detail = f"not decided {part.product.answer_reserve_ms} ms before the deadline"
                self._verdicts.fail(part, Reason.DEADLINE, detail)

    def _offer(self, waiting: "queue.SimpleQueue[Part] | WaitingLine[Part]", part: Part) -> bool:
        """Put a part into a queue; False if it is full. A SimpleQueue wakes who waits sooner than a bounded Queue."""
        if waiting.qsize() >= self._settings.queue_size:
            return False
        waiting.put(part)
        return True

    def _since_us(self, started_ns: int) -> int:
        return (self._clock.monotonic_ns() - started_ns) // 1000
