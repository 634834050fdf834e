"""Alarms at a bearable rate: the first of a kind at once, then one a second that tells how many there were."""

from dataclasses import dataclass, field

INTERVAL_NS = 1_000_000_000


@dataclass(slots=True)
class _Kind:
    said_ns: int
    count: int = 0
    text: str = ""


@dataclass(slots=True)
class AlarmPace:
    """Decides which alarms are said now; pure."""

    _kinds: dict[str, _Kind] = field(default_factory=dict)

    def ask(self, name: str, text: str, now_ns: int) -> int:
        """Return how many alarms of this kind to announce now; 0 if it must wait for flush()."""
        kind = self._kinds.get(name)
        if kind is None or (kind.count == 0 and now_ns - kind.said_ns >= INTERVAL_NS):
            self._kinds[name] = _Kind(now_ns)
            return 1
        kind.count += 1
        kind.text = text
        return 0

    def flush(self, now_ns: int) -> list[tuple[str, str, int]]:
        """Return the alarms whose second is over: name, the last text, how many."""
        due = [
            (name, kind.text, kind.count)
            for name, kind in self._kinds.items()
            if kind.count and now_ns - kind.said_ns >= INTERVAL_NS
        ]
        for name, _, _ in due:
            self._kinds[name] = _Kind(now_ns)
        return due
