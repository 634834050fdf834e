"""What a USB stick offers: the same checks, the same store and the same floor as for what comes from the server."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from appliance.errors import ReplayError
from appliance.update.assignment import assignment_name
from appliance.update.brought import REPOSITORY
from appliance.update.download import TargetStore
from appliance.update.floor import Floor
from appliance.update.repository import Target, TrustedRepository
from appliance.update.settings import AgentConfig
from appliance.update.stick import FolderSource
from appliance.update.stick_orders import ASSIGNMENTS, check_is_for_nobody, import_orders

if TYPE_CHECKING:
    from appliance.ports import Clock  # which brings numpy into a process that needs none of it

log = logging.getLogger(__name__)


def stick_repository(stick: Path, config: AgentConfig, clock: "Clock") -> TrustedRepository:
    """Return the repository on a stick; nothing is read yet.

    Raises:
        ConfigError: the configuration names no root for sticks.
    """
    return TrustedRepository(
        REPOSITORY,
        FolderSource(stick, "metadata", config.limits),
        config.stick_metadata,
        root=config.read_stick_root(),
        floor=config.make_floor(),
        clock=clock,
        elsewhere=[config.files, config.metadata],
    )


def import_from(stick: Path, names: Sequence[str], config: AgentConfig, clock: "Clock") -> Iterator[str]:
    """Bring the stick's metadata up to date and take its files; what is here already is not read again.

    Args:
        stick: its folder, with metadata/ and targets/.
        names: TUF paths; none: what it says that this device is to have, which becomes the device's orders. Of a stick
            that says nothing to any device: all that it offers, and of releases the newest.
        config: the agent's.
        clock: what time it is.

    Yields:
        A line for each file that is whole, right and on disk, and one at the end.

    Raises:
        ReplayError: the stick is older than this device has seen, or a named release is.
        BundleTrustError: it is not signed as it must be, has expired, has other files than were signed, or is for
            other devices.
        DeliveryError: it is not there, damaged or was pulled out; the next call goes on.
        StorageError: the disk said no, or has too little space.
        ConfigError: no root is named for sticks, or it is none.
    """
    repository, floor = stick_repository(stick, config, clock), config.make_floor()
    who = config.assignment
    if not names and who is not None and repository.offers(assignment_name(who.site, who.device_id)):
        yield from import_orders(stick, repository, who, config, clock)
        return
    offered = [] if names else repository.find_all(may_expire=ASSIGNMENTS)
    check_is_for_nobody(stick, [target.name for target in offered], who)
    targets = [*repository.find_each(names)] if names else newest(offered, floor)
    store = TargetStore(config.files, FolderSource(stick, "targets", config.limits), config.reserve_bytes)
    for target in targets:
        path = store.fetch(target)
        floor.rise_to_releases(target.releases)
        yield f"{target.name} {path}"
    yield f"{len(targets)} files of {stick} are here, checked"


def newest(targets: Sequence[Target], floor: Floor) -> list[Target]:
    """Leave out releases that are older than others of their kind and name, here or on this device."""
    highest: dict[str, int] = {}
    for target in targets:
        for counted, release in target.releases.items():
            highest[counted] = max(release.seq, highest.get(counted, 0))
    taken = []
    for target in targets:
        if any(release.seq < highest[counted] for counted, release in target.releases.items()):
            log.info("%s is left out: the stick has a newer one", target.name)
            continue
        try:
            floor.check_releases(target.releases)
        except ReplayError as error:
            log.warning("%s is left out: %s", target.name, error)
            continue
        taken.append(target)
    return taken
