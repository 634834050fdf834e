"""CUDA through NVIDIA's own binding `cuda.bindings`, 12.x and 13.x (the extra `jetson`)."""

import ctypes
import importlib.metadata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from cuda.bindings import runtime as cuda

from appliance.errors import RuntimeFault
from appliance.runtimes.accelerator.device import Bytes, DeviceBuffer, DeviceIdentity
from appliance.runtimes.accelerator.driver import ask_driver

DEVICE = 0


def _done(what: str, answer: tuple[Any, ...]) -> Any:
    """Return what a call of CUDA answered besides its error code."""
    code, *values = answer
    if int(code) != 0:
        cuda.cudaGetLastError()  # taken off, or TensorRT takes it for its own
        raise RuntimeFault(f"CUDA could not {what}: {code.name}; see `appliance check`, then restart the station")
    return values[0] if values else None


def _use_device() -> None:
    _done("use the device", cuda.cudaSetDevice(DEVICE))


class _Owned:
    """Something of CUDA's that is given back once."""

    def __init__(self, what: str, item: Any, give_back: Callable[[Any], tuple[Any, ...]]) -> None:
        self._what = what
        self._give_back = give_back
        self._item = item

    def free(self) -> None:
        """Give it back; harmless when given back before."""
        item, self._item = self._item, None
        if item is not None:
            _done(f"free {self._what}", self._give_back(item))


class CudaBuffer(_Owned):
    """Memory of the accelerator."""

    def __init__(self, size_bytes: int) -> None:
        """Take the memory."""
        super().__init__(
            "device memory", _done(f"allocate {size_bytes} bytes", cuda.cudaMalloc(size_bytes)), cuda.cudaFree
        )
        self.address = int(self._item)
        self.size_bytes = size_bytes


class CudaPinnedBuffer(_Owned):
    """Memory of the computer that stays where it is."""

    def __init__(self, size_bytes: int) -> None:
        """Take the memory."""
        pinned = _done(f"pin {size_bytes} bytes", cuda.cudaHostAlloc(size_bytes, cuda.cudaHostAllocDefault))
        super().__init__("pinned memory", pinned, cuda.cudaFreeHost)
        self.array: Bytes = np.ctypeslib.as_array((ctypes.c_uint8 * size_bytes).from_address(int(pinned)))


class CudaGraph(_Owned):
    """Recorded work."""

    def __init__(self, graph: Any, stream: Any) -> None:
        """Make recorded work ready to start."""
        made = _done("prepare recorded work", cuda.cudaGraphInstantiate(graph, 0))
        super().__init__("a graph", made, cuda.cudaGraphExecDestroy)
        self._stream = stream

    def launch(self) -> None:
        """Put the whole work in the stream that it was recorded on."""
        _done("start recorded work", cuda.cudaGraphLaunch(self._item, self._stream))


class CudaStream(_Owned):
    """A queue of work."""

    def __init__(self) -> None:
        """Open the queue; it waits for no other one."""
        stream = _done("open a stream", cuda.cudaStreamCreateWithFlags(cuda.cudaStreamNonBlocking))
        super().__init__("a stream", stream, cuda.cudaStreamDestroy)
        self.handle = int(stream)
        self._marks: list[_Owned] = []

    def upload(self, target: DeviceBuffer, source: Bytes) -> None:
        """Copy an array to the beginning of device memory."""
        kind = cuda.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._copy("copy to the device", target.address, source.ctypes.data, source.nbytes, kind)

    def download(self, target: Bytes, source: DeviceBuffer) -> None:
        """Copy the beginning of device memory into an array."""
        kind = cuda.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._copy("copy from the device", target.ctypes.data, source.address, target.nbytes, kind)

    def copy(self, target: DeviceBuffer, source: DeviceBuffer) -> None:
        """Copy as many bytes as source holds within the accelerator's memory."""
        kind = cuda.cudaMemcpyKind.cudaMemcpyDeviceToDevice
        self._copy("copy on the device", target.address, source.address, source.size_bytes, kind)

    def _copy(self, what: str, target: int, source: int, size_bytes: int, kind: Any) -> None:
        _done(what, cuda.cudaMemcpyAsync(target, source, size_bytes, kind, self._item))

    def fill(self, target: DeviceBuffer, value: int) -> None:
        """Set every byte of device memory to a value 0..255."""
        _done("fill device memory", cuda.cudaMemsetAsync(target.address, value, target.size_bytes, self._item))

    def mark(self) -> Any:
        """Note the moment at which the work so far is done."""
        event = _done("create an event", cuda.cudaEventCreate())
        self._marks.append(_Owned("an event", event, cuda.cudaEventDestroy))
        _done("record an event", cuda.cudaEventRecord(event, self._item))
        return event

    def record(self, work: Callable[[], None]) -> CudaGraph:
        """Record what work puts in this stream, instead of doing it."""
        mode = cuda.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        _done("begin to record", cuda.cudaStreamBeginCapture(self._item, mode))
        try:
            work()
        except BaseException:
            cuda.cudaStreamEndCapture(self._item)  # else the stream takes no work any more; its error is the same one
            raise
        graph = _done("record work", cuda.cudaStreamEndCapture(self._item))
        try:
            return CudaGraph(graph, self._item)
        finally:
            _done("free recorded work", cuda.cudaGraphDestroy(graph))

    def wait(self) -> None:
        """Return when all work is done."""
        _done("finish its work", cuda.cudaStreamSynchronize(self._item))

    def free(self) -> None:
        """Give it back with its marks; harmless when given back before."""
        while self._marks:
            self._marks.pop().free()
        super().free()


class CudaPythonDevice:
    """The first accelerator, through `cuda.bindings`."""

    def __init__(self) -> None:
        """Start the driver and take the accelerator.

        Raises:
            RuntimeFault: there is no driver or no accelerator.
        """
        self._driver = ask_driver()
        self.binding = f"cuda-bindings {importlib.metadata.version('cuda-bindings')}"
        _use_device()

    def identity(self) -> DeviceIdentity:
        """Ask the accelerator who it is."""
        properties = _done("read the device's properties", cuda.cudaGetDeviceProperties(DEVICE))
        name = properties.name.partition(b"\0")[0].decode("utf-8", "replace")
        return DeviceIdentity(name, (int(properties.major), int(properties.minor)), self._driver.release)

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Let the calling thread use this accelerator; it keeps no more of it than the number."""
        _use_device()
        yield

    def allocate(self, size_bytes: int) -> CudaBuffer:
        """Take device memory."""
        return CudaBuffer(size_bytes)

    def pin(self, size_bytes: int) -> CudaPinnedBuffer:
        """Take memory of the computer that the accelerator can reach."""
        return CudaPinnedBuffer(size_bytes)

    def stream(self) -> CudaStream:
        """Open a queue of work."""
        return CudaStream()

    def elapsed_ms(self, begin: Any, end: Any) -> float:
        """Return the milliseconds on the accelerator's clock between two marks that have passed."""
        return float(_done("read the time", cuda.cudaEventElapsedTime(begin, end)))
