"""What the appliance wants of an accelerator's memory, tried through one binding, with figures."""

import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np

from appliance.errors import RuntimeFault
from appliance.runtimes.accelerator.device import Device, Stream

MEBIBYTE = 1 << 20
LARGE = 256 * MEBIBYTE
FRAME = 640 * 640 * 3
CHAIN = 100
REPEATS = 200
IMPOSSIBLE = 1 << 50


def examine(device: Device) -> dict[str, Any]:
    """Try everything once for right and some of it for speed.

    Returns:
        Figures; `checks` says what was held to be true.

    Raises:
        RuntimeFault: the accelerator refused, or memory did not hold what was put there.
    """
    with device.attached():
        stream = device.stream()
        try:
            return {
                "binding": device.binding,
                "identity": asdict(device.identity()),
                "checks": [
                    *_round_trip(device, stream), *_refusals(device, stream), *_other_thread(device), *_turnover(device)
                ],
                "bandwidth": _bandwidth(device, stream),
                "frame_up_and_down_us": _frame(device, stream),
                "chain_of_copies": _chain(device, stream),
            }  # fmt: skip
        finally:
            stream.free()


def _hold(is_true: bool, what: str) -> str:
    if not is_true:
        raise RuntimeFault(f"not so: {what}")
    return what


def _round_trip(device: Device, stream: Stream) -> list[str]:
    size = 3 * MEBIBYTE + 17
    first, second = device.allocate(size), device.allocate(size)
    there, back = device.pin(size), device.pin(size)
    there.array[:] = np.random.default_rng(1).integers(0, 256, size, np.uint8)
    stream.upload(first, there.array)
    stream.copy(second, first)
    stream.download(back.array, second)
    stream.wait()
    checks = [_hold(bool((back.array == there.array).all()), "bytes come back as they went, over the device")]
    stream.fill(first, 0xA5)
    stream.download(back.array, first)
    stream.wait()
    checks.append(_hold(bool((back.array == 0xA5).all()), "a fill reaches every byte"))
    stream.fill(first, 1)
    stream.upload(first, there.array[:1000])
    stream.download(back.array, first)
    stream.wait()
    is_partial = bool((back.array[:1000] == there.array[:1000]).all() and (back.array[1000:] == 1).all())
    checks.append(_hold(is_partial, "a short upload changes the beginning only"))
    for buffer in (first, second, there, back):
        buffer.free()
        buffer.free()
    return [*checks, "memory is given back, and twice does no harm"]


def _refusals(device: Device, stream: Stream) -> list[str]:
    try:
        device.allocate(IMPOSSIBLE)
    except RuntimeFault as error:
        refusal = str(error)
    else:
        raise RuntimeFault("not so: more memory than there is is refused")
    buffer, pinned = device.allocate(16), device.pin(16)
    stream.fill(buffer, 7)
    stream.download(pinned.array, buffer)
    stream.wait()
    good = bool((pinned.array == 7).all())
    buffer.free()
    pinned.free()
    return [f"more memory than there is is refused: {refusal}", _hold(good, "and the device works after that")]


def _other_thread(device: Device) -> list[str]:
    seen: list[object] = []

    def work() -> None:
        try:
            with device.attached(), device.attached():
                stream, buffer, pinned = device.stream(), device.allocate(64), device.pin(64)
                stream.fill(buffer, 9)
                stream.download(pinned.array, buffer)
                stream.wait()
                seen.append(bool((pinned.array == 9).all()))
                buffer.free()
                pinned.free()
                stream.free()
        except RuntimeFault as error:
            seen.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return [_hold(seen == [True], f"another thread can use the device {seen if seen != [True] else ''}".strip())]


def _turnover(device: Device) -> list[str]:
    for _ in range(2000):
        device.allocate(LARGE).free()  # half a terabyte in all
    return ["2000 times 256 MiB were taken and given back"]


def _bandwidth(device: Device, stream: Stream) -> dict[str, float]:
    buffer, other, pinned = device.allocate(LARGE), device.allocate(LARGE), device.pin(LARGE)
    pageable = np.ones(LARGE, np.uint8)
    pinned.array[:] = 1
    ways: dict[str, Callable[[], None]] = {
        "pinned_up": lambda: stream.upload(buffer, pinned.array),
        "pageable_up": lambda: stream.upload(buffer, pageable),
        "pinned_down": lambda: stream.download(pinned.array, buffer),
        "pageable_down": lambda: stream.download(pageable, buffer),
        "on_the_device": lambda: stream.copy(other, buffer),
    }
    rates = {}
    for name, work in ways.items():
        work()
        stream.wait()
        begin = stream.mark()
        for _ in range(10):
            work()
        end = stream.mark()
        stream.wait()
        rates[f"{name}_gb_s"] = round(10 * LARGE / device.elapsed_ms(begin, end) / 1e6, 2)
    for each in (buffer, other, pinned):
        each.free()
    return rates


def _frame(device: Device, stream: Stream) -> dict[str, float]:
    buffer, pinned, answer = device.allocate(FRAME), device.pin(FRAME), device.pin(2400)
    pageable = np.ones(FRAME, np.uint8)
    figures = {}
    for name, source in (("pinned", pinned.array), ("pageable", pageable)):

        def work(source: Any = source) -> None:
            stream.upload(buffer, source)
            stream.download(answer.array, buffer)
            stream.wait()

        figures[name] = _median_us(work)
    for each in (buffer, pinned, answer):
        each.free()
    return figures


def _chain(device: Device, stream: Stream) -> dict[str, Any]:
    """A hundred small copies, each on the one before: as many calls as a network has layers."""
    size = 4096
    first, second = device.allocate(size), device.allocate(size)
    pinned, back = device.pin(size), device.pin(size)

    def chain() -> None:
        stream.upload(first, pinned.array)
        for _ in range(CHAIN // 2):
            stream.copy(second, first)
            stream.copy(first, second)
        stream.download(back.array, first)

    def eager() -> None:
        chain()
        stream.wait()

    figures: dict[str, Any] = {"copies": CHAIN, "one_by_one_us": _median_us(eager)}
    try:
        graph = stream.record(chain)
    except RuntimeFault as error:
        return figures | {"graph": f"refused: {error}"}

    def replay() -> None:
        graph.launch()
        stream.wait()

    for value in (3, 200):  # what is recorded is the place of the data and not the data
        pinned.array[:] = value
        replay()
        _hold(bool((back.array == value).all()), "a recorded chain carries what lies in its memory now")
    figures["graph_us"] = _median_us(replay)
    broken = _failed_recording(stream)
    eager()
    _hold(bool((back.array == 200).all()), "the stream works after a recording that failed")
    graph.free()
    graph.free()
    for each in (first, second, pinned, back):
        each.free()
    return figures | {"a_recording_that_fails": broken}


def _failed_recording(stream: Stream) -> str:
    def waits() -> None:
        stream.wait()  # not allowed while recording

    try:
        stream.record(waits)
    except RuntimeFault as error:
        return str(error)
    raise RuntimeFault("not so: what cannot be recorded is refused")


def _median_us(work: Callable[[], None]) -> float:
    spent = []
    for _ in range(REPEATS):
        started_ns = time.perf_counter_ns()
        work()
        spent.append((time.perf_counter_ns() - started_ns) / 1e3)
    return round(float(np.median(spent)), 2)
