"""The same work on many things, by several threads of this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

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
