"""CUDA through PyCUDA, where a board has it; it records no graphs, so the engine runs without."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pycuda
import pycuda.driver as cuda

from appliance.errors import RuntimeFault
from appliance.runtimes.accelerator.device import Bytes, DeviceBuffer, DeviceIdentity
from appliance.runtimes.accelerator.driver import ask_driver

DEVICE = 0


def _done(what: str, call: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return call(*arguments)
    except cuda.Error as error:
        raise RuntimeFault(
            f"CUDA could not {what}: {error}; see `appliance check`, then restart the station"
        ) from error


class PycudaBuffer:
    """Memory of the accelerator."""

    def __init__(self, size_bytes: int) -> None:
        """Take the memory."""
        self._memory = _done(f"allocate {size_bytes} bytes", cuda.mem_alloc, size_bytes)
        self.address = int(self._memory)
        self.size_bytes = size_bytes

    def free(self) -> None:
        """Give it back; harmless when given back before."""
        memory, self._memory = self._memory, None
        if memory is not None:
            _done("free device memory", memory.free)


class PycudaPinnedBuffer:
    """Memory of the computer that stays where it is."""

    def __init__(self, size_bytes: int) -> None:
        """Take the memory."""
        self.array: Bytes = _done(f"pin {size_bytes} bytes", cuda.pagelocked_empty, size_bytes, np.uint8)
        self._memory: Any = self.array.base

    def free(self) -> None:
        """Give it back; harmless when given back before."""
        memory, self._memory = self._memory, None
        if memory is not None:
            _done("free pinned memory", memory.free)


class PycudaStream:
    """A queue of work."""

    def __init__(self) -> None:
        """Open the queue."""
        self._stream: Any = _done("open a stream", cuda.Stream)
        self.handle = int(self._stream.handle)
        self._marks: list[Any] = []

    def upload(self, target: DeviceBuffer, source: Bytes) -> None:
        """Copy an array to the beginning of device memory."""
        _done("copy to the device", cuda.memcpy_htod_async, target.address, source, self._stream)

    def download(self, target: Bytes, source: DeviceBuffer) -> None:
        """Copy the beginning of device memory into an array."""
        _done("copy from the device", cuda.memcpy_dtoh_async, target, source.address, self._stream)

    def copy(self, target: DeviceBuffer, source: DeviceBuffer) -> None:
        """Copy as many bytes as source holds within the accelerator's memory."""
        arguments = (target.address, source.address, source.size_bytes, self._stream)
        _done("copy on the device", cuda.memcpy_dtod_async, *arguments)

    def fill(self, target: DeviceBuffer, value: int) -> None:
        """Set every byte of device memory to a value 0..255."""
        arguments = (target.address, value, target.size_bytes, self._stream)
        _done("fill device memory", cuda.memset_d8_async, *arguments)

    def mark(self) -> Any:
        """Note the moment at which the work so far is done."""
        event = _done("create an event", cuda.Event)
        self._marks.append(event)  # or it would be freed wherever its last user is, perhaps without the context
        _done("record an event", event.record, self._stream)
        return event

    def record(self, work: Callable[[], None]) -> Any:
        """Refuse: PyCUDA records no graphs."""
        raise RuntimeFault("PyCUDA records no work; install the extra `jetson` for cuda-bindings, which does")

    def wait(self) -> None:
        """Return when all work is done."""
        _done("finish its work", self._stream.synchronize)

    def free(self) -> None:
        """Give it back with its marks; harmless when given back before."""
        self._marks = []
        self._stream = None


class PycudaDevice:
    """The first accelerator, through PyCUDA, in the context that the engine uses too."""

    def __init__(self) -> None:
        """Start the driver and take the accelerator.

        Raises:
            RuntimeFault: there is no driver or no accelerator.
        """
        self._driver = ask_driver()
        self.binding = f"pycuda {pycuda.VERSION_TEXT}"
        _done("start", cuda.init)
        self._device = _done("use the device", cuda.Device, DEVICE)
        self._context: Any = _done("use the device", self._device.retain_primary_context)

    def identity(self) -> DeviceIdentity:
        """Ask the accelerator who it is."""
        name = _done("read the device's name", self._device.name)
        major, minor = _done("read the device's properties", self._device.compute_capability)
        return DeviceIdentity(name, (int(major), int(minor)), self._driver.release)

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Have the context in the calling thread, and leave it whatever happens.

        Source:
            PyCUDA 2026.1, src/cpp/cuda.hpp: each thread has a stack of contexts, whose destructor ends the process with
            abort() unless it is empty.
        """
        _done("use the device", self._context.push)
        try:
            yield
        finally:
            _done("leave the device", cuda.Context.pop)

    def allocate(self, size_bytes: int) -> PycudaBuffer:
        """Take device memory."""
        return PycudaBuffer(size_bytes)

    def pin(self, size_bytes: int) -> PycudaPinnedBuffer:
        """Take memory of the computer that the accelerator can reach."""
        return PycudaPinnedBuffer(size_bytes)

    def stream(self) -> PycudaStream:
        """Open a queue of work."""
        return PycudaStream()

    def elapsed_ms(self, begin: Any, end: Any) -> float:
        """Return the milliseconds on the accelerator's clock between two marks that have passed."""
        return float(_done("read the time", begin.time_till, end))
