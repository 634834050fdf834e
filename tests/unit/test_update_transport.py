"""One GET over a real socket, against servers that stall, drip, lie, never end or send somebody elsewhere."""

import gzip
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.errors import ConfigError, DeliveryError
from appliance.update.pace import TransferLimits
from appliance.update.transport import Transport
from tests.certificates import make_certificates, needs_openssl
from tests.update_server import Answer, Exchange, UpdateServer

LIMITS = TransferLimits()
TRANSPORT = Transport(LIMITS, allows_plain_loopback=True)
IMPATIENT = Transport(TransferLimits(window_s=0.2, min_bytes_per_s=10_000), allows_plain_loopback=True)
MOST = 100_000
SOON_S = 5.0


@contextmanager
def serving(answer: Answer) -> Iterator[tuple[UpdateServer, str]]:
    with UpdateServer({}) as server:
        server.answers["file"] = answer
        yield server, f"{server.url}/file"


def read(url: str, transport: Transport = TRANSPORT, most_bytes: int = MOST, ends_at: float | None = None) -> bytes:
    with transport.get(url, most_bytes=most_bytes, ends_at=ends_at) as answer:
        assert answer.status == 200
        return b"".join(answer.chunks(most_bytes))


def test_a_file_comes_as_it_is() -> None:
    with UpdateServer({"file": bytes(range(256)) * 300}) as server:
        assert read(f"{server.url}/file") == bytes(range(256)) * 300


def chunked(exchange: Exchange) -> None:
    exchange.head(200, {"Transfer-Encoding": "chunked"})
    exchange.body(b"5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n")


def test_a_file_in_chunks_comes_whole() -> None:
    with serving(chunked) as (_, url):
        assert read(url) == b"hello!"


def longer_than_allowed(exchange: Exchange) -> None:
    exchange.head(200, {"Content-Length": 4_000_000_000})
    while True:
        exchange.body(bytes(1 << 16))


def endless(exchange: Exchange) -> None:
    exchange.head(200, {"Transfer-Encoding": "chunked"})
    while True:
        exchange.body(b"10000\r\n" + bytes(1 << 16) + b"\r\n")


def endless_header(exchange: Exchange) -> None:
    exchange.body(b"HTTP/1.1 200 OK\r\n")
    while True:
        exchange.body(b"X-Header: value\r\n" * 1000)


def endless_line(exchange: Exchange) -> None:
    exchange.body(b"HTTP/1.1 200 OK\r\nX-Header: ")
    while True:
        exchange.body(bytes(1 << 16))


def endless_continues(exchange: Exchange) -> None:
    while True:
        exchange.body(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000)


def endless_trailer(exchange: Exchange) -> None:
    exchange.body(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n")
    while True:
        exchange.body(b"X-Trailer: value\r\n" * 1000)


ENDLESS = [longer_than_allowed, endless, endless_header, endless_line, endless_continues, endless_trailer]


@pytest.mark.parametrize("answer", ENDLESS, ids=lambda answer: answer.__name__)
def test_endless_data_ends_at_what_was_allowed(answer: Answer) -> None:
    with serving(answer) as (server, url):
        with pytest.raises(DeliveryError, match=r"; .+"):
            read(url)
        assert sum(server.sent.values()) < 30_000_000  # what the sockets of both sides may have held


def test_not_one_byte_more_is_handed_on_where_nobody_says_how_long_it_is() -> None:
    def one_more(exchange: Exchange) -> None:
        exchange.head(200, {"Transfer-Encoding": "chunked"})
        exchange.body(b"6\r\nhello!\r\n0\r\n\r\n")

    with serving(one_more) as (_, url):
        with pytest.raises(DeliveryError, match="5 at most were signed"):
            read(url, most_bytes=5)
        assert read(url, most_bytes=6) == b"hello!"


def silent(exchange: Exchange) -> None:
    exchange.stopped.wait()


def silent_after_the_header(exchange: Exchange) -> None:
    exchange.head(200, {"Content-Length": 1000})
    exchange.stopped.wait()


def dripping_body(exchange: Exchange) -> None:
    exchange.head(200, {"Content-Length": 1000})
    exchange.drip(bytes(1000), 0.02)


def dripping_header(exchange: Exchange) -> None:
    exchange.drip(b"HTTP/1.1 200 OK\r\nX-Header: " + b"x" * 60_000, 0.02)


def stalling(exchange: Exchange) -> None:
    exchange.head(200, {"Content-Length": 90_000})
    exchange.body(bytes(50_000))
    exchange.stopped.wait()


SLOW = [silent, silent_after_the_header, dripping_body, dripping_header, stalling]


@pytest.mark.parametrize("answer", SLOW, ids=lambda answer: answer.__name__)
def test_a_server_that_is_too_slow_is_given_up(answer: Answer) -> None:
    with serving(answer) as (_, url):
        began = time.monotonic()
        with pytest.raises(DeliveryError, match=r"less than 10000 bytes/s; look at"):
            read(url, IMPATIENT)
        assert time.monotonic() - began < SOON_S


def test_a_transfer_that_is_fast_enough_ends_with_its_time_all_the_same() -> None:
    patient = Transport(LIMITS.model_copy(update={"min_bytes_per_s": 1}), allows_plain_loopback=True)
    with serving(dripping_body) as (_, url), pytest.raises(DeliveryError, match="when its time was over"):
        read(url, patient, ends_at=time.monotonic() + 0.3)


def test_the_plants_network_is_used_as_fast_as_it_may_and_no_faster() -> None:
    content = bytes(90_000)
    limited = Transport(LIMITS.model_copy(update={"max_bytes_per_s": 300_000}), allows_plain_loopback=True)
    with UpdateServer({"file": content}) as server:
        began = time.monotonic()
        assert read(f"{server.url}/file", limited) == content
        assert time.monotonic() - began >= 0.25


def test_a_bandwidth_that_is_too_slow_in_itself_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="twice min_bytes_per_s"):
        TransferLimits(min_bytes_per_s=1000, max_bytes_per_s=1500)


def test_a_bomb_is_never_unpacked() -> None:
    bomb, accepted = gzip.compress(bytes(50_000_000)), []

    def zipped(exchange: Exchange) -> None:
        accepted.append(exchange.handler.headers["Accept-Encoding"])
        exchange.head(200, {"Content-Encoding": "gzip", "Content-Length": len(bomb)})
        exchange.body(bomb)

    with serving(zipped) as (_, url), pytest.raises(DeliveryError, match="came as gzip"):
        read(url)
    assert accepted == ["identity"]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_nobody_is_sent_elsewhere(status: int) -> None:
    with UpdateServer({"file": b"elsewhere"}) as elsewhere:

        def redirect(exchange: Exchange) -> None:
            exchange.head(status, {"Location": f"{elsewhere.url}/file", "Content-Length": 0})

        with serving(redirect) as (_, url), TRANSPORT.get(url, most_bytes=MOST) as answer:
            assert answer.status == status
        assert elsewhere.requests == []


def cut(exchange: Exchange) -> None:
    exchange.head(200, {"Content-Length": 1000})
    exchange.body(bytes(400))


def cut_chunk(exchange: Exchange) -> None:
    exchange.head(200, {"Transfer-Encoding": "chunked"})
    exchange.body(b"3e8\r\n" + bytes(400))


def of_unknown_length(exchange: Exchange) -> None:
    exchange.head(200, {})
    exchange.body(b"is this all?")


def hangs_up(exchange: Exchange) -> None:
    assert exchange.path


@pytest.mark.parametrize("answer", [cut, cut_chunk, of_unknown_length, hangs_up], ids=lambda answer: answer.__name__)
def test_a_file_that_may_not_be_all_is_none(answer: Answer) -> None:
    with serving(answer) as (_, url), pytest.raises(DeliveryError):
        read(url)


def test_a_server_that_is_not_there_is_the_networks_fault() -> None:
    with UpdateServer({}) as server:
        gone = f"{server.url}/file"
    with pytest.raises(DeliveryError, match="check the network"):
        read(gone)


@settings(max_examples=60)
@given(raw=st.one_of(st.binary(max_size=300), st.binary(max_size=300).map(lambda rest: b"HTTP/1.1 200 OK\r\n" + rest)))
def test_whatever_a_server_says_it_is_an_answer_or_a_delivery_error(raw: bytes) -> None:
    with serving(lambda exchange: exchange.body(raw)) as (_, url):
        try:
            with TRANSPORT.get(url, most_bytes=MOST) as answer:
                assert sum(map(len, answer.chunks(MOST))) <= len(raw)
        except DeliveryError as error:
            assert url in str(error)


@pytest.mark.parametrize(
    "url",
    [
        "http://updates.example/x", "ftp://127.0.0.1/x", "file:///etc/passwd", "https:///x", "https://a:b@c/x",
        "updates", "https://c/x?y=1", "https://c/x#y", "https://[::1/x", "https://c:99999/x", "",
        "https://updates..example.com/", "https://c/münchen/", f"https://{'c' * 64}/",
    ],
)  # fmt: skip
def test_only_https_to_a_server_is_an_address(url: str) -> None:
    with pytest.raises(ConfigError, match="https://SERVER/PATH"):
        TRANSPORT.check_address(url)


def test_plain_http_to_this_computer_is_for_tests_only() -> None:
    with pytest.raises(ConfigError, match="https only"):
        Transport(LIMITS).check_address("http://127.0.0.1/x")


@contextmanager
def serving_tls(folder: Path, days: int = 2) -> Iterator[str]:
    make_certificates(folder, {"server": "ca", "other": "stranger"}, days=days)
    with UpdateServer({"file": b"secret"}) as server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "server.crt", folder / "server.key")
        server.use_tls(context)
        yield server.url.replace("http:", "https:") + "/file"


@needs_openssl
def test_a_server_with_the_plants_certificate_is_believed(tmp_path: Path) -> None:
    with serving_tls(tmp_path) as url:
        assert read(url, Transport(LIMITS, ca_file=tmp_path / "ca.crt")) == b"secret"


@needs_openssl
@pytest.mark.parametrize("authority", ["stranger", None])
def test_a_server_with_another_certificate_is_not_believed(tmp_path: Path, authority: str | None) -> None:
    with serving_tls(tmp_path) as url, pytest.raises(DeliveryError, match="certificate is not believed"):
        read(url, Transport(LIMITS, ca_file=tmp_path / f"{authority}.crt" if authority else None))


@needs_openssl
@pytest.mark.parametrize(("host", "days"), [("localhost", 2), ("127.0.0.1", -1)], ids=["another name", "expired"])
def test_a_certificate_for_another_name_or_time_is_not_believed(tmp_path: Path, host: str, days: int) -> None:
    """The authority is the right one; its certificate is for 127.0.0.1, and for as many days."""
    with serving_tls(tmp_path, days) as url:
        asked = url.replace("127.0.0.1", host)
        with pytest.raises(DeliveryError, match=r"certificate is not believed \(.*([Mm]ismatch|expired)"):
            read(asked, Transport(LIMITS, ca_file=tmp_path / "ca.crt"))


@pytest.mark.parametrize("content", [b"", b"no certificate", bytes(100)])
def test_an_authority_without_a_certificate_is_a_mistake_in_the_file(tmp_path: Path, content: bytes) -> None:
    authority = tmp_path / "ca.pem"
    authority.write_bytes(content)
    with pytest.raises(ConfigError, match=r"ca\.pem: no certificates of an authority .+; name a file"):
        read("https://127.0.0.1:9/file", Transport(LIMITS, ca_file=authority))


@contextmanager
def deaf(family: socket.AddressFamily, address: str, port: int = 0) -> Iterator[int]:
    """A port whose queue of callers is full, so that a further call waits."""
    with ExitStack() as held:
        listener = held.enter_context(socket.socket(family, socket.SOCK_STREAM))
        listener.bind((address, port))
        listener.listen(0)
        for _ in range(3):
            caller = held.enter_context(socket.socket(family, socket.SOCK_STREAM))
            caller.setblocking(False)
            caller.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


def has_two_addresses() -> bool:
    found = {item[0] for item in socket.getaddrinfo("localhost", 80, type=socket.SOCK_STREAM)}
    return found == {socket.AF_INET, socket.AF_INET6}


@pytest.mark.skipif(not has_two_addresses(), reason="localhost has not both an IPv4 and an IPv6 address here")
def test_all_addresses_of_a_server_have_one_time_together() -> None:
    hasty = Transport(TransferLimits(connect_s=1.0), allows_plain_loopback=True)
    with deaf(socket.AF_INET, "127.0.0.1") as port, deaf(socket.AF_INET6, "::1", port):
        began = time.monotonic()
        with pytest.raises(DeliveryError, match="timed out"):
            read(f"http://localhost:{port}/file", hasty)
        assert 0.9 <= time.monotonic() - began < 1.8


def test_a_server_that_never_shakes_hands_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        began = time.monotonic()
        with pytest.raises(DeliveryError, match="timed out"):
            read(f"https://127.0.0.1:{listener.getsockname()[1]}/file", Transport(TransferLimits(connect_s=0.3)))
        assert 0.2 <= time.monotonic() - began < SOON_S
