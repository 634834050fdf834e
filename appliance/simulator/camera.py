"""A camera over the simulated line: the part's id says which board is in front of it."""

import re
from dataclasses import replace
from typing import Annotated, Literal

from pydantic import Field, model_validator

from appliance.documents import LocatedPath, Section
from appliance.errors import CameraError
from appliance.events import Frame, Trigger
from appliance.ports import Clock
from appliance.simulator.defects import DefectStyle
from appliance.simulator.line import SimulatedLine
from appliance.simulator.script import load_script

Size = Annotated[float, Field(gt=0.0, le=4096.0)]
PART_NUMBER = re.compile(r"(\d{1,9})$")


class SimulatedCameraSettings(Section):
    """Which line is looked at; the same seed shows the same parts.

    width, height: pixels; channels: 1 grey, 3 RGB. parts_per_family: a changeover after so many parts, 0 never.
    defect_size_px: least and most of a defect's longest side; contrast: 0 invisible, 1 a full step of copper.
    optics: a script that stages drift (docs/simulator.md), over time that parts_per_second makes of part numbers.
    """

    type: Literal["simulated"]
    seed: Annotated[int, Field(ge=0)] = 1
    defect_rate: Annotated[float, Field(ge=0.0, le=1.0)] = 0.1
    width: Annotated[int, Field(ge=160, le=4096)] = 640
    height: Annotated[int, Field(ge=160, le=4096)] = 640
    channels: Literal[1, 3] = 1
    parts_per_family: Annotated[int, Field(ge=0)] = 0
    defect_size_px: Annotated[tuple[Size, Size], Field(strict=False)] = DefectStyle().size_px
    contrast: Annotated[float, Field(ge=0.0, le=1.0)] = DefectStyle().contrast
    optics: Annotated[LocatedPath, Field(strict=False)] | None = None
    parts_per_second: Annotated[float, Field(gt=0.0, le=10_000.0)] | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> "SimulatedCameraSettings":
        if self.defect_size_px[0] > self.defect_size_px[1]:
            raise ValueError("defect_size_px must be [least, most]; swap the two")
        if self.optics is not None and self.parts_per_second is None:
            raise ValueError("optics needs parts_per_second, which makes the script's seconds of part numbers; add it")
        if self.optics is None and self.parts_per_second is not None:
            raise ValueError("parts_per_second has no effect without optics; remove it or name a script")
        return self

    def line(self) -> SimulatedLine:
        """Return the line that these settings describe, truth included.

        Raises:
            ConfigError: the optics script cannot be read or is wrong.
        """
        line = SimulatedLine(
            self.seed,
            self.defect_rate,
            self.width,
            self.height,
            self.channels,
            parts_per_family=self.parts_per_family,
            style=DefectStyle(self.defect_size_px, self.contrast),
        )
        if self.optics is None or self.parts_per_second is None:
            return line
        return replace(line, optics=load_script(self.optics).by_part(self.parts_per_second))


class SimulatedCamera:
    """Photographs the simulated part whose number ends the part id."""

    def __init__(self, view: str, settings: SimulatedCameraSettings, clock: Clock) -> None:
        """Prepare a closed camera for a view."""
        self._view = view
        self._line = settings.line()
        self._clock = clock
        self._is_open = False
        self._frame_id = 0

    def open(self) -> None:
        """Connect; always there."""
        self._is_open = True

    def capture(self, trigger: Trigger, timeout_s: float) -> Frame:
        """Render the trigger's part.

        Raises:
            CameraError: the part id does not end in a number, so it is not of this line.
            RuntimeError: the camera is not open (a bug).
        """
        if not self._is_open:
            raise RuntimeError(f"camera {self._view}: capture before open")
        captured_ns, captured_at = self._clock.monotonic_ns(), self._clock.utc()
        number = PART_NUMBER.search(trigger.part_id)
        if number is None:
            raise CameraError(
                f"view {self._view}: part id {trigger.part_id!r} does not end in a number; "
                "the simulated line makes its parts by number, e.g. board-000001"
            )
        self._frame_id += 1
        part = self._line.part(int(number.group(1)))
        return Frame(
            self._view, self._frame_id, part.pixels, captured_at, captured_ns, source=f"simulated:{part.part_id}"
        )

    def close(self) -> None:
        """Let go; harmless when closed."""
        self._is_open = False
