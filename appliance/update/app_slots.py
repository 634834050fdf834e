"""Two slots for the appliance's own program: which is started, which is on trial; what the disk says is the truth.

Every function may be called again, and after a kill at any step does the rest. appliance.launch reads what is written
here, counts the starts of a trial, and says in a file for each unit what came of them.
"""

import fcntl
import logging
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from appliance import launch
from appliance.errors import StorageError
from appliance.launch import CONFIRMED, FAILED, HEALTHY, PROVED, SLOT, SLOTS, STARTS, TRIAL, Slot, Starts, Trial
from appliance.update.durable import in_words

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Health:
    """How a trial stands: it waits for something, or was well for long enough, or failed.

    reason: in words. is_untried: only a first start of some unit is missing, so that nothing is known against it.
    """

    state: Literal["waits", "healthy", "failed"]
    reason: str
    is_untried: bool = False


@dataclass(frozen=True, slots=True)
class AppSlots:
    """The slots of the application; one process works on them.

    folder: for these alone. units: name -> the file in which its launcher counts; each must be well. tries: starts
    that each unit gets.
    """

    folder: Path
    units: Mapping[str, Path]
    tries: int = 3

    def in_force(self) -> str:
        """Return the SHA-256 of the package that is started when nothing is tried; empty for the image's own."""
        slot = self.read(self.current())
        return slot.sha256 if slot else ""

    def current(self) -> str:
        """Return the slot that is started; empty if none is."""
        return launch.current_slot(self.folder)

    def keeps(self, sha256: str) -> bool:
        """Return whether a release could be started; the image's own (empty) always can."""
        return not sha256 or bool(self.holder(sha256))

    def holder(self, sha256: str) -> str:
        """Return the slot that has a release which was proved; empty if none has."""
        return next((name for name in SLOTS if (slot := self.read(name)) and slot.sha256 == sha256
                     and slot.state in (PROVED, CONFIRMED)), "")  # fmt: skip

    def spare(self) -> str:
        """Return the slot that may be made anew."""
        return "b" if self.current() == "a" else "a"

    def read(self, name: str) -> Slot | None:
        """Return what a slot is; None if it is nothing."""
        if name not in SLOTS:
            return None
        try:
            return launch.read_note(launch.slot_note(self.folder, name), Slot, SLOT)
        except (OSError, ValueError) as error:
            log.warning("slot %s of the application counts as empty: %s", name, error)
            return None

    def trial(self) -> Trial | None:
        """Return what is to be tried; None if nothing is."""
        try:
            return launch.read_note(self.folder / "trial.json", Trial, TRIAL)
        except (OSError, ValueError) as error:
            log.warning("no trial of the application: %s", error)
            return None

    def begin_trial(self, sha256: str) -> None:
        """Let each unit start a proved release, a counted number of times, and ask for a restart of all, once.

        Args:
            sha256: of the package that a slot was made from.

        Raises:
            StorageError: the disk refuses, or no slot has it.
        """
        name = self.holder(sha256)
        if not name:
            raise StorageError(f"{self.folder}: no slot has the release {sha256[:12]} proved; it is begun anew")
        if name == self.current():
            return
        trial = self.trial()
        with in_words(self.folder):
            if trial is None or (trial.slot, trial.sha256) != (name, sha256):
                trial = Trial(secrets.token_hex(8), name, sha256, self.tries)
                launch.write_note(self.folder / "trial.json", trial, TRIAL)
            self._ask_for_restart(f"try {trial.id}")

    def health(self, sha256: str) -> Health:
        """Return how a release on trial stands, after what every unit's launcher wrote down.

        Args:
            sha256: of its package.
        """
        if self.in_force() == sha256:
            return Health("healthy", "it is in force")
        trial = self.trial()
        if trial is None or trial.sha256 != sha256:
            return Health("failed", f"{self.folder / 'trial.json'} no longer says that it is on trial; check the disk")
        stands = [_health_of(unit, path, trial) for unit, path in self.units.items()]
        stands.sort(key=lambda each: each.is_untried)
        for state in ("failed", "waits"):
            if found := [health for health in stands if health.state == state]:
                return found[0]
        return Health("healthy", f"{', '.join(self.units)}: well for as long as asked")

    def confirm(self, sha256: str) -> None:
        """Let a release on trial be what is started from now on, however often; it goes on as it runs.

        Args:
            sha256: of its package.

        Raises:
            StorageError: the disk refuses.
            RuntimeError: it is not healthy: a wrong order.
        """
        if self.in_force() != sha256:
            if (health := self.health(sha256)).state != "healthy":
                raise RuntimeError(f"{sha256[:12]} cannot be confirmed: {health.reason}")
            name = self.holder(sha256)
            with in_words(self.folder):
                self._mark(name, CONFIRMED)
                self._point_to(name)
        self._end_trial()

    def roll_back(self, previous: str) -> bool:
        """Let another release, or the image's own program, be what is started; ask for a restart if it does not run.

        Args:
            previous: SHA-256 of its package; empty for the image's own.

        Returns:
            False if no slot has it; nothing has changed then but that nothing is on trial.

        Raises:
            StorageError: the disk refuses.
        """
        self._end_trial()
        if not self.keeps(previous):
            return False
        target = self.holder(previous) if previous else ""
        with in_words(self.folder):
            self._point_to(target)
            for name in SLOTS:
                if name != target and (slot := self.read(name)) and slot.state == CONFIRMED:
                    self._mark(name, PROVED)  # no way out for a launcher that finds the other one broken
        if self.is_other_running(previous):
            self._ask_for_restart(f"back to {previous or 'the image'}")
        return True

    def is_other_running(self, sha256: str) -> bool:
        """Return whether some unit still runs another slot than that of a release."""
        return any(self.is_running(name) for name in SLOTS if name != (self.holder(sha256) if sha256 else ""))

    def is_running(self, name: str) -> bool:
        """Return whether a program of a slot runs: it holds the slot's lock, as its launcher did."""
        try:
            with launch.held(self.folder / name, fcntl.LOCK_EX):
                return False
        except BlockingIOError:
            return True
        except OSError:  # there is none
            return False

    def forget(self, sha256: str) -> None:
        """Make a slot with this release nothing, unless it is what is started.

        Raises:
            StorageError: the disk refuses.
        """
        for name in SLOTS:
            if name != self.current() and (slot := self.read(name)) and slot.sha256 == sha256:
                self._remove(launch.slot_note(self.folder, name))

    def _mark(self, name: str, state: str) -> None:
        slot = self.read(name)
        if slot is not None and slot.state != state:
            launch.write_note(launch.slot_note(self.folder, name), replace(slot, state=state), SLOT)

    def _point_to(self, name: str) -> None:
        """Replace `current`, which is at no moment missing; an empty name removes it."""
        current, draft = self.folder / "current", self.folder / ".current.part"
        if not name:
            self._remove(current)
        elif self.current() != name:
            draft.unlink(missing_ok=True)
            draft.symlink_to(name)
            draft.replace(current)
            launch.sync(self.folder)

    def _end_trial(self) -> None:
        self._remove(self.folder / "trial.json")

    def _ask_for_restart(self, words: str) -> None:
        """Write the file that systemd watches; the same words are said once."""
        path = self.folder / "restart"
        with in_words(self.folder):
            if path.exists() and path.read_text(encoding="ascii") == words:
                return
            draft = self.folder / ".restart.part"
            with draft.open("w", encoding="ascii") as file:
                file.write(words)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
            launch.sync(self.folder)

    def _remove(self, path: Path) -> None:
        with in_words(self.folder):
            if os.path.lexists(path):
                path.unlink()
                launch.sync(path.parent)


def _health_of(unit: str, path: Path, trial: Trial) -> Health:
    try:
        starts = launch.read_note(path, Starts, STARTS)
    except (OSError, ValueError) as error:
        return Health("failed", f"{unit}: its starts cannot be counted ({error}); check the disk")
    if starts is None or starts.trial != trial.id:
        words = f"{unit} has not been started with it yet; restart the unit if that does not come"
        return Health("waits", words, is_untried=True)
    is_there = starts.boot_id == launch.boot_id() and Path(f"/proc/{starts.pid}").exists()
    if starts.phase == HEALTHY and is_there:
        return Health("healthy", unit)
    why = starts.why or ("it is being watched" if is_there else "its process is gone")
    if starts.tries_left <= 0 and (starts.phase == FAILED or not is_there):
        return Health("failed", f"{unit}: {why}, and no start is left; look at the unit's log")
    return Health("waits", f"{unit}: {starts.phase}, {why}, {starts.tries_left} starts left")
