"""Names in a message: of many the first few, so that a person can still read it."""

from __future__ import annotations

from collections.abc import Collection
from itertools import islice

MOST_NAMES = 8


def listed(names: Collection[str]) -> str:
    """Return names with commas between them; of many the first 8, and how many more there are.

    Args:
        names: in the order in which they are told.
    """
    more = len(names) - MOST_NAMES
    return ", ".join(islice(names, MOST_NAMES)) + (f" and {more} more" if more > 0 else "")
