"""The same work on many things, by several threads of this process."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

MOST_AT_ONCE = 8
"""Pictures judged at once, however many cores there are: each takes memory for all of the net's layers."""

Item = TypeVar("Item")
Done = TypeVar("Done")


def in_threads(work: Callable[[Item], Done], items: Sequence[Item], at_once: int) -> Iterator[Done]:
    """Do something with each item, with so many at once, and give what comes of it in their order.

    Args:
        work: may be done by several threads.
        items: in order.
        at_once: threads.
    """
    with ThreadPoolExecutor(at_once) as threads:
        yield from threads.map(work, items)


def usable_cores() -> int:
    """Return how many processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1


def usual_at_once(threads: int = 1) -> int:
    """Return how many pictures are judged at once where nobody waits for a time per picture.

    Args:
        threads: processor threads for each of them.
    """
    return max(1, min(MOST_AT_ONCE, usable_cores() // threads))
