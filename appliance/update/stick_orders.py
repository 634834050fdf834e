"""What a stick says that this device is to have: taken whole or not at all, and kept in the journal."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from appliance.errors import BundleTrustError, ConfigError
from appliance.events import iso
from appliance.update.assignment import AssignedRelease, Assignment
from appliance.update.brought import Brought, check_against_server, note_brought
from appliance.update.download import TargetStore
from appliance.update.floor import Release
from appliance.update.journal import Journal
from appliance.update.kinds import SignedFile
from appliance.update.orders import FindsTargets, Orders
from appliance.update.settings import AgentConfig, AssignmentSection
from appliance.update.slots import SUFFIXES, digest_of
from appliance.update.stick import FolderSource

if TYPE_CHECKING:
    from appliance.ports import Clock

ASSIGNMENTS = "assign/"


@dataclass(frozen=True, slots=True)
class StickOrder:
    """What a stick says that this device is to have, read and checked; nothing of it is taken yet.

    stick: its folder. orders: where its releases come from. assignment: what it says. counted: that, as the floor
    counts it. signed: path of each of its releases -> the file that the kind's own role signed.
    """

    stick: Path
    orders: Orders
    assignment: Assignment
    counted: dict[str, Release]
    signed: dict[str, SignedFile]

    @classmethod
    def read(cls, stick: Path, now: FindsTargets, who: AssignmentSection, config: AgentConfig) -> "StickOrder":
        """Read it from a stick's repository that is up to date, all at one moment.

        Args:
            stick: its folder.
            now: what its repository says.
            who: this device, for which it has an assignment.
            config: the agent's.

        Raises:
            ApplianceError: see stick_import.import_from.
        """
        floor, files = config.make_floor(), FolderSource(stick, "targets", config.limits)
        store = TargetStore(config.files, files, config.reserve_bytes)
        papers = TargetStore(config.stick_orders, files)
        orders = Orders(now, store, papers, floor, who.site, who.device_id, config.allowed)
        assignment, counted, _ = orders.look_up()
        floor.check_releases(counted)
        if config.has_server:
            check_against_server(assignment, floor, who.site)
        signed = {release.path: orders.check(release) for release in assignment.releases}
        return cls(stick, orders, assignment, counted, signed)

    def take(self, config: AgentConfig, clock: "Clock") -> Iterator[str]:
        """Take it: each file first, then the order, so that half of it is none.

        Args:
            config: the agent's.
            clock: what time it is.

        Yields:
            A line for each release, and one at the end.

        Raises:
            ApplianceError: see stick_import.import_from.
        """
        assignment, floor = self.assignment, self.orders.floor
        for release in assignment.releases:
            if _is_in_force(release, config):
                yield f"{release.path} is in force already"
                continue
            yield f"{release.path} {self.orders.fetch_uncounted(release, self.signed[release.path])}"
        chosen = {name: each for file in self.signed.values() for name, each in file.releases.items()}
        now = clock.utc()
        brought = Brought(
            imported_at=iso(now), known_at=iso(floor.time(now)), assignment=assignment, counted=self.counted,
            signed=self.signed,
        )  # fmt: skip
        with closing(Journal(config.journal, clock)) as journal:
            note_brought(journal, brought, floor, chosen | self.counted)
        yield (
            f"assignment {assignment.seq} of {self.stick} is here, checked, rollout {assignment.rollout}: a running "
            "agent begins it now, `appliance agent update` does it without one"
        )


def check_is_for_nobody(stick: Path, offered: Sequence[str], who: AssignmentSection | None) -> None:
    """Refuse a stick that says what devices are to have, and nothing to this one.

    Args:
        stick: its folder.
        offered: the names of all that it offers.
        who: this device; None if it does not say.

    Raises:
        ConfigError: this device does not say which one it is.
        BundleTrustError: the stick is for others.
    """
    papers = [name.removeprefix(ASSIGNMENTS).removesuffix(".json") for name in offered if name.startswith(ASSIGNMENTS)]
    if papers and who is None:
        raise ConfigError(
            f"{stick}: says what devices are to have, and agent.yaml does not say which one this is; add `assignment: "
            "{site, device_id}`, or name the files that are to be taken"
        )
    if papers and who is not None:
        raise BundleTrustError(
            f"{stick}: is for {', '.join(papers[:5])}, and this is {who.site}/{who.device_id}; bring the stick of this "
            "device, or write it anew"
        )


def _is_in_force(release: AssignedRelease, config: AgentConfig) -> bool:
    currents = (config.slots(kind, release.name).current for kind in SUFFIXES if kind == release.kind)
    return any(digest_of(current) == release.sha256 for current in currents)
