"""A bar on stderr for whatever takes so long that a person begins to wonder."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

from rich.console import Console
from rich.progress import Progress

SHOWN_AFTER_S = 2.0

console = Console(stderr=True, highlight=False, markup=False)
"""Where bars and warnings go, so that stdout holds nothing but results. No markup: names of files, groups and classes
are the data's, and a bracket in one is a bracket."""

results = Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else 120)
"""Where results go."""

Item = TypeVar("Item")


def tracked(
    items: Iterable[Item], name: str, total: int | None = None, shown_after_s: float = SHOWN_AFTER_S
) -> Iterator[Item]:
    """Give items one after the other, and show how far that is.

    Args:
        items: what is gone through.
        name: what is being done, in a word or two.
        total: how many there are, if the items do not tell.
        shown_after_s: seconds until the bar appears; what is done by then shows none.

    Yields:
        The items.
    """
    began_ns = time.monotonic_ns()
    bar = Progress(console=console)
    task = bar.add_task(name, total=len(items) if isinstance(items, Sized) else total)
    is_shown = False
    try:
        for item in items:
            if not is_shown and time.monotonic_ns() - began_ns >= shown_after_s * 1e9:
                is_shown = True
                bar.start()
            yield item
            bar.advance(task)
    finally:
        if is_shown:
            bar.stop()
