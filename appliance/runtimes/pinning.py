"""Threads that stay on one core each: on which cores, and whether this process's threads really stay there."""

import os
import threading
import time
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path

from appliance.device_files import DeviceFiles
from appliance.device_state import CPU, parse_cores
from appliance.errors import ConfigError, RuntimeFault

THREADS = "proc/self/task"
SETTLED_WITHIN_S = 2.0
LOOK_EVERY_S = 0.01


def usable_cores() -> list[int]:
    """Return the numbers of the cores that this thread may use.

    Raises:
        ConfigError: this operating system knows no such thing.
    """
    if not hasattr(os, "sched_getaffinity"):
        raise ConfigError("runtime.pins_threads: this operating system lets nobody pin threads; remove the key")
    return sorted(os.sched_getaffinity(0))


def choose_cores(threads: int, copy: int, usable: Collection[int], root: Path = Path("/")) -> tuple[int, ...]:
    """Choose the cores for those threads of one copy of a model that its engine starts itself.

    Each copy has as many cores as threads, and no copy has another one's. One core of them has nothing pinned to it: it
    is for the thread that asks, which is the station's own. That one is never pinned: it also corrects, decides and
    writes the record, and whatever is started from it (another model's threads, a child process) would inherit its one
    core. Hyper-threads that share a core with an earlier one are taken last.

    Args:
        threads: of one inference, the one that asks among them; at least 2.
        copy: which of the model's copies, from 0.
        usable: cores that this process may use.
        root: the folder that stands for "/".

    Raises:
        ConfigError: one thread leaves none to pin, or there are fewer cores than all copies' threads so far.
    """
    if threads < 2:
        raise ConfigError(
            "runtime.pins_threads: with one thread ONNX Runtime starts none that could be pinned, and the one that "
            "asks is the station's own; set runtime.threads to 2 or more, or remove pins_threads"
        )
    wanted = threads * (copy + 1)
    if wanted > len(usable):
        copies = f"{copy + 1} copies of {threads}" if copy else str(threads)
        raise ConfigError(
            f"runtime.pins_threads: {copies} threads need {wanted} cores of their own, and this process may use "
            f"{len(usable)} ({', '.join(map(str, sorted(usable)))}); set fewer runtime.threads or runtime.instances, "
            "or remove pins_threads"
        )
    files = DeviceFiles(root)
    ordered = sorted(usable, key=lambda core: (_place_among_siblings(core, usable, files), core))
    return tuple(ordered[copy * threads + 1 : wanted])


def _place_among_siblings(core: int, usable: Collection[int], files: DeviceFiles) -> int:
    """Return 0 for the first hyper-thread of a core that may be used, or where nobody tells."""
    siblings = parse_cores(files.text(f"{CPU}/cpu{core}/topology/thread_siblings_list") or "") or {core}
    return sum(sibling < core for sibling in siblings.intersection(usable))


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
