"""deliver: actions to the line while they are fresh, records to the plant until they are acknowledged."""

import logging
import threading
from collections import deque
from collections.abc import Sequence
from typing import Any

from appliance.errors import DeliveryError, StorageError
from appliance.events import Action, Record
from appliance.ports import Clock, Link, Outbox, Watchdog
from appliance.report import RecentTimes

log = logging.getLogger(__name__)

BATCH = 20
REPLAY = 0
"""The attempt number of a record that is sent out of turn."""

MOST_REPLAYS = 1000
LARGEST_SEQ = 2**63 - 1
MOST_AHEAD = 1000
"""Records that may be on their way beyond what a consumer has acknowledged, before they go on where the next one is."""

LONGEST_RESEND_NS = 300 * 10**9
RETRY_S = 0.02
IDLE_S = 0.5


class Delivery:
    """An action goes at once, by whoever committed its record; records go by a thread of their own, in their order."""

    def __init__(
        self, links: Sequence[Link], outbox: Outbox, clock: Clock, watchdog: Watchdog, *, resend_after_s: float,
        most_ahead: int = MOST_AHEAD,
    ) -> None:  # fmt: skip
        """Deliver to these links.

        Args:
            links: may be empty: records then stay in the outbox.
            outbox: where committed records wait.
            clock: its monotonic half decides what is still fresh.
            watchdog: beaten as "deliver".
            resend_after_s: seconds without progress after which delivery starts over; doubled each time in vain.
            most_ahead: records that may be on their way beyond what a consumer has acknowledged.
        """
        self._links = links
        self._outbox = outbox
        self._clock = clock
        self._watchdog = watchdog
        self._first_resend_ns = self._resend_ns = int(resend_after_s * 1e9)
        self._most_ahead = most_ahead
        self._news = threading.Event()
        self._turn = threading.RLock()
        self._acting = threading.Lock()
        self.action_times = RecentTimes()
        self._replays: deque[Record] = deque()
        self._handed_seq = 0
        self._owed_seq = 0
        self._progress_ns = clock.monotonic_ns()
        self._attempt = 1
        self._is_stopping = False

    def act(self, action: Action) -> bool:
        """Send an action, no link waiting for the network meanwhile; False if its time had passed."""
        started_ns = self._clock.monotonic_ns()
        with self._acting:
            is_in_time = self._clock.monotonic_ns() < action.deadline_ns
            if is_in_time:
                for link in self._links:
                    link.send_action(action)
                self.action_times.add((self._clock.monotonic_ns() - started_ns) // 1000)
        self.news()
        return is_in_time

    def news(self) -> None:
        """Say that the outbox has something new, or that a link can take more."""
        self._news.set()

    def acknowledged(self, consumer: str, upto_seq: int) -> None:
        """Take a consumer's acknowledgement; only one that moves the oldest owed record is progress."""
        try:
            self._outbox.acknowledge(consumer, upto_seq)
        except DeliveryError as error:
            log.warning("%s", error)
            return
        owed = self._outbox.pending(0, 1)
        with self._turn:
            owed_seq = owed[0].seq if owed else 0
            if owed_seq != self._owed_seq:
                self._owed_seq = owed_seq
                self._resend_ns = self._first_resend_ns
                self._progress_ns = self._clock.monotonic_ns()
                self.news()

    def start_over(self) -> None:
        """Begin again at the first unacknowledged record: a link has come (back) up."""
        with self._turn:
            self._replays.clear()  # whoever asked over the old connection asks again
            self._resend_ns = self._first_resend_ns
            self._restart()
        self.news()

    def replay(self, records: Sequence[Record]) -> bool:
        """Send committed records again, acknowledged or not; False if too many are waiting already."""
        with self._turn:
            if len(self._replays) + len(records) > MOST_REPLAYS:
                return False
            self._replays.extend(records)
        self.news()
        return True

    def replay_on_request(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Carry out the command `replay` with from_seq and to_seq; the answer has ok and records, or error."""
        first, last = arguments.get("from_seq"), arguments.get("to_seq")
        if type(first) is not int or type(last) is not int or not 0 < first <= last <= LARGEST_SEQ:
            return {"ok": False, "error": "replay needs whole numbers 0 < from_seq <= to_seq"}
        records = self._outbox.replay(first, last, MOST_REPLAYS)
        if not self.replay(records):
            return {"ok": False, "error": f"{MOST_REPLAYS} records are waiting to be replayed; ask again later"}
        first_kept = self._outbox.replay(1, LARGEST_SEQ, 1)
        return {"ok": True, "records": len(records), "first_seq": first_kept[0].seq if first_kept else None}

    def stop(self) -> None:
        """Ask run() to return."""
        self._is_stopping = True
        self.news()

    def run(self) -> None:
        """Deliver until stopped; the body of the delivery thread."""
        while True:
            self._watchdog.beat("deliver")
            self._news.clear()  # before the look at what there is: news from now on end the wait below
            if self._is_stopping:
                return
            try:
                wait_s = IDLE_S if self._send_records() else RETRY_S
            except StorageError as error:
                log.error("%s", error)
                wait_s = IDLE_S
            self._news.wait(wait_s)

    def _restart(self) -> None:
        self._handed_seq = 0
        self._attempt += 1
        self._progress_ns = self._clock.monotonic_ns()

    def _send_records(self) -> bool:
        """Hand over what the links can take; False if something is left that they could not take."""
        if not self._links:
            return True
        while self._replays and not self._is_stopping:
            self._watchdog.beat("deliver")
            if not self._hand_over_replay():
                return False
        self._resend_if_in_vain()
        while not self._is_stopping:
            handed_seq, records = self._next_records()
            if not records:
                return True
            for record in records:
                self._watchdog.beat("deliver")
                is_taken = not self._is_stopping and self._hand_over(record, handed_seq)
                if is_taken is None:
                    break  # started over meanwhile
                if not is_taken:
                    return False
                handed_seq = record.seq
        return True

    def _next_records(self) -> tuple[int, Sequence[Record]]:
        """Return what goes next, and the number after which it goes; nothing while too much is on its way."""
        handed_seq = self._handed_seq
        if self._owed_seq and handed_seq >= self._owed_seq + self._most_ahead:
            here = self._outbox.acknowledged().values()
            if not any(seq <= handed_seq < seq + self._most_ahead for seq in here):
                beyond = [seq for seq in here if seq > handed_seq]
                if not beyond:
                    return handed_seq, ()
                with self._turn:  # who keeps up does not wait for who is away: go on where the next one is
                    if self._handed_seq == handed_seq:
                        self._handed_seq = min(beyond)
                    handed_seq = self._handed_seq
        records = self._outbox.pending(handed_seq, BATCH)
        if handed_seq == 0 and records:
            self._owed_seq = records[0].seq
        return handed_seq, records

    def _resend_if_in_vain(self) -> None:
        with self._turn:
            now_ns = self._clock.monotonic_ns()
            if not self._handed_seq:
                self._progress_ns = now_ns
            elif now_ns - self._progress_ns > self._resend_ns and self._outbox.depth():
                self._resend_ns = min(self._resend_ns * 2, LONGEST_RESEND_NS)
                self._restart()

    def _hand_over(self, record: Record, after_seq: int) -> bool | None:
        """Hand one record over in its turn; None if delivery started over, so that it is no longer its turn."""
        with self._turn:  # held while sending: nobody may start over between the look and the act
            if self._handed_seq != after_seq:
                return None
            is_taken = all(link.send_record(record, self._attempt) for link in self._links)
            if is_taken:
                self._handed_seq = record.seq
            return is_taken

    def _hand_over_replay(self) -> bool:
        with self._turn:
            if self._replays and not all(link.send_record(self._replays[0], REPLAY) for link in self._links):
                return False
            if self._replays:
                self._replays.popleft()
            return True
