"""The fleet file: sites, lines, devices with their public keys, and what each ring must show."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from appliance.bundle.section import Section
from appliance.documents import Document, read_document
from appliance.errors import ConfigError
from trainer.release.assignment import Ring
from trainer.release.gates import Gates, LabGates

MOST_BYTES = 16_000_000
"""Of the file: 100,000 devices."""

Percent = Annotated[float, Field(ge=0, le=100)]
Hours = Annotated[float, Field(ge=0, le=24 * 365)]
Count = Annotated[int, Field(ge=0)]
AtLeastOne = Annotated[int, Field(ge=1)]
SiteName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,30}$")]
LineName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
DeviceId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]


class RingTerms(Section):
    """What a ring must show before the next one is told, and what ends the rollout.

    success_percent: of its devices that must have reached success. least_h, least_parts: since it was told, and judged
    by the release on all its devices together. halt_percent, halt_devices: more than the one, or as many as the other,
    that failed, went back or are silent, end the rollout. silent_h: a device that is not heard of for so long failed.
    gates: what each device must show by itself.
    """

    success_percent: Percent = 95
    least_h: Hours = 0
    least_parts: Count = 0
    halt_percent: Percent = 2
    halt_devices: AtLeastOne = 2
    silent_h: Annotated[float, Field(gt=0, le=24 * 365)] = 72
    gates: Gates = Gates()


class LabTerms(RingTerms):
    """Devices that judge no real parts, named by `ring: lab`."""

    least_devices: AtLeastOne = 1
    least_h: Hours = 1
    gates: LabGates = LabGates()


class LineTerms(RingTerms):
    """One line per site, and more lines until there are so many devices."""

    least_devices: AtLeastOne = 3
    least_percent: Percent = 5
    least_h: Hours = 24
    least_parts: Count = 2000


class QuarterTerms(RingTerms):
    """Devices until so many percent of the fleet have it, those of the rings before included."""

    percent: Percent = 25
    least_h: Hours = 24


class Rings(Section):
    """The four rings, in their order."""

    lab: LabTerms = LabTerms()
    line: LineTerms = LineTerms()
    quarter: QuarterTerms = QuarterTerms()
    all: RingTerms = RingTerms()

    def of(self, ring: Ring) -> RingTerms:
        """Return a ring's terms."""
        found: Mapping[Ring, RingTerms] = {
            "lab": self.lab, "line": self.line, "quarter": self.quarter, "all": self.all,
        }  # fmt: skip
        return found[ring]


Place: TypeAlias = Literal["lab", "line", "quarter", "all", "out"]
"""A ring that a device is always in; `out`: in none, a rollout passes it by."""


class Device(Section):
    """One device; key: its public key, hexadecimal, as the device's agent tells it."""

    key: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    ring: Place | None = None


class FleetFile(Section):
    """The file; sites: site -> line -> device's id -> device."""

    reports: Annotated[str, Field(min_length=1)]
    sites: Annotated[dict[SiteName, dict[LineName, dict[DeviceId, Device]]], Field(min_length=1)]
    rings: Rings = Rings()


@dataclass(frozen=True, slots=True)
class Placed:
    """A device where it stands."""

    device_id: str
    site: str
    line: str
    key: str
    ring: Place | None


@dataclass(frozen=True, slots=True)
class Fleet:
    """All devices by id; reports: the address where theirs lie, a folder as seen from the file's own."""

    path: Path
    reports: str
    rings: Rings
    devices: Mapping[str, Placed]

    def taking(self) -> list[tuple[Placed, Ring | None]]:
        """Return the devices that rollouts are for, each with the ring that it is always in."""
        return [(placed, placed.ring) for placed in self.devices.values() if placed.ring != "out"]


def read_fleet(path: Path) -> Fleet:
    """Read a fleet file.

    Args:
        path: the YAML file.

    Raises:
        ConfigError: A person must correct it; says file, line, key and remedy.
    """
    document = read_document(path, most_bytes=MOST_BYTES)
    file = document.into(FleetFile)
    devices: dict[str, Placed] = {}
    for at, placed in _placed(file):
        if other := devices.get(placed.device_id):
            raise _twice(document, at, f"stands in {other.site}/{other.line}, too", "a device has one place")
        devices[placed.device_id] = placed
    keys: dict[str, str] = {}
    for at, placed in _placed(file):
        if other_id := keys.get(placed.key):
            raise _twice(document, (*at, "key"), f"is that of {other_id}, too", "each device has its own key")
        keys[placed.key] = placed.device_id
    is_folder = "://" not in file.reports
    return Fleet(path, str(path.parent / file.reports) if is_folder else file.reports, file.rings, devices)


def _placed(file: FleetFile) -> Iterator[tuple[tuple[str, ...], Placed]]:
    for site, lines in file.sites.items():
        for line, devices in lines.items():
            for name, device in devices.items():
                yield ("sites", site, line, name), Placed(name, site, line, device.key, device.ring)


def _twice(document: Document, at: tuple[str, ...], problem: str, rule: str) -> ConfigError:
    return document.error(at, problem, f"{rule}; delete one of the two")
