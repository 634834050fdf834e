"""Several things at the same time, each in a thread of its own, the first in the caller's."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Result = TypeVar("Result")


def at_once(tasks: Sequence[Callable[[], Result]]) -> list[Result]:
    """Do things at the same time and wait until all of them have ended.

    The first one runs in the caller's thread, so that a single one needs no other, and a signal's exception meets it.

    Args:
        tasks: at least one.

    Returns:
        What each gave, in their order.

    Raises:
        Exception: what the first of them raised that failed; the others have ended, too.
    """
    with ThreadPoolExecutor(max_workers=len(tasks), thread_name_prefix="at-once") as threads:
        others = [threads.submit(task) for task in tasks[1:]]
        first = tasks[0]()
        return [first, *(each.result() for each in others)]
