"""Who is told when: chosen by a hash of rollout and device, so that it comes out the same everywhere."""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Sequence

from appliance.errors import ConfigError
from trainer.release.assignment import Ring
from trainer.rollout.fleet import Fleet, Placed


def share_out(fleet: Fleet, rollout: str) -> dict[str, Ring]:
    """Give every device of a fleet its ring.

    Args:
        fleet: the devices; those with `ring: out` get none.
        rollout: its name; another one chooses other devices first, so that not always the same ones take the risk.

    Returns:
        Device's id -> ring.

    Raises:
        ConfigError: Too few devices are named for the lab.
    """
    taking = [placed for placed, _ in fleet.taking()]
    rings: dict[str, Ring] = {placed.device_id: ring for placed, ring in fleet.taking() if ring}
    in_lab, least = _count(rings, "lab"), fleet.rings.lab.least_devices
    if in_lab < least:
        raise ConfigError(
            f"{fleet.path}: {in_lab} devices have `ring: lab`, and {least} must try a release before any line does; "
            "give it to devices that judge no real parts"
        )
    for placed in _line_ring(fleet, rollout, taking, rings):
        rings[placed.device_id] = "line"
    free = sorted(
        (placed for placed in taking if placed.device_id not in rings), key=lambda placed: _by(rollout, placed)
    )
    wanted = math.ceil(len(taking) * fleet.rings.quarter.percent / 100)
    before = sum(_count(rings, ring) for ring in ("lab", "line", "quarter"))
    for placed in free[: max(0, wanted - before)]:
        rings[placed.device_id] = "quarter"
    return {placed.device_id: rings.get(placed.device_id, "all") for placed in taking}


def chance(rollout: str, name: str) -> int:
    """Return a number from 0 to 2^64 - 1 that only rollout and name decide."""
    return int.from_bytes(hashlib.sha256(f"{rollout}\n{name}".encode()).digest()[:8], "big")


def _line_ring(fleet: Fleet, rollout: str, taking: Sequence[Placed], rings: dict[str, Ring]) -> list[Placed]:
    """Take one line of each site, then further lines until there are enough devices."""
    lines: dict[tuple[str, str], list[Placed]] = defaultdict(list)
    for placed in taking:
        if placed.device_id not in rings:
            lines[placed.site, placed.line].append(placed)
    order = sorted(lines, key=lambda place: (chance(rollout, "/".join(place)), place))
    first = {site: (site, line) for site, line in reversed(order)}
    terms = fleet.rings.line
    wanted = max(terms.least_devices, math.ceil(len(taking) * terms.least_percent / 100)) - _count(rings, "line")
    found: list[Placed] = []
    for place in [*first.values(), *(place for place in order if place not in first.values())]:
        if first.get(place[0]) == place or len(found) < wanted:
            found += lines[place]
    return found


def _count(rings: dict[str, Ring], ring: Ring) -> int:
    return sum(found == ring for found in rings.values())


def _by(rollout: str, placed: Placed) -> tuple[int, str]:
    return chance(rollout, placed.device_id), placed.device_id
