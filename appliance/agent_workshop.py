"""Building and proving away from the line and from the agent: a child process with limits of time and memory."""

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from appliance.errors import (
    ApplianceError,
    BundleProofError,
    BundleSlowError,
    ConfigError,
    RuntimeFault,
    StorageError,
    exit_code,
)
from appliance.runtimes.engines.child import Cancelled, TookTooLong, run_child
from appliance.runtimes.engines.progress import BuildProgress
from appliance.update.judging import Proved
from appliance.update.kinds import InterruptedWorkError
from appliance.update.settings import WorkSection
from appliance.update.work_progress import WorkProgress

log = logging.getLogger(__name__)

CHILD = "appliance.agent_child"
BESIDE = "--beside-the-line"
_KINDS: tuple[type[ApplianceError], ...] = (BundleProofError, BundleSlowError, ConfigError, StorageError, RuntimeFault)


@dataclass(frozen=True, slots=True)
class ChildWorkshop:
    """Implements update.judging.Workshop.

    station: its configuration. current: name -> what its slots start. is_wanted: asked while a child works; True ends
    it. child: its module. meanwhile: called often while it works. kind: of its updates. progress: told how far the
    child is.
    """

    station: Path
    current: Callable[[str], Path]
    limits: WorkSection
    is_wanted: Callable[[], bool]
    child: str = CHILD
    meanwhile: Callable[[], None] = lambda: None
    kind: str = "model"
    progress: WorkProgress | None = None

    def build(self, name: str, release: Path) -> str:
        """Make this device's engine of a bundle."""
        return str(self._work("build", name, release, self.limits.build_s)["words"])

    def prove(self, name: str, release: Path) -> Proved:
        """Prove a release for every product that uses its name, behind the line's own work.

        What is fast enough there is fast enough in its place. Only what is not, or does not come to an end within half
        of the time, is measured at the line's priority, and does not rest while the line inspects.
        """
        try:
            found = self._work("prove", name, release, self.limits.prove_s / 2)
        except (BundleSlowError, TookTooLong) as error:
            log.info("%s is proved again at the line's priority: %s", name, error)
            found = self._work("prove", name, release, self.limits.prove_s / 2, BESIDE)
        return Proved(str(found["words"]), float(found["p99_ms"]), float(found["budget_ms"]))

    def _work(self, task: str, name: str, release: Path, limit_s: float, *more: str) -> dict[str, Any]:
        arguments = [
            task, *more, "--config", str(self.station), "--release", str(release),
            "--current", str(self.current(name)), "--memory-mb", str(self.limits.memory_mb),
            "--parent", str(os.getpid()),
        ]  # fmt: skip
        try:
            with self._told(task, name) as tell:
                found = run_child(
                    self.child,
                    arguments,
                    limit_s=limit_s,
                    on_progress=tell,
                    is_cancelled=self.is_wanted,
                    is_apart=BESIDE in more,
                )
        except OSError as error:
            raise StorageError(
                f"{task} cannot begin: {error.strerror}; it is done again, look at memory and disk"
            ) from error
        except Cancelled as error:
            raise InterruptedWorkError(f"{task} was broken off; it is done again") from error
        if "refused" not in found:
            return found
        kind = next((kind for kind in _KINDS if _code(kind) == found["code"]), RuntimeFault)
        raise kind(str(found["refused"]))

    @contextmanager
    def _told(self, task: str, name: str) -> Iterator[Callable[[float], None]]:
        """Return what is told how far the child is, for the log and for who looks at the agent."""
        lines, seen = BuildProgress(f"{task} {name}"), self.progress

        def tell(share: float) -> None:
            self.meanwhile()
            if line := lines.line(share, time.monotonic()):
                log.info("%s", line)
            if seen is not None:
                seen.take(self.kind, name, task.upper(), share)

        if seen is not None:
            seen.begin()
        try:
            yield tell
        finally:
            if seen is not None:
                seen.end()


def _code(kind: type[ApplianceError]) -> int:
    return exit_code(kind(""))
