"""When what judges at the line may change: not while a person holds updates, and only in the maintenance window."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from appliance.bundle.section import Section

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


Minute = Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")]
"""A time of the day such as 22:30."""


class Window(Section):
    """When a release may begin to judge, in UTC: on these days from `begins` to `ends`.

    Where `ends` is not later it is of the next day, and the night belongs to the day on which it begins. Both equal:
    the whole day.
    """

    begins: Minute = "00:00"
    ends: Minute = "00:00"
    days: tuple[Day, ...] = DAYS  # type: ignore[assignment]

    def is_open(self, moment: datetime) -> bool:
        """Return whether a moment (UTC) lies in it."""
        begins, ends, now = (_minutes(text) for text in (self.begins, self.ends, f"{moment:%H:%M}"))
        today, yesterday = DAYS[moment.weekday()], DAYS[moment.weekday() - 1]
        if begins < ends:
            return today in self.days and begins <= now < ends
        return (today in self.days and now >= begins) or (yesterday in self.days and now < ends)


def _minutes(text: str) -> int:
    hours, _, minutes = text.partition(":")
    return 60 * int(hours) + int(minutes)


def why_closed(hold: Any, window: Window, moment: datetime) -> str:
    """Say why nothing may begin to judge now; empty if it may.

    Args:
        hold: who holds updates and since when, as noted; None if nobody does.
        window: of maintenance.
        moment: UTC.
    """
    if hold is not None:
        return f"{hold['by']} holds updates since {hold['at']}; `appliance agent release-hold` ends that"
    if not window.is_open(moment):
        return f"it waits for the maintenance window, {', '.join(window.days)} {window.begins} to {window.ends} UTC"
    return ""
