"""Threads that stay on one core each: whether this process's threads really stay there."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from appliance.device_files import DeviceFiles
from appliance.device_state import parse_cores
from appliance.errors import RuntimeFault

THREADS = "proc/self/task"
SETTLED_WITHIN_S = 2.0
LOOK_EVERY_S = 0.01
LOOK_AGAIN_S = 0.001
"""While an engine is at work: an inference may be that short."""

_asking = set[int]()
"""Threads of this process that ask a pinned engine right now."""


def threads_now(root: Path = Path("/")) -> dict[int, frozenset[int]]:
    """Return this process's threads: number -> the cores that it may use.

    Args:
        root: the folder that stands for "/".

    Source:
        proc_pid_status(5), Cpus_allowed_list.
    """
    files = DeviceFiles(root)
    told = {}
    for path in files.names(THREADS, "[0-9]*"):
        found = files.find(f"{path}/status", r"^Cpus_allowed_list:[ \t]*([\d,-]+)$")  # none if it has just ended
        if found and (cores := parse_cores(found[1])):
            told[int(path.rpartition("/")[2])] = frozenset(cores)
    return told


def check_pinned(cores: Sequence[int], before: Collection[int]) -> None:
    """Make sure that an engine's threads are where they should be; each goes there itself, a moment after its start.

    Args:
        cores: one for each thread that should be pinned.
        before: numbers of the threads that were there before the engine was.

    Raises:
        RuntimeFault: some are not there after two seconds.
    """
    deadline_s = time.monotonic() + SETTLED_WITHIN_S
    while True:
        started = [may_use for number, may_use in threads_now().items() if number not in before]
        missing = Counter(cores) - Counter(core for may_use in started if len(may_use) == 1 for core in may_use)
        if not missing:
            return
        if time.monotonic() > deadline_s:
            seen = "; ".join(f"cores {', '.join(map(str, sorted(may_use)))}" for may_use in started) or "none started"
            raise RuntimeFault(
                f"no thread stays on core {', '.join(map(str, sorted(missing)))} as asked for (threads that were "
                f"started: {seen}); set runtime.pins_threads: false, or give the service other cores"
            )
        threading.Event().wait(LOOK_EVERY_S)


@contextmanager
def asking() -> Iterator[None]:
    """Note that this thread asks an engine that pins it meanwhile, so that no other engine's check counts it."""
    number = threading.get_native_id()
    _asking.add(number)
    try:
        yield
    finally:
        _asking.discard(number)


def pinned_at_work(work: Callable[[], object], threads: int) -> frozenset[int]:
    """Make sure that an engine's threads are each on one core while they work, and return these cores.

    For an engine that pins threads, the one that asks among them, only for the length of an inference. The one that
    asks shows that this engine pins; the others belong to all engines, and may work for another pinned one meanwhile.

    Args:
        work: asks the engine; done again and again in the meantime.
        threads: of one inference, the one that asks among them.

    Raises:
        RuntimeFault: fewer were seen on a core of their own within two seconds.
    """
    asks, seen = threading.get_native_id(), dict[int, int]()
    are_there, is_over = threading.Event(), threading.Event()

    def look() -> None:
        while not is_over.wait(LOOK_AGAIN_S):
            others, found = set(_asking), threads_now()
            others |= _asking
            for number, may_use in found.items():
                if len(may_use) == 1 and (number == asks or number not in others):
                    seen[number] = min(may_use)
            if asks in seen and len(set(seen.values())) >= threads:
                are_there.set()

    looking = threading.Thread(target=look, name="pinned-at-work")
    looking.start()
    deadline_s = time.monotonic() + SETTLED_WITHIN_S
    try:
        while not are_there.is_set() and time.monotonic() <= deadline_s:
            work()
    finally:
        is_over.set()
        looking.join()
    if not are_there.is_set():
        cores = ", ".join(map(str, sorted(set(seen.values()))))
        told = f"only cores {cores} were seen in use" if asks in seen else "the one that asks was not seen there"
        raise RuntimeFault(
            f"of the {threads} threads that should each stay on a core of their own while the model runs, {told}; set "
            "runtime.pins_threads: false, or give the service other cores"
        )
    return frozenset(seen.values())
