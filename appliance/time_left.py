"""How long work still takes, by its own pace of late; pure: whoever asks says what time it is."""

from collections import deque

BASIS_S = 2.0
"""So long it must have gone on before anything is said of the rest ..."""

BASIS_SHARE = 0.02
"""... and so far it must have come in the second half of that time, or nothing is said of the rest any more."""

SECONDS, MINUTES = 90.0, 5400.0
"""Up to so many seconds are told in seconds, up to so many in minutes."""


class TimeLeft:
    """Takes how far a piece of work is, and says how long it still takes.

    The pace is that of the second half of the time so far: the first steps of a build are often the quick ones. A
    share that falls is another piece of work, and all begins anew.
    """

    def __init__(self) -> None:
        """Begin without a sign of the work."""
        self._signs = deque[tuple[float, float]]()  # when a share was reached, from the last one before the middle on
        self._began_s = self._now_s = self._share = 0.0

    def take(self, share: float, now_s: float) -> None:
        """Take a sign; called as often as one likes, also without progress.

        Args:
            share: of the work that is done, 0..1; nothing has begun at 0.
            now_s: any clock that only goes forward, seconds.
        """
        share = min(max(share, 0.0), 1.0)
        self._now_s = now_s
        if share < self._share or not self._signs:
            self._signs.clear()
            self._began_s = now_s
        if share > 0.0 and (not self._signs or share > self._share):
            self._signs.append((now_s, share))
        self._share = share
        while len(self._signs) > 1 and self._signs[1][0] <= self._middle_s:
            self._signs.popleft()

    @property
    def _middle_s(self) -> float:
        return (self._began_s + self._now_s) / 2

    @property
    def percent(self) -> int | None:
        """How many hundredths are done, 0..100; None before the first sign."""
        return int(100 * self._share + 1e-9) if self._signs else None

    @property
    def left_s(self) -> float | None:
        """Seconds that the rest takes at this pace; None while there is no basis for that."""
        if not self._signs or self._now_s - self._began_s < BASIS_S:
            return None
        gained = self._share - self._signs[0][1]
        took_s = self._now_s - self._middle_s
        return took_s * (1.0 - self._share) / gained if gained >= BASIS_SHARE else None

    def in_words(self) -> str:
        """Say both as people do, such as `40 %, about 3 min left`; empty before the first sign."""
        return "" if self.percent is None else words_of(self.percent, self.left_s)


def words_of(percent: int, left_s: float | None) -> str:
    """Say how far work is, and how long it still takes if that is known.

    Args:
        percent: done, 0..100.
        left_s: seconds; None if nobody knows.
    """
    return f"{percent} %" if left_s is None else f"{percent} %, {about(left_s)} left"


def about(left_s: float) -> str:
    """Say a time as roughly as it is known.

    Args:
        left_s: seconds, at least 0.
    """
    if left_s < 10:
        return "less than 10 s"
    if left_s < SECONDS:
        return f"about {10 * round(left_s / 10)} s"
    return f"about {round(left_s / 60)} min" if left_s < MINUTES else f"about {left_s / 3600:.1f} h"
