"""An accelerator on this computer's memory: as strict as a real one about threads, and it knows what is still taken.

Work is done at once, so that a wait finds it done. The engine on it answers with one box as bright as the picture.
"""

import ctypes
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from appliance.errors import RuntimeFault
from appliance.runtimes.accelerator.device import Bytes, DeviceBuffer, DeviceIdentity, Graph
from appliance.runtimes.contract import Port
from appliance.runtimes.tensorrt_library import Journal, LoadedEngine

ROWS = 100
SIDE_PX = 8


def at(address: int, size_bytes: int) -> Bytes:
    return np.ctypeslib.as_array((ctypes.c_uint8 * size_bytes).from_address(address))


class HostMemory:
    """Device memory and pinned memory alike."""

    def __init__(self, device: "HostDevice", size_bytes: int) -> None:
        device.take()
        self._device = device
        self.array: Bytes = np.zeros(size_bytes, np.uint8)
        self.address = self.array.ctypes.data
        self.size_bytes = size_bytes
        self._is_taken = True

    def free(self) -> None:
        self._device.hold_attached()
        if self._is_taken:
            self._is_taken = False
            self._device.taken -= 1


class HostGraph:
    def __init__(self, device: "HostDevice", work: Callable[[], None]) -> None:
        self._device = device
        self.launch = work

    def free(self) -> None:
        self._device.hold_attached()


class HostStream:
    """Does each piece of work as it comes."""

    handle = 1

    def __init__(self, device: "HostDevice") -> None:
        device.take()
        self._device = device
        self._is_taken = True

    def upload(self, target: DeviceBuffer, source: Bytes) -> None:
        self._device.hold_attached()
        at(target.address, source.nbytes)[:] = source

    def download(self, target: Bytes, source: DeviceBuffer) -> None:
        self._device.hold_attached()
        target[:] = at(source.address, target.nbytes)

    def fill(self, target: DeviceBuffer, value: int) -> None:
        self._device.hold_attached()
        at(target.address, target.size_bytes)[:] = value

    def copy(self, target: DeviceBuffer, source: DeviceBuffer) -> None:
        self._device.hold_attached()
        at(target.address, source.size_bytes)[:] = at(source.address, source.size_bytes)

    def mark(self) -> Any:
        self._device.hold_attached()
        return object()

    def record(self, work: Callable[[], None]) -> Graph:
        self._device.hold_attached()
        if not self._device.records:
            raise RuntimeFault("this device records no work")
        return HostGraph(self._device, work)

    def wait(self) -> None:
        self._device.hold_attached()

    def free(self) -> None:
        self._device.hold_attached()
        if self._is_taken:
            self._is_taken = False
            self._device.taken -= 1


class HostDevice:
    """Takes so many times and then refuses; taken: what was not given back, takings: how often it can still take."""

    binding = "host"

    def __init__(self, *, records: bool = True, takings: int = 1000) -> None:
        self.records = records
        self.taken = 0
        self.attached_in: Counter[int] = Counter()
        self.takings = takings

    def identity(self) -> DeviceIdentity:
        return DeviceIdentity("this computer", (0, 0), "none")

    @contextmanager
    def attached(self) -> Iterator[None]:
        thread = threading.get_ident()
        self.attached_in[thread] += 1
        try:
            yield
        finally:
            self.attached_in[thread] -= 1

    def hold_attached(self) -> None:
        if self.attached_in[threading.get_ident()] < 1:
            raise RuntimeFault("this thread does not have the accelerator's context")

    def take(self) -> None:
        self.hold_attached()
        if self.takings < 1:
            raise RuntimeFault("the accelerator has nothing left")
        self.takings -= 1
        self.taken += 1

    def allocate(self, size_bytes: int) -> HostMemory:
        return HostMemory(self, size_bytes)

    def pin(self, size_bytes: int) -> HostMemory:
        return HostMemory(self, size_bytes)

    def stream(self) -> HostStream:
        return HostStream(self)

    def elapsed_ms(self, begin: Any, end: Any) -> float:
        self.hold_attached()
        return 1.0

    def is_left_alone(self) -> bool:
        """Return that nothing is taken, and that no thread has the context."""
        return self.taken == 0 and not any(self.attached_in.values())


class HostContext:
    """Runs the engine, for as many pictures as it was told."""

    def __init__(self, askings: int) -> None:
        self._askings = askings
        self._addresses: dict[str, int] = {}
        self._count = 0

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self._count = shape[0]
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return (self._count, *(size or 0 for size in PORTS[name].shape[1:]))

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._addresses[name] = address
        return True

    def execute_async_v3(self, handle: int) -> bool:
        self._askings -= 1
        if self._askings < 0:
            return False
        image, boxes, scores, labels = (self._view(name) for name in ("image", "boxes", "scores", "labels"))
        boxes[:], scores[:], labels[:] = 0, 0, 0
        scores[:, 0] = image.reshape(self._count, -1).mean(axis=1) / 255
        return True

    def _view(self, name: str) -> Any:
        shape, kind = self.get_tensor_shape(name), np.dtype(PORTS[name].kind)
        return at(self._addresses[name], int(np.prod(shape)) * kind.itemsize).view(kind).reshape(shape)


PORTS = {
    "image": Port("uint8", (None, SIDE_PX, SIDE_PX, 1)),
    "boxes": Port("float32", (None, ROWS, 4)),
    "scores": Port("float32", (None, ROWS)),
    "labels": Port("int64", (None, ROWS)),
}


class HostEngine:
    """Makes so many contexts, each of which answers so often."""

    def __init__(self, contexts: int = 1000, askings: int = 1000) -> None:
        self._contexts = contexts
        self._askings = askings

    def create_execution_context(self) -> HostContext | None:
        self._contexts -= 1
        return HostContext(self._askings) if self._contexts >= 0 else None


def loaded(engine: HostEngine) -> LoadedEngine:
    return LoadedEngine(engine, None, Journal(), PORTS)
