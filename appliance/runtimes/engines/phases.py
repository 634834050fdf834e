"""How far a builder is, by the phases that it tells of; pure: whoever asks says what time it is."""

from dataclasses import dataclass

QUICK_S = 1.0
"""What is done within so long says nothing of how long the rest takes."""


@dataclass(slots=True)
class _Phase:
    number: int
    parent: str | None
    steps: int
    began_s: float
    done: int = 0


class Phases:
    """Takes the phases of TensorRT's builder and their steps; how far it is never falls.

    Nearly all of the time goes by in phases deep within one step of the outermost, so those count as parts of it. The
    steps before it, and what else happens within it, are over in an instant on any device: they are left out.

    Source:
        TensorRT's documentation of IProgressMonitor; a build of the demo model by TensorRT for RTX 1.7: four of six
        steps within 10 ms, and the phase "Optimizing graph" within 2 ms, before the one that takes long.
    """

    def __init__(self, quick_s: float = QUICK_S) -> None:
        """Begin before the first phase; quick_s: what is over within so many seconds is left out."""
        self._quick_s = quick_s
        self._open: dict[str, _Phase] = {}
        self._begun = 0
        self._began_s: float | None = None
        self._quick = self.share = 0.0

    def start(self, name: str, parent: str | None, steps: int, now_s: float) -> None:
        """Take that a phase begins, within its parent's present step; None or empty: it is an outermost one."""
        self._began_s = now_s if self._began_s is None else self._began_s
        self._begun += 1
        self._open[name] = _Phase(self._begun, parent or None, max(1, steps), now_s)

    def finish(self, name: str) -> None:
        """Take that a phase is over, whether all of its steps were told or not."""
        self._open.pop(name, None)

    def complete(self, name: str, step: int, now_s: float) -> float:
        """Take that a phase's step, counted from 0, is done; returns how far the whole is, 0..1."""
        phase = self._open.get(name)
        if phase is None or self._began_s is None:
            return self.share
        phase.done = min(max(phase.done, step + 1), phase.steps)
        far = max((self._far(each, now_s) for each, its in self._open.items() if its.parent is None), default=0.0)
        if now_s - self._began_s < self._quick_s:
            self._quick = max(self._quick, far)
        elif self._quick < 1.0:
            self.share = max(self.share, (far - self._quick) / (1.0 - self._quick))
        return self.share

    def _far(self, name: str, now_s: float) -> float:
        phase = self._open[name]
        within = [each for each, its in self._open.items() if its.parent == name and its.number > phase.number]
        slow = [each for each in within if now_s - self._open[each].began_s >= self._quick_s]
        part = max((self._far(each, now_s) for each in slow), default=0.0)
        return min(1.0, (phase.done + part) / phase.steps)
