"""Open parts: what is known about a part between its trigger and its verdict, and which answer is due next."""

import heapq
import threading
from dataclasses import dataclass, field

from appliance.events import Frame, Trigger, Versions
from appliance.ports import Inspect

NS_PER_MS = 1_000_000


@dataclass(frozen=True)  # without slots, so that somebody can be told when the last part has let go of it
class Product:
    """What judges the parts of one product: its recipe, bound to a proven bundle.

    inspections: one for each thread that inspects, with a model of its own. deadline_ms counts from the trigger's
    reception; the answer is due answer_reserve_ms before it.
    """

    inspections: tuple[Inspect, ...]
    versions: Versions
    deadline_ms: int
    answer_reserve_ms: int

    @property
    def name(self) -> str:
        """Return what the line calls it."""
        return self.versions.product


@dataclass(slots=True)
class Part:
    """An open part on its way; shared by the station's threads. product: the one in force when its trigger was taken.

    The disk takes the trigger while the camera and the model work; a verdict waits until it has.
    """

    trigger: Trigger
    product: Product
    frames: dict[str, Frame] = field(default_factory=dict)
    stage_us: dict[str, int] = field(default_factory=dict)
    _settled: threading.Lock = field(default_factory=threading.Lock)
    _is_accepted: bool = False
    _has_outcome: threading.Event = field(default_factory=threading.Event)

    @property
    def answer_ns(self) -> int:
        """Return when the deadline clock answers for it."""
        return self.trigger.deadline_ns - self.product.answer_reserve_ms * NS_PER_MS

    def accept(self) -> None:
        """Say that the trigger is on disk: from now on the part must get a verdict."""
        self._is_accepted = True
        self._has_outcome.set()

    def withdraw(self) -> None:
        """Say that the trigger is not taken, unless it was accepted: the part then gets no verdict at all."""
        if not self._is_accepted:
            self.settle()
            self._has_outcome.set()

    def wait_until_accepted(self) -> bool:
        """Wait for accept() or withdraw(); whether it was accepted."""
        return self._has_outcome.wait() and self._is_accepted

    def settle(self) -> bool:
        """Claim the right to give the verdict; True for exactly one caller, ever."""
        return self._settled.acquire(blocking=False)

    @property
    def is_settled(self) -> bool:
        """Whether somebody has given, or is about to give, the verdict."""
        return self._settled.locked()


class OpenParts:
    """The parts without a verdict, in the order in which their answers are due."""

    def __init__(self) -> None:
        """Begin with none."""
        self._wake = threading.Condition()
        self._due: list[tuple[int, int, Part]] = []
        self._ticket = 0

    def add(self, part: Part) -> None:
        """Watch a part."""
        with self._wake:
            self._ticket += 1
            heapq.heappush(self._due, (part.answer_ns, self._ticket, part))
            if self._due[0][2] is part:
                self._wake.notify_all()

    def next_overdue(self, now_ns: int, wait_s: float) -> Part | None:
        """Return a part whose answer is due; or None, after waiting for the next one, at most wait_s.

        Settled parts, and the pictures that they hold, are let go.
        """
        with self._wake:
            self._due = [entry for entry in self._due if not entry[2].is_settled]
            heapq.heapify(self._due)
            if self._due and self._due[0][0] <= now_ns:
                return heapq.heappop(self._due)[2]
            until_s = (self._due[0][0] - now_ns) / 1e9 if self._due else wait_s
            self._wake.wait(min(until_s, wait_s))
            return None

    def wait_until_none(self, poll_s: float) -> None:
        """Wait until every part has its verdict."""
        with self._wake:
            while any(not part.is_settled for _, _, part in self._due):
                self._wake.wait(poll_s)
