"""What a USB stick offers: the same checks, the same store and the same floor as for what comes from the server."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from appliance.errors import ReplayError, StorageError
from appliance.update.assignment import assignment_name
from appliance.update.brought import REPOSITORY
from appliance.update.download import TargetStore
from appliance.update.floor import Floor
from appliance.update.lock import held_if_free
from appliance.update.repository import Target, TrustedRepository
from appliance.update.settings import AgentConfig
from appliance.update.stick import FolderSource
from appliance.update.stick_orders import ASSIGNMENTS, StickOrder, check_is_for_nobody

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
        StorageError: another import runs, or the disk said no, or has too little space.
        ConfigError: no root is named for sticks, or it is none.
    """
    with held_if_free(config.state / ".import.lock") as is_free:
        if not is_free:
            raise StorageError(
                f"another import runs in {config.state}; wait until it has ended, and repeat this one with its stick"
            )
        yield from _import_alone(stick, names, config, clock)


def _import_alone(stick: Path, names: Sequence[str], config: AgentConfig, clock: "Clock") -> Iterator[str]:
    repository, floor, who, order = stick_repository(stick, config, clock), config.make_floor(), config.assignment, None
    with repository.up_to_date() as now:
        if not names and who is not None and now.offers(assignment_name(who.site, who.device_id)):
            order = StickOrder.read(stick, now, who, config)
        else:
            offered = [] if names else now.find_all(may_expire=ASSIGNMENTS)
            check_is_for_nobody(stick, [target.name for target in offered], who)
            targets = [now.find(name) for name in names] if names else newest(offered, floor)
    if order is not None:
        yield from order.take(config, clock)
        return
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
