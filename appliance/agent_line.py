"""The inspecting process beside the agent: asked through the station's broker, read in its ledger."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

from appliance.agent_station import Station
from appliance.errors import ConfigError, DeliveryError
from appliance.events import ReleaseKind
from appliance.links.question import ask
from appliance.stores.observed import ObservedLedger
from appliance.update.line import Beside, Candidate, Gate, LineRefusedError, SeenPart
from appliance.update.slots import SUFFIXES, JudgingKindName

AGENT = "agent"
RUNNING = ("loading", "running")
"""What `status` says of a shadow that has not ended."""

ANSWER_S = 30.0
LOADING_S = 120.0
"""A release is loaded, and looks at each golden picture, before the line answers."""

BUSY_S = 300.0
"""So long, and without a break, a station may answer that it is to be tried again; then it counts as a refusal."""


class MqttLine:
    """Implements update.line.Line: commands to the station, and its ledger.

    Of a model, or recipe, that several products run, all of them change; only the one in force can be judged beside.
    """

    def __init__(
        self, station: Station, folder: Path, kind: JudgingKindName = "model", busy_s: float = BUSY_S,
        on_step: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        """Take what is asked of whom.

        Args:
            station: the station.
            folder: of the kind's slots.
            kind: the kind.
            busy_s: see BUSY_S.
            on_step: called often while an answer is waited for, which has a limit of its own.

        Raises:
            ConfigError: the station cannot be asked.
        """
        self._station, self._folder, self._suffix = station, folder, SUFFIXES[kind]
        self._key: ReleaseKind = "bundle" if kind == "model" else "recipe"
        self._settings, self._busy_s, self._on_step = station.mqtt(), busy_s, on_step
        self._busy_since: dict[str, float] = {}

    def shadow(self, candidate: Candidate) -> None:
        """Let a release judge beside the product in force."""
        status = self._status()
        self._judging(status)
        product = str(status.get("product"))
        if product not in self._products(candidate.name):
            raise DeliveryError(
                f"product {product} is in force and does not run {candidate.name}; goes on when one does"
            )
        self._ask("shadow", product, **self._named(candidate))

    def end_shadow(self, name: str) -> None:
        """End that; not what judges beside for another name."""
        shadow = self._shadow(name)
        if shadow.get("state") in RUNNING:
            self._ask("shadow", str(shadow["product"]), stop=True)

    def shadow_of(self, name: str) -> Beside:
        """Return what judges beside, or ended with a problem."""
        shadow = self._shadow(name)
        problem = str(shadow.get("problem") or "")
        if shadow.get("state") not in RUNNING and not problem:
            return Beside()
        skipped, is_unsound = int(shadow.get("skipped", 0)), shadow.get("unsound") is True
        return Beside(str(shadow.get("candidate")), problem, skipped, is_unsound)

    def decide_with(self, candidate: Candidate, *, is_rollback: bool = False, is_trial: bool = False) -> None:
        """Let a release judge from the next part on, for each product that runs its name."""
        more = {"rollback": True} if is_rollback else {}
        more |= {"keeps_former": True} if is_trial else {}
        for product in self._products(candidate.name):
            self._ask("release", product, **self._named(candidate), **more)

    def in_force(self, name: str) -> str:
        """Return what judges every product of a name; empty if they differ."""
        judging = self._judging(self._status())
        digests = {str(judging.get(product, {}).get("digest", "")) for product in self._products(name)}
        return digests.pop() if len(digests) == 1 else ""

    def last_seq(self) -> int:
        """Return the number of the ledger's newest record."""
        with closing(self._ledger()) as ledger:
            return ledger.last_seq()

    def observations(self, gate: Gate, sha256: str, since_seq: int) -> Iterator[SeenPart]:
        """Return the parts after since_seq that a release judged, or judged beside, in order."""
        with closing(self._ledger()) as ledger:
            if gate == "shadow":
                found = ledger.judged_beside_by(sha256, since_seq)
            else:
                found = ledger.judged_by(sha256, since_seq, self._key)
            for part in found:
                yield SeenPart(**asdict(part))

    def tell(self, event: Mapping[str, Any]) -> None:
        """Have a step of an update written into the ledger."""
        self._answered("update-event", dict(event))

    def _ledger(self) -> ObservedLedger:
        return ObservedLedger(self._station.config.ledger.path)

    def _products(self, name: str) -> list[str]:
        current = self._folder / name / f"current{self._suffix}"
        found = self._station.products(current)
        if not found:
            raise ConfigError(f"{self._station.document.path}: no product's `{self._key}` is {current}; name it there")
        return found

    def _named(self, candidate: Candidate) -> dict[str, str]:
        return {self._key: str(candidate.path), "sha256": candidate.sha256}

    def _judging(self, status: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return what of the kind judges each product; a station of an older version knows nothing of recipes."""
        judging = status.get(f"{self._key}s")
        if not isinstance(judging, dict):
            raise DeliveryError(
                f"the station does not say which {self._key}s are in force; install a newer version there"
            )
        return judging

    def _status(self) -> Mapping[str, Any]:
        return self._answered("status", {})

    def _shadow(self, name: str) -> Mapping[str, Any]:
        shadow = self._status().get("shadow")
        return shadow if isinstance(shadow, dict) and shadow.get("product") in self._products(name) else {}

    def _ask(self, command: str, product: str, **arguments: Any) -> None:
        self._answered(command, {"product": product, "by": AGENT, **arguments})

    def _answered(self, command: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        limit_s = LOADING_S if command in ("release", "shadow") else ANSWER_S
        reply = ask(self._settings, command, arguments, limit_s, self._on_step)
        if not reply.ok and reply.result.get("try_again") is True and self._is_patient(command):
            raise DeliveryError(f"the station is busy, {command} is asked again: {reply.error}")
        self._busy_since.pop(command, None)
        if not reply.ok:
            raise LineRefusedError(f"the station refuses {command}: {reply.error}")
        return reply.result

    def _is_patient(self, command: str) -> bool:
        now = time.monotonic()
        return now - self._busy_since.setdefault(command, now) < self._busy_s
