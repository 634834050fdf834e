"""One connection, on a broker that does what it likes: mosquitto, or a socket that the test holds."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from appliance.errors import DeliveryError
from appliance.links.envelopes import Answered, Incoming, Introduction, Outgoing, Subscription
from appliance.links.mqtt_connection import Connection, ProtocolRefusedError
from appliance.simulator.broker import EmbeddedBroker
from tests.stations import WAIT_S, SmallStation, mqtt_settings, needs_mosquitto, until

CONNACK_V5 = b"\x20\x03\x00\x00\x00"
REFUSED_V5 = b"\x20\x03\x00\x87\x00"
UNKNOWN_VERSION_V311 = b"\x20\x02\x00\x01"


class RawBroker:
    """Answers every CONNECT with the same bytes and reads nothing more."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.port = self._listener.getsockname()[1]
        self.peers: list[socket.socket] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            self.peers.append(peer)
            peer.recv(4096)
            if self._answer:
                peer.sendall(self._answer)
            else:
                peer.close()

    def close(self) -> None:
        self._listener.close()
        for peer in self.peers:
            peer.close()


class DeafBroker(RawBroker):
    """Lets clients connect and subscribe and answers their pings, but acknowledges nothing that they publish."""

    def _serve(self) -> None:
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            self.peers.append(peer)
            threading.Thread(target=self._talk, args=(peer,), daemon=True).start()

    def _talk(self, peer: socket.socket) -> None:
        stream = peer.makefile("rb")
        with contextlib.suppress(OSError, IndexError):  # the client has gone
            while True:
                kind, length, shift = stream.read(1)[0], 0, 0
                while (byte := stream.read(1)[0]) & 0x80:
                    length, shift = length | (byte & 0x7F) << shift, shift + 7
                body = stream.read(length | byte << shift)
                if kind == 0x10:
                    peer.sendall(CONNACK_V5)
                elif kind == 0x82:
                    peer.sendall(b"\x90\x06" + body[:2] + b"\x00\x01\x01\x01")
                elif kind == 0xC0:
                    peer.sendall(b"\xd0\x00")


@pytest.fixture
def raw(request: pytest.FixtureRequest) -> Iterator[RawBroker]:
    broker = RawBroker(request.param)
    yield broker
    broker.close()


def connection(port: int, **changes: object) -> Connection:
    return Connection(mqtt_settings(port, **changes), Introduction("me", ()), "mqtt5")


@pytest.mark.parametrize(
    ("raw", "words"),
    [(REFUSED_V5, "refuses me: Not authorized; check its log"), (b"", "hung up on CONNECT"), (b"\x00\x00", "hung up")],
    indirect=["raw"],
)
def test_a_refusal_is_told_in_words(raw: RawBroker, words: str) -> None:
    attempt = connection(raw.port)
    with pytest.raises(DeliveryError, match=words):
        attempt.open()
    attempt.abandon()


@pytest.mark.parametrize("raw", [UNKNOWN_VERSION_V311], indirect=True)
def test_a_broker_that_does_not_know_mqtt5_is_told_apart(raw: RawBroker) -> None:
    attempt = connection(raw.port)
    with pytest.raises(ProtocolRefusedError):
        attempt.open()
    attempt.abandon()


def test_nobody_at_the_address_is_told_in_words() -> None:
    attempt = connection(1)
    with pytest.raises(DeliveryError, match=r"no connection to the broker 127\.0\.0\.1:1: .* check address"):
        attempt.open()
    attempt.abandon()


MESSAGE_V5 = b"\x30\x05\x00\x01t\x00x"  # topic t, no properties, payload x


@pytest.mark.parametrize("raw", [CONNACK_V5 + 50 * MESSAGE_V5], indirect=True)
def test_everything_that_has_arrived_is_read_and_stamped_at_once(raw: RawBroker) -> None:
    up = connection(raw.port)
    up.open()
    events = up.step(1.0)
    assert [event.payload for event in events if isinstance(event, Incoming)] == [b"x"] * 50
    up.abandon()


@pytest.mark.parametrize("raw", [CONNACK_V5], indirect=True)
def test_a_message_whose_connection_has_gone_is_not_acknowledged_and_nothing_breaks(raw: RawBroker) -> None:
    up = connection(raw.port)
    up.open()
    up.abandon()
    up.acknowledge(Incoming("t", b"", 1, 7, False, False, 0))


@pytest.mark.parametrize("raw", [CONNACK_V5], indirect=True)
def test_a_message_behind_a_stalled_network_is_not_sent_and_never_arrives_stale(raw: RawBroker) -> None:
    stalled = connection(raw.port, keepalive_s=60)
    stalled.open()
    filler = Outgoing("x", b"0" * 100_000, qos=0)
    until(lambda: not stalled.publish(filler), "the network takes no more")
    assert not stalled.publish(Outgoing("action", b"late"))
    stalled.abandon()
    assert not stalled.publish(Outgoing("action", b"later still"))


@pytest.mark.parametrize("raw", [CONNACK_V5], indirect=True)
def test_a_connection_with_an_action_half_sent_is_cut_when_the_action_expires(raw: RawBroker) -> None:
    stalled = connection(raw.port, keepalive_s=60)
    stalled.open()
    leave_by_ns = time.monotonic_ns() + 300_000_000
    assert stalled.publish(Outgoing("action", b"0" * 20_000_000, leave_by_ns=leave_by_ns))  # more than a socket holds
    with pytest.raises(DeliveryError, match="would have arrived stale"):
        while True:
            stalled.step(0.05)
    assert leave_by_ns <= time.monotonic_ns() < leave_by_ns + 1_000_000_000
    stalled.abandon()


@pytest.mark.parametrize("raw", [CONNACK_V5], indirect=True)
@pytest.mark.parametrize("next_is", ["a message", "an acknowledgement"])
def test_the_rest_of_an_expired_action_does_not_leave_with_what_is_sent_next(raw: RawBroker, next_is: str) -> None:
    stalled = connection(raw.port, keepalive_s=60)
    stalled.open()
    size, leave_by_ns = 20_000_000, time.monotonic_ns() + 50_000_000
    assert stalled.publish(Outgoing("action", b"0" * size, leave_by_ns=leave_by_ns))
    until(lambda: time.monotonic_ns() > leave_by_ns, "the action's time is over")
    arrived: list[int] = []

    def read() -> None:  # the network has recovered
        with contextlib.suppress(OSError):
            while chunk := raw.peers[0].recv(1 << 20):
                arrived.append(len(chunk))

    reader = threading.Thread(target=read)
    reader.start()

    def is_cut() -> bool:
        if next_is == "a message":
            stalled.publish(Outgoing("x", b"", qos=0))
        else:
            stalled.acknowledge(Incoming("t", b"", 1, 7, False, False, 0))
        return not reader.is_alive()

    until(is_cut, "the connection is cut")
    assert sum(arrived) < size
    stalled.abandon()


def test_a_broker_that_answers_pings_but_takes_nothing_is_given_up() -> None:
    broker = DeafBroker(CONNACK_V5)
    station = SmallStation()
    link = station.link(mqtt_settings(broker.port, keepalive_s=1))
    link.open(station)
    until(lambda: station.connected >= 2, "a second try")
    link.close()
    broker.close()


@needs_mosquitto
def test_a_message_whose_time_is_over_is_not_sent() -> None:
    with EmbeddedBroker("mosquitto") as broker:
        up = Connection(mqtt_settings(broker.port), Introduction("me", [Subscription("x")]), "mqtt5")
        up.open()
        assert not up.publish(Outgoing("x", b"late", leave_by_ns=time.monotonic_ns()))
        assert up.publish(Outgoing("x", b"fresh", leave_by_ns=time.monotonic_ns() + 10**9, token="t"))
        events: list[Incoming | Answered] = []

        def step() -> bool:
            events.extend(up.step(0.05))
            return len(events) == 2

        until(step, "the message and its answer")
        assert {getattr(event, "payload", b"answer") for event in events} == {b"fresh", b"answer"}
        assert up.silent_ms() == 0
        up.close()
        assert not up.publish(Outgoing("x", b"after"))
        with pytest.raises(DeliveryError):
            up.step(0.0)


@needs_mosquitto
def test_the_socket_sends_at_once() -> None:
    with EmbeddedBroker("mosquitto") as broker:
        up = connection(broker.port)
        up.open()
        sock = up._socket()
        assert sock is not None
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        up.close()


@needs_mosquitto
def test_many_threads_may_publish_through_one_connection() -> None:
    with EmbeddedBroker("mosquitto") as broker:
        up = Connection(mqtt_settings(broker.port), Introduction("me", [Subscription("x/#")]), "mqtt5")
        up.open()
        stop = threading.Event()
        heard: dict[str, list[int]] = {}
        answers: list[object] = []

        def serve() -> None:
            while not stop.is_set():
                for event in up.step(0.05):
                    if isinstance(event, Incoming):
                        heard.setdefault(event.topic, []).append(int(event.payload[:6]))
                        up.acknowledge(event)
                    else:
                        answers.append(event.token)

        def publish(name: str) -> None:
            for number in range(500):
                payload = f"{number:06}".encode() + b"." * 3000
                until(lambda: up.publish(Outgoing(f"x/{name}", payload, token=name)), "room")  # noqa: B023

        owner = threading.Thread(target=serve, daemon=True)
        owner.start()
        writers = [threading.Thread(target=publish, args=(name,), daemon=True) for name in "abcd"]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join(WAIT_S)
        until(lambda: len(answers) == 2000, "every answer")
        until(lambda: sum(map(len, heard.values())) == 2000, "every message")
        stop.set()
        owner.join(WAIT_S)
        up.close()
        assert heard == {f"x/{name}": list(range(500)) for name in "abcd"}
