"""Staged drift: optics that change with the part number or with time, from a script in YAML."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from appliance.documents import Document, KeyPath, closest, read_document
from appliance.simulator.optics import Optics

_PARAMETERS: Final = tuple(item.name for item in fields(Optics))
_WHOLE: Final = ("dust_seed",)
_LIMITS: Final[dict[str, tuple[float, float]]] = {
    "lamp_brightness": (0.0, 10.0),
    "lamp_falloff": (0.0, 1.0),
    "lamp_direction_deg": (-360.0, 360.0),
    "colour_temperature_k": (1500.0, 15000.0),
    "exposure_us": (0.0, 1_000_000.0),
    "gain_db": (-20.0, 48.0),
    "noise_sigma": (0.0, 100.0),
    "defocus_px": (0.0, 30.0),
    "vignetting": (0.0, 1.0),
    "dust_specks": (0.0, 200.0),
    "dust_seed": (0.0, 2.0**31),
    "shift_x_px": (-4096.0, 4096.0),
    "shift_y_px": (-4096.0, 4096.0),
    "rotation_deg": (-180.0, 180.0),
}


@dataclass(frozen=True, slots=True)
class Keyframes:
    """One parameter over time: straight lines between (second, value) points, constant before and after them."""

    seconds: tuple[float, ...]
    values: tuple[float, ...]

    def at(self, second: float) -> float:
        """Give the value at a time in seconds since the script began."""
        return float(np.interp(second, self.seconds, self.values))


@dataclass(frozen=True, slots=True)
class OpticsScript:
    """Optics over time; parameters without keyframes keep the base value."""

    base: Optics
    tracks: tuple[tuple[str, Keyframes], ...]

    def at(self, second: float) -> Optics:
        """Give the optics at a time.

        Args:
            second: since the script began, s.

        Returns:
            The base with every scripted parameter set.
        """
        now: dict[str, Any] = {name: keyframes.at(second) for name, keyframes in self.tracks}
        for name in _WHOLE:
            if name in now:
                now[name] = round(now[name])
        return replace(self.base, **now)

    def by_part(self, parts_per_second: float) -> PartOptics:
        """Tie the script to part numbers, so that a part's picture does not depend on the clock.

        Args:
            parts_per_second: how many parts make one second of the script, above 0.

        Returns:
            A function of the part's number, as `SimulatedLine.optics` takes it.
        """
        return PartOptics(self, parts_per_second)


@dataclass(frozen=True, slots=True)
class PartOptics:
    """The optics that part `number` meets when parts come at an even rate."""

    script: OpticsScript
    parts_per_second: float

    def __call__(self, number: int) -> Optics:
        """Give the optics for a part number."""
        return self.script.at(number / self.parts_per_second)


def _number(document: Document, at: KeyPath, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise document.error(at, f"{value!r} is not a number", "write one, without a unit")
    return float(value)


def _in_limits(document: Document, at: KeyPath, value: object) -> float:
    number = _number(document, at, value)
    low, high = _LIMITS[str(at[0])]
    if not low <= number <= high:
        raise document.error(at, f"{number:g} is outside {low:g}..{high:g}", "the unit is in the name")
    return number


def _keyframes(document: Document, name: str, value: object) -> Keyframes:
    at: KeyPath = (name,)
    if not isinstance(value, list):
        return Keyframes((0.0,), (_in_limits(document, at, value),))
    if not value:
        raise document.error(at, "no keyframes", "write a number or a list of [second, value]")
    seconds: list[float] = []
    values: list[float] = []
    for place, point in enumerate(value):
        here = (*at, place)
        if not isinstance(point, list) or len(point) != 2:
            raise document.error(here, f"{point!r} is no keyframe", "write [second, value]")
        second = _number(document, here, point[0])
        if seconds and second < seconds[-1]:
            raise document.error(here, f"second {second:g} comes after {seconds[-1]:g}", "sort the keyframes")
        seconds.append(second)
        values.append(_in_limits(document, here, point[1]))
    return Keyframes(tuple(seconds), tuple(values))


def parse_script(document: Document) -> OpticsScript:
    """Read a script.

    Args:
        document: mapping of parameter name to a number or to a list of [second, value].

    Returns:
        The script over the default optics.

    Raises:
        ConfigError: An unknown parameter, no number, keyframes out of order, or a value out of range; mend the line.
    """
    tracks = []
    for name, value in document.data.items():
        if name not in _PARAMETERS:
            meant = closest(name, list(_PARAMETERS))
            known = f"did you mean `{meant}`?" if meant else f"known are {', '.join(_PARAMETERS)}"
            raise document.error((name,), f"unknown parameter {name!r}", known)
        tracks.append((name, _keyframes(document, name, value)))
    return OpticsScript(Optics(), tuple(tracks))


def load_script(file: Path) -> OpticsScript:
    """Read a script from a YAML file.

    Args:
        file: UTF-8, the plain YAML of `appliance.documents`.

    Returns:
        The script.

    Raises:
        ConfigError: The file is missing, no such YAML, or `parse_script` refuses it; mend the line that it names.
    """
    return parse_script(read_document(file))
