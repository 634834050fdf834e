"""A shadow: one candidate beside the line, from its start to its end, in a thread that no part ever waits for."""

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from appliance.errors import AnswerFault, ApplianceError, RuntimeFault, StorageError
from appliance.events import Frame, Inspection, Reason, Record, ShadowEnd, ShadowJudgement, Verdict, Versions
from appliance.ports import Clock, ShadowLog
from appliance.shadow.process import CandidateProcess
from appliance.shadow.rest import Rest

log = logging.getLogger(__name__)

START_LIMIT_S = 300.0
"""Loading, while the line has the processor first."""

LOOK_EVERY_S = 0.25
WRITE_EVERY_S = 1.0
MOST_UNWRITTEN = 1000
"""Judgements that wait for a disk that refuses; the oldest go."""

MOST_PINNED = 200
"""Parts of one shadow whose pictures are kept because the verdicts differ; a bad candidate differs everywhere."""

MOST_KNOWN = 4
"""Parts that people know, and put in on purpose, wait for a busy candidate, so many with the one that it judges."""

Pin = Callable[[Inspection, Mapping[str, Frame]], int]
"""Keeps the pictures of a part; returns how many of them are lost."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """What is tried: for which product, beside which versions, what the child is told, and what it may take.

    views: of the product's recipe. size_bytes: of a part's pictures together.
    """

    product: str
    digest: str
    who: str
    beside: Versions
    views: frozenset[str]
    size_bytes: int
    request: Mapping[str, Any]
    memory_bytes: int
    hang_s: float


@dataclass(frozen=True, slots=True)
class _Part:
    inspection: Inspection
    seq: int
    frames: Mapping[str, Frame]


class Shadow:
    """Judges parts that were judged already, one at a time; what comes meanwhile is skipped and counted.

    Challenge parts wait instead: they are few, and each says for certain what chance would have to show.
    """

    def __init__(
        self, candidate: Candidate, ledger: ShadowLog, pin: Pin, clock: Clock,
        make_process: Callable[[int, int], CandidateProcess] = CandidateProcess, rest: Rest | None = None,
    ) -> None:  # fmt: skip
        """Prepare; nothing runs before start().

        Args:
            candidate: what is tried.
            ledger: takes the judgements.
            pin: keeps the pictures of a part on which the two differ.
            clock: UTC for the rows.
            make_process: starts the child: bytes of the pictures and of the memory that it may have.
            rest: stops the child while the line inspects; None: it never rests.
        """
        self.candidate = candidate
        self.ready: Future[int] = Future()
        self._ledger = ledger
        self._pin = pin
        self._clock = clock
        self._make_process = make_process
        self._rest = Rest() if rest is None else rest
        self._parts: queue.SimpleQueue[_Part] = queue.SimpleQueue()
        self._turn = threading.Lock()
        self._is_loaded, self._taken = False, 0
        self._because = ""
        self._end = threading.Event()
        self._problem, self._is_unsound = "", False
        self._judged = self._skipped = self._differing = self._pinned = self._lost = self._unkept = 0
        self._unwritten: list[ShadowJudgement] = []
        self._written_s = 0.0
        self._number: int | None = None
        self._thread = threading.Thread(target=self._run, name="shadow", daemon=True)

    def start(self) -> None:
        """Start the child; `ready` then has its revision, or why it cannot judge."""
        self._thread.start()

    def offer(self, inspection: Inspection, record: Record) -> None:
        """Show a part whose action has left, if the candidate has nothing else to do or the part is known; never waits.

        Args:
            inspection: with the camera's very pictures.
            record: its number.
        """
        if inspection.versions is not self.candidate.beside or inspection.decision.verdict is Verdict.FAULT:
            return  # what the line gave no answer about says nothing of the candidate
        frames = {result.view: result.frame for result in inspection.views if result.frame is not None}
        if frames.keys() != self.candidate.views:
            return
        if sum(frame.pixels.size for frame in frames.values()) > self.candidate.size_bytes:
            return  # a wrong picture; whoever judges, it is a FAULT
        with self._turn:
            if not self._is_loaded or self._end.is_set():
                return
            if self._taken >= (1 if inspection.trigger.challenge is None else MOST_KNOWN):
                self._skipped += 1
                return
            self._taken += 1
            self._parts.put(_Part(inspection, record.seq, frames))

    def end(self, because: str) -> None:
        """Ask for the end; the first reason counts."""
        with self._turn:
            if not self._end.is_set():
                self._because = because
                self._end.set()

    def join(self, timeout_s: float) -> None:
        """Wait until it has ended."""
        self._thread.join(timeout_s)

    @property
    def has_ended(self) -> bool:
        """Whether it is over, or about to be."""
        return self._end.is_set()

    def status(self) -> dict[str, Any]:
        """Return how it goes."""
        state = "ended" if self.has_ended else "running" if self._is_loaded else "loading"
        return {
            "state": state,
            "product": self.candidate.product,
            "candidate": self.candidate.digest,
            "judged": self._judged,
            "skipped": self._skipped,
            "differing": self._differing,
            "pictures_lost": self._lost,
            "judgements_lost": self._unkept,
            "ended": self._because,
            "problem": self._problem,
            "unsound": self._is_unsound,
        }

    # -- its own thread ----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        sizes = self.candidate.size_bytes, self.candidate.memory_bytes
        with self._guarded(), self._make_process(*sizes) as process:
            with self._guarded(), self._rest.of(process.number):
                self._number = self._begin(process)
                while self._number is not None and not self._end.is_set():
                    self._judge_next(process)
            process.kill()
            self._settle()  # before the process is waited for: the ledger closes soon, if the station stops
        if not self.ready.done():
            self.ready.set_exception(RuntimeFault(self._problem or f"it ended before it began: {self._because}"))

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except AnswerFault as error:
            self._is_unsound = True
            self._fail(f"the candidate answered with {error.what}; export it again")
        except (ApplianceError, OSError) as error:
            self._fail(str(error))
        except Exception as error:  # the guard of this thread: whatever a candidate does, the line goes on
            log.exception("a shadow failed in an unforeseen way")
            self._fail(f"an unforeseen error: {error!r}; see the station's log")

    def _settle(self) -> None:
        with self._turn:  # nothing is put there any more; a part that waits lets go of its pictures
            self._parts = queue.SimpleQueue()
        self._write(is_last=True)
        if self._number is not None:
            self._note_end(self._number)

    def _begin(self, process: CandidateProcess) -> int | None:
        wanted = self.candidate
        process.ask({**wanted.request, "size_bytes": wanted.size_bytes})
        answer = self._answer(process, START_LIMIT_S)
        if answer is None:
            return None
        revision = int(answer["ready"]["revision"])
        number = self._ledger.begin_shadow(self._clock.utc(), wanted.who, wanted.product, wanted.digest, revision)
        log.info("revision %d (%s) judges beside the line, asked for by %s", revision, wanted.digest[:12], wanted.who)
        with self._turn:
            self._is_loaded = True
        self.ready.set_result(revision)
        return number

    def _answer(self, process: CandidateProcess, limit_s: float) -> dict[str, Any] | None:
        return process.answer(limit_s, self._end.is_set, lambda: self._rest.rested_s)

    def _judge_next(self, process: CandidateProcess) -> None:
        try:
            part = self._parts.get(timeout=LOOK_EVERY_S)
        except queue.Empty:
            process.look()
        else:
            process.show(part.frames)
            answer = self._answer(process, self.candidate.hang_s)
            if answer is not None:
                self._take(part, answer["judged"])
            with self._turn:
                self._taken -= 1
        if time.monotonic() - self._written_s > WRITE_EVERY_S:
            self._write()

    def _take(self, part: _Part, said: Mapping[str, Any]) -> None:
        verdict = Verdict(said["verdict"])
        self._unwritten.append(
            ShadowJudgement(
                seq=part.seq,
                candidate_digest=self.candidate.digest,
                verdict=verdict,
                reason=Reason(said["reason"]),
                label=said["label"],
                score=said["score"],
                latency_us=int(said["latency_us"]),
                at=self._clock.utc(),
            )
        )
        self._judged += 1
        if verdict is not part.inspection.decision.verdict:
            self._differing += 1
            self._keep_pictures(part)

    def _keep_pictures(self, part: _Part) -> None:
        if self._pinned >= MOST_PINNED:
            self._lost += len(part.frames)
            return
        self._pinned += 1
        self._lost += self._pin(part.inspection, part.frames)

    def _write(self, *, is_last: bool = False) -> None:
        self._written_s = time.monotonic()
        if not self._unwritten:
            return
        try:
            self._ledger.note_shadow(self._unwritten)
        except StorageError as error:
            log.warning("a shadow's judgements are not kept yet: %s", error)
            surplus = len(self._unwritten) if is_last else max(0, len(self._unwritten) - MOST_UNWRITTEN)
            del self._unwritten[:surplus]
            self._unkept += surplus
        else:
            self._unwritten.clear()

    def _fail(self, problem: str) -> None:
        self._problem = problem
        log.error("the shadow of %s (%s) ended: %s", self.candidate.product, self.candidate.digest[:12], problem)
        self.end("problem")

    def _note_end(self, number: int) -> None:
        end = ShadowEnd(self._because, self._problem, self._judged, self._skipped, self._differing, self._lost)
        try:
            self._ledger.end_shadow(number, self._clock.utc(), end)
        except StorageError as error:
            log.warning("the end of a shadow is not noted: %s", error)
