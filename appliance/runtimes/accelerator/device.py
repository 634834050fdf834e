"""What the appliance wants of an accelerator; everything is asked of a binding only through these Protocols."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

Bytes: TypeAlias = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class DeviceIdentity:
    """Which accelerator this is.

    name: as its maker calls it. compute_capability: such as (8, 7). driver: the release of the board's software or else
    of the driver, and the newest CUDA that it takes: "L4T R36.4.0, CUDA 12.6" or "driver 580.65.06, CUDA 13.0".
    """

    name: str
    compute_capability: tuple[int, int]
    driver: str


class DeviceBuffer(Protocol):
    """Memory of the accelerator."""

    @property
    def address(self) -> int:
        """Where it lies, as the engine wants to be told."""
        ...

    @property
    def size_bytes(self) -> int:
        """How much it holds."""
        ...

    def free(self) -> None:
        """Give it back; harmless when given back before."""
        ...


class PinnedBuffer(Protocol):
    """Memory of the computer that stays where it is, so that the accelerator can copy from and to it by itself."""

    @property
    def array(self) -> Bytes:
        """The memory itself, uint8, shape (size,); not to be used after free."""
        ...

    def free(self) -> None:
        """Give it back; harmless when given back before."""
        ...


class Graph(Protocol):
    """Work that was recorded once and starts with a single call."""

    def launch(self) -> None:
        """Put the whole work in the stream that it was recorded on.

        Raises:
            RuntimeFault: the accelerator refused.
        """
        ...

    def free(self) -> None:
        """Give it back; harmless when given back before."""
        ...


class Stream(Protocol):
    """A queue of work; everything but wait returns at once, and then failed work shows at the next wait only.

    Raises:
        RuntimeFault: of every method: the accelerator refused, or an earlier work on it failed.
    """

    @property
    def handle(self) -> int:
        """What the engine takes for this stream."""
        ...

    def upload(self, target: DeviceBuffer, source: Bytes) -> None:
        """Copy an array to the beginning of device memory; it must stay unchanged until wait has returned."""
        ...

    def download(self, target: Bytes, source: DeviceBuffer) -> None:
        """Copy the beginning of device memory into an array; there when wait has returned."""
        ...

    def fill(self, target: DeviceBuffer, value: int) -> None:
        """Set every byte of device memory to a value 0..255."""
        ...

    def copy(self, target: DeviceBuffer, source: DeviceBuffer) -> None:
        """Copy as many bytes as source holds within the accelerator's memory."""
        ...

    def mark(self) -> Any:
        """Note the moment at which the work so far is done; see Device.elapsed_ms."""
        ...

    def record(self, work: Callable[[], None]) -> Graph:
        """Record what work puts in this stream, instead of doing it.

        Raises:
            RuntimeFault: this binding or this accelerator cannot; the stream is as before.
        """
        ...

    def wait(self) -> None:
        """Return when all work is done."""
        ...

    def free(self) -> None:
        """Give it back; harmless when given back before."""
        ...


class Device(Protocol):
    """The first accelerator of this computer.

    Raises:
        RuntimeFault: of every method: the accelerator refused.
    """

    @property
    def binding(self) -> str:
        """Name and version of the binding, for the record."""
        ...

    def identity(self) -> DeviceIdentity:
        """Ask the accelerator who it is."""
        ...

    def attached(self) -> AbstractContextManager[None]:
        """Let the calling thread use this accelerator for the length of a `with` block; blocks may lie in one another.

        Whatever is taken, used or freed is so inside; only identity needs no block. A thread leaves nothing behind:
        PyCUDA ends the whole process with SIGABRT where a thread ends that still has the accelerator's context.
        """
        ...

    def allocate(self, size_bytes: int) -> DeviceBuffer:
        """Take device memory."""
        ...

    def pin(self, size_bytes: int) -> PinnedBuffer:
        """Take memory of the computer that the accelerator can reach."""
        ...

    def stream(self) -> Stream:
        """Open a queue of work."""
        ...

    def elapsed_ms(self, begin: Any, end: Any) -> float:
        """Return the milliseconds on the accelerator's clock between two marks that have passed."""
        ...
