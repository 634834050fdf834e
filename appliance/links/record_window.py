"""Which records are in the client's hands, and up to where the broker has them: pure bookkeeping."""

from dataclasses import dataclass, field

WINDOW = 20
FIRST_PAUSE_NS = 1_000_000_000
LONGEST_PAUSE_NS = 30_000_000_000


@dataclass(frozen=True, slots=True, eq=False)
class RecordToken:
    """One sending of a record, in its turn or as a replay."""

    seq: int
    is_replay: bool = False


@dataclass(slots=True)
class RecordWindow:
    """At most `size` records without the broker's answer; after a refusal none at all for a while.

    Everything below the lowest record that was sent in its turn is known to have arrived: sending starts over at the
    first that is not. From there on each record counts only if all before it have been answered for.

    counts_upto: whether taken() tells how far the broker has them; if not, nothing is remembered for it.
    """

    size: int = WINDOW
    counts_upto: bool = True
    _unanswered: int = 0
    _before_first: int | None = None
    _upto: int = 0
    _taken: set[int] = field(default_factory=set)
    _resume_ns: int | None = None
    _pause_ns: int = FIRST_PAUSE_NS

    def may_send(self) -> bool:
        """Whether one more record may be handed over."""
        return self._resume_ns is None and self._unanswered < self.size

    def sent(self, token: RecordToken) -> None:
        """Note that a record has gone out."""
        self._unanswered += 1
        if token.is_replay or (self._before_first is not None and token.seq > self._before_first):
            return
        if self._before_first is not None:  # what has been taken further up counts again once the way there is taken
            self._taken.update(range(self._before_first + 1, self._upto + 1))
        self._before_first = self._upto = token.seq - 1

    def taken(self, token: object) -> int | None:
        """Note that the broker has a record.

        Returns:
            The number up to which the broker has every record, if that is news; a record that was sent out of turn
            (a replay) never moves it.
        """
        record = self._answered(token)
        self._pause_ns = FIRST_PAUSE_NS
        if not self.counts_upto or record.is_replay or record.seq <= self._upto:
            return None
        self._taken.add(record.seq)
        before = self._upto
        while self._upto + 1 in self._taken:
            self._upto += 1
            self._taken.remove(self._upto)
        return self._upto if self._upto != before else None

    def refused(self, token: object, now_ns: int) -> bool:
        """Note that the broker did not take a record: nothing more is sent until the pause is over.

        Returns:
            Whether the pause begins with this record.
        """
        self._answered(token)
        if self._resume_ns is not None:
            return False
        self._resume_ns = now_ns + self._pause_ns
        self._pause_ns = min(self._pause_ns * 2, LONGEST_PAUSE_NS)
        return True

    def may_resume(self, now_ns: int) -> bool:
        """Whether the pause after a refusal is over, so that restart() may let sending start over."""
        return self._resume_ns is not None and now_ns >= self._resume_ns and not self._unanswered

    def restart(self) -> None:
        """Let sending start over from the first record that is not acknowledged."""
        self._before_first = None
        self._upto = self._unanswered = 0
        self._taken.clear()
        self._resume_ns = None

    def _answered(self, token: object) -> RecordToken:
        if not isinstance(token, RecordToken):
            raise RuntimeError(f"{token!r} is no token of this window")
        self._unanswered -= 1
        return token
