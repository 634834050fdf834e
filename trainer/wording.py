"""Figures in words: what could not be measured is said to be not known, and is no number."""

from __future__ import annotations

import math

from trainer.intervals import Interval, Share

NOT_KNOWN = "not known"


def decimal(value: float, digits: int) -> str:
    """Return a figure as it is, with so many digits behind the point."""
    return NOT_KNOWN if math.isnan(value) else f"{value:.{digits}f}"


def percent(value: float, digits: int = 2) -> str:
    """Return a ratio (0..1) in percent, with so many digits behind the point."""
    return NOT_KNOWN if math.isnan(value) else f"{100 * value:.{digits}f} %"


def between(bounds: Interval | Share, digits: int = 2) -> str:
    """Return the bounds of a ratio in percent, with so many digits behind the point."""
    return NOT_KNOWN if math.isnan(bounds.low) else f"{100 * bounds.low:.{digits}f} .. {100 * bounds.high:.{digits}f} %"


def within(bounds: Interval, digits: int) -> str:
    """Return the bounds of a figure as they are, with so many digits behind the point."""
    return NOT_KNOWN if math.isnan(bounds.low) else f"{bounds.low:.{digits}f} .. {bounds.high:.{digits}f}"


def at_its_limit(limit: float, digits: int = 3) -> str:
    """Return at which limit a figure is, to be put behind it; empty if none is known."""
    return "" if math.isnan(limit) else f" at {limit:.{digits}f}"
