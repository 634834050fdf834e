"""Which cores an engine's threads get that are to stay on one each."""

import os
from collections.abc import Collection
from pathlib import Path

from appliance.device_files import DeviceFiles
from appliance.device_state import CPU, parse_cores
from appliance.errors import ConfigError


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
    refuse_too_few(threads, copy, usable)
    files = DeviceFiles(root)
    ordered = sorted(usable, key=lambda core: (_place_among_siblings(core, usable, files), core))
    return tuple(ordered[copy * threads + 1 : (copy + 1) * threads])


def refuse_too_few(threads: int, copy: int, usable: Collection[int]) -> None:
    """Make sure that each pinned thread can have a core of its own.

    Args:
        threads: of one inference, the one that asks among them.
        copy: which of the model's copies, from 0; those before have as many threads.
        usable: cores that this process may use.

    Raises:
        ConfigError: there are fewer cores than all copies' threads so far.
    """
    wanted = threads * (copy + 1)
    if wanted > len(usable):
        copies = f"{copy + 1} copies of {threads}" if copy else str(threads)
        raise ConfigError(
            f"runtime.pins_threads: {copies} threads need {wanted} cores of their own, and this process may use "
            f"{len(usable)} ({', '.join(map(str, sorted(usable)))}); set fewer runtime.threads or runtime.instances, "
            "or remove pins_threads"
        )


def _place_among_siblings(core: int, usable: Collection[int], files: DeviceFiles) -> int:
    """Return 0 for the first hyper-thread of a core that may be used, or where nobody tells."""
    siblings = parse_cores(files.text(f"{CPU}/cpu{core}/topology/thread_siblings_list") or "") or {core}
    return sum(sibling < core for sibling in siblings.intersection(usable))
