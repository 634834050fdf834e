"""Lets old records go, in a thread of its own and in bites that the line does not feel.

Old is what is older than the newest record allows as well: a clock that runs ahead when the device starts, before
the network has set it right, must not make everything old.
"""

import logging
import threading
from datetime import timedelta

from appliance.errors import StorageError
from appliance.ports import Clock
from appliance.stores.ledger import SqliteLedger

log = logging.getLogger(__name__)

EVERY_S = 3600.0


class Retention:
    """Purges what is older than keep_days, once an hour; acknowledged records only."""

    def __init__(self, ledger: SqliteLedger, keep_days: int, clock: Clock, every_s: float = EVERY_S) -> None:
        """Prepare; nothing runs before start().

        Args:
            ledger: open, of this process.
            keep_days: whole days, at least 1.
            clock: its wall clock says what is old.
            every_s: seconds between two rounds.
        """
        self._ledger = ledger
        self._keep = timedelta(days=keep_days)
        self._clock = clock
        self._every_s = every_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="retention", daemon=True)

    def start(self) -> None:
        """Begin with a first round."""
        self._thread.start()

    def stop(self) -> None:
        """End after the bite that is being taken."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                newest = self._ledger.newest()
                now = self._clock.utc()
                purged = self._ledger.purge(min(now, newest or now) - self._keep, stop=self._stop)
                if purged:
                    log.info("%d records older than %d days were purged", purged, self._keep.days)
            except StorageError as error:
                log.error("%s", error)
            self._stop.wait(self._every_s)
