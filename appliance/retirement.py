"""Frees what judged, once the last part has let go of it, in a thread of its own: no part waits for that."""

import logging
import queue
import threading
import weakref
from contextlib import ExitStack

from appliance.products import WarmProduct

log = logging.getLogger(__name__)


class Retirement:
    """Products that no new part gets; a part on its way keeps its own."""

    def __init__(self) -> None:
        """Begin with none; the thread starts with the first."""
        self._due: queue.SimpleQueue[ExitStack | None] = queue.SimpleQueue()
        self._waiting: dict[int, ExitStack] = {}
        self._thread: threading.Thread | None = None

    @property
    def waiting(self) -> int:
        """How many are still held by parts."""
        return len(self._waiting)

    def take(self, warm: WarmProduct) -> None:
        """Free a product when nobody holds it any more; the caller lets go of it as well."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="retirement", daemon=True)
            self._thread.start()
        self._waiting[id(warm.undo)] = warm.undo
        weakref.finalize(warm.product, self._due.put, warm.undo).atexit = False

    def close(self) -> None:
        """Free all of them; no part is on its way any more."""
        if self._thread is not None:
            self._due.put(None)
            self._thread.join()
        for undo in list(self._waiting.values()):
            _free(undo)
        self._waiting.clear()

    def _run(self) -> None:
        while (undo := self._due.get()) is not None:
            _free(undo)
            self._waiting.pop(id(undo), None)


def _free(undo: ExitStack) -> None:
    try:
        undo.close()
    except Exception:  # the guard of this thread: nobody needs that memory as much as the line needs this process
        log.exception("a former release could not be freed; start the station again when the line allows it")
    else:
        log.info("the former release is out of memory")
