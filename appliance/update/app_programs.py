"""Which programs of the application's slot run, and for how long: what a trial and WATCH are judged by."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from pathlib import Path
from typing import Any

from appliance import launch
from appliance.events import iso, moment_of

PROC = Path("/proc")
STEP_S = 60.0
"""So often is the time written down; between two looks, twice as much counts at most, whatever a clock is set to."""


def programs_of(folder: Path) -> dict[str, int]:
    """Return what a launcher started from a slot and still runs: its arguments (JSON) -> the process.

    Args:
        folder: the slot's.

    Source:
        proc_pid_cmdline(5); the command is that of appliance.launch.
    """
    found = {}
    for path in PROC.glob("[0-9]*"):
        try:
            words = (path / "cmdline").read_bytes().decode("utf-8", "replace").split("\0")[:-1]
        except OSError:  # it has ended
            continue
        if words[1:4] == ["-I", "-m", "appliance"] and Path(words[0]).parent.resolve() == (folder / "bin").resolve():
            found[json.dumps(words[4:])] = int(path.name)
    return found


@dataclass(frozen=True, slots=True)
class Looked:
    """What a state has seen so far; kept in the update's row, so that a restart forgets nothing.

    at: when the time was written down, UTC. well_s: while somebody looked, and all was well. away_s: since something
    was missing. restarts: of a program, while the machine ran on. boot, programs: as they were seen last.
    """

    at: str
    is_well: bool = True
    well_s: float = 0.0
    away_s: float = 0.0
    restarts: int = 0
    boot: str = ""
    programs: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, kept: Mapping[str, Any] | None, now: datetime) -> "Looked":
        """Return what a row has; of none, or one of another version, the beginning."""
        names = {each.name for each in fields(cls)}
        return cls(**kept) if kept is not None and set(kept) == names else cls(iso(now))

    def kept(self) -> dict[str, Any]:
        """Return what goes into the row."""
        return {each.name: getattr(self, each.name) for each in fields(self)}

    def after(self, now: datetime, limit_s: float, programs: Mapping[str, int], *, is_well: bool) -> "Looked":
        """Return what was seen after one more look.

        Args:
            now: UTC.
            limit_s: what the time is compared with; a small part of it is not written down at once.
            programs: those that run.
            is_well: whether the time counts as such, else as away.
        """
        passed, step = (now - moment_of(self.at)).total_seconds(), min(STEP_S, limit_s / 10)
        is_due = abs(passed) >= step or is_well != self.is_well
        counted = min(max(passed, 0.0), 2 * step) if is_due else 0.0
        boot = launch.boot_id()
        changed = sum(self.programs.get(name, pid) != pid for name, pid in programs.items())
        return Looked(
            at=iso(now) if is_due else self.at,
            is_well=is_well,
            well_s=self.well_s + (counted if is_well else 0.0),
            away_s=0.0 if is_well else self.away_s + counted,
            restarts=self.restarts + (changed if boot == self.boot else 0),
            boot=boot,
            programs={**self.programs, **programs},
        )
