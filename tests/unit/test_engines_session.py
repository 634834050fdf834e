"""Whatever becomes of an engine, its memory is given back and no thread keeps the accelerator's context.

With PyCUDA the process would end with SIGABRT otherwise: when a thread ends that has the context, or at its own end.
"""

import threading

import numpy as np
import pytest

from appliance.errors import RuntimeFault
from appliance.runtimes.engines.session import EngineSession
from tests.host_accelerator import SIDE_PX, HostDevice, HostEngine, loaded

BATCH = 3
TAKINGS = 1 + 2 * 4
"""A stream, and device and pinned memory for each of four tensors."""


def grey(*values: int) -> np.ndarray:
    return np.stack([np.full((SIDE_PX, SIDE_PX, 1), value, np.uint8) for value in values])


def scores(session: EngineSession, *values: int) -> list[float]:
    return [round(255 * float(score)) for score in session.ask(grey(*values))[1][:, 0]]


@pytest.mark.parametrize("records", [True, False])
def test_each_picture_gets_its_answer_and_everything_is_given_back(records: bool) -> None:
    device = HostDevice(records=records)
    session = EngineSession(loaded(HostEngine()), device, BATCH)
    assert session.why_no_graph == ("" if records else "this device records no work")
    assert device.taken == TAKINGS
    assert scores(session, 10, 200, 30) == [10, 200, 30]
    assert scores(session, 77) == [77]
    assert session.device_ms(grey(5), 4) == 0.25
    session.close()
    session.close()
    assert device.is_left_alone()


def test_asking_takes_nothing_more_and_leaves_earlier_answers_alone() -> None:
    device = HostDevice()
    session = EngineSession(loaded(HostEngine(askings=10_000)), device, BATCH)
    takings, before = device.takings, session.ask(grey(10, 200, 30))
    kept = [array.copy() for array in before]
    for number in range(3000):
        session.ask(grey(*[number % 256] * (1 + number % BATCH)))
    assert (device.taken, device.takings) == (TAKINGS, takings)
    assert all((was == now).all() for was, now in zip(kept, before, strict=True))
    session.close()


def test_a_thread_that_asked_leaves_nothing_behind_and_another_may_close() -> None:
    device, seen = HostDevice(), []
    session = EngineSession(loaded(HostEngine()), device, BATCH)
    thread = threading.Thread(target=lambda: seen.append(scores(session, 40)))
    thread.start()
    thread.join()
    assert seen == [[40]]
    assert not any(device.attached_in.values())
    closing = threading.Thread(target=session.close)
    closing.start()
    closing.join()
    assert device.is_left_alone()


@pytest.mark.parametrize("takings", range(TAKINGS))
def test_an_accelerator_that_has_nothing_left_is_left_alone(takings: int) -> None:
    device = HostDevice(takings=takings)
    with pytest.raises(RuntimeFault, match="the accelerator has nothing left"):
        EngineSession(loaded(HostEngine()), device, BATCH)
    assert device.is_left_alone()


@pytest.mark.parametrize("contexts", range(BATCH))
def test_an_engine_that_does_not_run_here_leaves_nothing_taken(contexts: int) -> None:
    device = HostDevice()
    with pytest.raises(RuntimeFault, match="the engine cannot run here: it gives no reason"):
        EngineSession(loaded(HostEngine(contexts)), device, BATCH)
    assert device.is_left_alone()


def test_an_engine_that_never_answers_leaves_nothing_taken() -> None:
    device = HostDevice(records=False)
    with pytest.raises(RuntimeFault, match="the engine failed"):
        EngineSession(loaded(HostEngine(askings=0)), device, BATCH)
    assert device.is_left_alone()


def test_an_engine_that_fails_later_can_be_closed() -> None:
    device = HostDevice()
    session = EngineSession(loaded(HostEngine(askings=3)), device, 1)  # one before it is recorded, one after
    assert scores(session, 9) == [9]
    with pytest.raises(RuntimeFault, match="the engine failed"):
        session.ask(grey(9))
    assert not any(device.attached_in.values())
    session.close()
    assert device.is_left_alone()
