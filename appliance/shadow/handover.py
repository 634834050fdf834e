"""One part's pictures in memory that two processes share: copied in once, looked at where they are."""

import mmap
import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from appliance.events import Frame, iso, moment_of

MICROSECONDS = "microseconds"


class Memory:
    """Room for the pictures of one part; whoever writes must know that nobody reads."""

    def __init__(self, descriptor: int, size_bytes: int, *, may_write: bool) -> None:
        """Map memory that `make` made."""
        self.descriptor = descriptor
        self.size_bytes = size_bytes
        access = mmap.PROT_READ | (mmap.PROT_WRITE if may_write else 0)
        self._map = mmap.mmap(descriptor, size_bytes, prot=access)
        self._bytes: NDArray[np.uint8] = np.frombuffer(self._map, np.uint8)

    @classmethod
    def make(cls, size_bytes: int) -> "Memory":
        """Make memory for a child process, which inherits its descriptor."""
        descriptor = os.memfd_create("shadow-pictures")
        os.ftruncate(descriptor, size_bytes)
        return cls(descriptor, size_bytes, may_write=True)

    def put(self, frames: Mapping[str, Frame]) -> list[dict[str, Any]]:
        """Copy a part's pictures; return how `get` finds them again, as JSON values.

        Args:
            frames: view -> picture, together no larger than the memory.
        """
        entries, offset = [], 0
        for view, frame in frames.items():
            pixels = frame.pixels
            room = self._bytes[offset : offset + pixels.size].reshape(pixels.shape)
            np.copyto(room, pixels)  # lets other threads run meanwhile
            entries.append(
                {
                    "view": view,
                    "offset": offset,
                    "shape": list(pixels.shape),
                    "frame_id": frame.frame_id,
                    "captured_at": iso(frame.captured_at, MICROSECONDS),
                    "captured_ns": frame.captured_ns,
                    "source": frame.source,
                    "exposure_us": frame.exposure_us,
                    "gain_db": frame.gain_db,
                }
            )
            offset += pixels.size
        return entries

    def get(self, entries: Sequence[Mapping[str, Any]]) -> dict[str, Frame]:
        """Return the pictures that lie here, not copied: they are good until the next `put`."""
        return {entry["view"]: self._frame(entry) for entry in entries}

    def close(self) -> None:
        """Let go of the memory."""
        del self._bytes
        self._map.close()
        os.close(self.descriptor)

    def _frame(self, entry: Mapping[str, Any]) -> Frame:
        shape, offset = tuple(entry["shape"]), entry["offset"]
        captured_at: datetime = moment_of(entry["captured_at"])
        return Frame(
            view=entry["view"],
            frame_id=entry["frame_id"],
            pixels=self._bytes[offset : offset + int(np.prod(shape))].reshape(shape),
            captured_at=captured_at,
            captured_ns=entry["captured_ns"],
            source=entry["source"],
            exposure_us=entry["exposure_us"],
            gain_db=entry["gain_db"],
        )
