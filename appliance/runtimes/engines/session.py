"""An engine with its memory on the accelerator: everything is taken once, and asking takes nothing more."""

from collections.abc import Mapping
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from appliance.errors import RuntimeFault
from appliance.events import Pixels
from appliance.runtimes.accelerator.device import Bytes, Device, DeviceBuffer, Graph, Stream
from appliance.runtimes.contract import OUTPUTS, REMEDY
from appliance.runtimes.tensorrt_library import LoadedEngine

if TYPE_CHECKING:
    from appliance.runtimes.tensorrt_library import tensorrt

INPUT = "image"


class _Lane:
    """One number of pictures: its own execution context, so that its recorded work stays valid, on shared memory."""

    def __init__(
        self, loaded: LoadedEngine, stream: Stream, device: Mapping[str, DeviceBuffer], pinned: Mapping[str, Bytes],
        count: int,
    ) -> None:  # fmt: skip
        self._journal = loaded.journal
        self._stream = stream
        self._device = device
        context: tensorrt.IExecutionContext | None = loaded.engine.create_execution_context()
        if context is None:
            raise RuntimeFault(
                f"the engine cannot run here: {self._journal.last()}; free memory of the accelerator, then restart"
            )
        self._context = context
        arrays = {}
        size = loaded.ports[INPUT].shape[1:]
        if not self._context.set_input_shape(INPUT, (count, *size)):
            raise RuntimeFault(f"the engine takes no {count} pictures at once: {self._journal.last()}")
        for name, port in loaded.ports.items():
            shape = tuple(self._context.get_tensor_shape(name))
            kind = np.dtype(port.kind)
            length = int(np.prod(shape)) * kind.itemsize
            if min(shape) < 0 or length > len(pinned[name]):
                raise RuntimeFault(f"the engine's {name} has the shape {shape} for {count} pictures; export it again")
            arrays[name] = (pinned[name][:length], shape, kind)
            self._context.set_tensor_address(name, device[name].address)
        self._pinned = {name: array for name, (array, _, _) in arrays.items()}
        self.views: dict[str, NDArray[Any]] = {
            name: array.view(kind).reshape(shape) for name, (array, shape, kind) in arrays.items()
        }
        self._graph: Graph | None = None

    def enqueue(self) -> None:
        self._stream.upload(self._device[INPUT], self._pinned[INPUT])
        if not self._context.execute_async_v3(self._stream.handle):
            raise RuntimeFault(f"the engine failed: {self._journal.last()}; {REMEDY}")
        for name in OUTPUTS:
            self._stream.download(self._pinned[name], self._device[name])

    def record(self) -> None:
        self.ask()  # once without: the engine may not take memory while it is recorded
        self._graph = self._stream.record(self.enqueue)
        self.ask()

    def ask(self) -> None:
        if self._graph is None:
            self.enqueue()
        else:
            self._graph.launch()
        self._stream.wait()

    def free(self) -> None:
        if self._graph is not None:
            self._graph.free()
        del self._context


class EngineSession:
    """Asks an engine about pictures; used by one thread at a time."""

    def __init__(self, loaded: LoadedEngine, device: Device, max_batch: int, *, wants_graph: bool = True) -> None:
        """Take all memory, and record the work for each number of pictures where binding and engine allow it.

        Args:
            loaded: an engine with the contract's ports (contract.check_ports).
            device: where it runs.
            max_batch: pictures that may be asked about at once, at least 1, and not more than the engine was built for.
            wants_graph: False launches each layer on its own; for comparison.

        Raises:
            RuntimeFault: no memory, or the engine does not run.
        """
        self._device = device
        self._loaded: LoadedEngine | None = loaded
        self._taken = ExitStack()
        self._lanes: list[_Lane] = []
        self.why_no_graph = "" if wants_graph else "not wanted"
        try:
            with device.attached():
                self._stream = device.stream()
                self._taken.callback(self._stream.free)
                self._take(loaded, max_batch)
                if wants_graph:
                    self._record()
        except BaseException:
            with suppress(RuntimeFault):  # what failed first is what is told
                self.close()
            raise

    def _take(self, loaded: LoadedEngine, max_batch: int) -> None:
        on_device, pinned = {}, {}
        for name in loaded.ports:
            size = _bytes_of(name, loaded, max_batch)
            on_device[name] = buffer = self._device.allocate(size)
            self._taken.callback(buffer.free)
            memory = self._device.pin(size)
            self._taken.callback(memory.free)
            pinned[name] = memory.array
        for count in range(1, max_batch + 1):
            lane = _Lane(loaded, self._stream, on_device, pinned, count)
            self._taken.callback(lane.free)
            self._lanes.append(lane)

    def _record(self) -> None:
        for lane in self._lanes:
            try:
                lane.record()
            except RuntimeFault as error:
                self.why_no_graph = str(error)
                for each in self._lanes:
                    each.ask()  # it must do without, or say so now
                return

    @property
    def max_batch(self) -> int:
        """Pictures that may be asked about at once."""
        return len(self._lanes)

    def ask(self, images: Pixels) -> list[NDArray[Any]]:
        """Return boxes, scores and labels of 1..max_batch pictures.

        They are copies, which the next asking leaves alone; whoever asks may keep them.

        Raises:
            RuntimeFault: the engine or the accelerator failed.
        """
        lane = self._lanes[len(images) - 1]
        np.copyto(lane.views[INPUT], images)
        with self._device.attached():
            lane.ask()
        return [lane.views[name].copy() for name in OUTPUTS]

    def device_ms(self, images: Pixels, runs: int) -> float:
        """Return the accelerator's own milliseconds for one asking, copies included, over a number of askings."""
        lane = self._lanes[len(images) - 1]
        np.copyto(lane.views[INPUT], images)
        with self._device.attached():
            begin = self._stream.mark()
            for _ in range(runs):
                lane.ask()
            end = self._stream.mark()
            self._stream.wait()
            return self._device.elapsed_ms(begin, end) / runs

    def close(self) -> None:
        """Give everything back, what was taken last first; harmless when done before.

        Raises:
            RuntimeFault: the accelerator took something back with an error; the rest was given back all the same.
        """
        self._lanes = []
        with self._device.attached():
            self._taken.close()
        self._loaded = None


def _bytes_of(name: str, loaded: LoadedEngine, max_batch: int) -> int:
    port = loaded.ports[name]
    return int(np.prod([max_batch, *(size or 1 for size in port.shape[1:])])) * np.dtype(port.kind).itemsize
