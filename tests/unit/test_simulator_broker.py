import os
import signal
import socket
import subprocess
import sys
import threading

import pytest

from appliance.errors import ConfigError, DeviceError
from appliance.simulator import amqtt_process
from appliance.simulator.broker import EmbeddedBroker, find_mosquitto, free_port
from tests.stations import BOTH_BROKERS, needs_mosquitto, until


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize("kind", BOTH_BROKERS)
def test_a_broker_can_be_killed_and_started_again_on_the_same_port(kind: str) -> None:
    with EmbeddedBroker(kind) as broker:  # type: ignore[arg-type]
        assert broker.kind == kind
        assert broker.url == f"mqtt://127.0.0.1:{broker.port}"
        assert is_open(broker.port)
        broker.kill()
        assert not is_open(broker.port)
        broker.restart()
        assert is_open(broker.port)
        broker.restart()
        assert is_open(broker.port)
    assert not is_open(broker.port)


def test_without_a_wish_the_best_broker_that_is_there_is_taken() -> None:
    with EmbeddedBroker() as broker:
        assert broker.kind == ("mosquitto" if find_mosquitto() else "amqtt")


@needs_mosquitto
def test_a_broker_that_does_not_start_says_why() -> None:
    with pytest.raises(DeviceError, match=r"mosquitto broker did not start.*no_such_setting"):
        EmbeddedBroker("mosquitto", extra_lines=["no_such_setting true"]).__enter__()


@needs_mosquitto
def test_nothing_is_left_of_a_broker_that_ctrl_c_ends_before_it_is_ready() -> None:
    elsewhere = free_port()  # it listens there, and so is never ready

    def interrupt() -> None:
        until(lambda: is_open(elsewhere), "mosquitto listens")
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with (
        pytest.raises(KeyboardInterrupt),
        EmbeddedBroker("mosquitto", [f"listener {elsewhere} 127.0.0.1", "allow_anonymous true"]),
    ):
        pass
    thread.join()
    assert not is_open(elsewhere)


def test_a_broker_that_is_not_installed_is_a_persons_mistake() -> None:
    if find_mosquitto() is not None:
        pytest.skip("the mosquitto broker is installed")
    with pytest.raises(ConfigError, match="install the package mosquitto or choose the broker amqtt"):
        EmbeddedBroker("mosquitto")


def test_amqtt_ends_with_whoever_started_it() -> None:
    port = free_port()
    starter = (
        "import subprocess, sys\n"
        f"child = subprocess.Popen([sys.executable, {amqtt_process.__file__!r}, '{port}'], stdin=subprocess.PIPE)\n"
        "print(child.pid, flush=True)\n"
        "child.wait()\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", starter], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    until(lambda: is_open(port), "amqtt listens")
    os.kill(parent.pid, signal.SIGKILL)
    parent.communicate()
    until(lambda: not is_open(port), "amqtt is gone")
