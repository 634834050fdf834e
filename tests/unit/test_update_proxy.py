"""Updates through a plant's proxy: the same limits, the same trust, and none that nobody named."""

import os
import re
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from socket import socket

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import DeliveryError
from appliance.update.pace import TransferLimits
from appliance.update.proxy import Proxy
from appliance.update.transport import Transport
from tests.certificates import make_certificates, needs_openssl
from tests.proxy_server import ESTABLISHED, Answer, ProxyServer
from tests.tuf_repository import Repository
from tests.update_server import Exchange, UpdateServer

ROOT = Path(__file__).parents[2]
CONTENT = bytes(range(256)) * 300
NAME = "models/boards.bundle"


@pytest.fixture
def server() -> Iterator[UpdateServer]:
    with UpdateServer({"file": CONTENT}) as server:
        yield server


def through(proxy: ProxyServer, **limits: float) -> Transport:
    return Transport(TransferLimits.model_validate(limits), allows_plain_loopback=True, proxy=Proxy.of(proxy.url))


def read(url: str, transport: Transport, most_bytes: int = 100_000) -> bytes:
    with transport.get(url, most_bytes=most_bytes) as answer:
        assert answer.status == 200
        return b"".join(answer.chunks(most_bytes))


def test_a_file_comes_through_the_proxy(server: UpdateServer) -> None:
    with ProxyServer() as proxy:
        assert read(f"{server.url}/file", through(proxy)) == CONTENT
        assert proxy.asked == [server.url.removeprefix("http://")]
        assert proxy.carried > len(CONTENT)


def says(content: bytes) -> Answer:
    return lambda caller, stopped: caller.sendall(content)


def silent(caller: socket, stopped: threading.Event) -> None:
    stopped.wait()


def dripping(caller: socket, stopped: threading.Event) -> None:
    for byte in b"HTTP/1.1 200 OK\r\nX-Header: " + b"x" * 10_000:
        caller.sendall(bytes([byte]))
        if stopped.wait(0.02):
            return


def endless(caller: socket, stopped: threading.Event) -> None:
    caller.sendall(b"HTTP/1.1 200 OK\r\n")
    while not stopped.is_set():
        caller.sendall(b"X-Header: value\r\n" * 1000)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (says(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"), "wants a password; let it pass"),
        (says(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"), r"answers 403 for 127.0.0.1:\d+; let it pass"),
        (says(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9/\r\n\r\n"), "answers 302"),
        (says(b"HTTP/1.1 502 Bad Gateway\r\n\r\n"), "answers 502"),
        (says(b"SSH-2.0-OpenSSH\r\n\r\n"), "gives no answer that is one"),
        (says(b"HTTP/1.1 2000 OK\r\n\r\n"), "gives no answer that is one"),
        (says(b""), "gives no answer that is one; check its address"),
        (says(b"HTTP/1.1 200 OK\r\n"), "gives no answer that is one; check its address"),
        (endless, "gives no answer that is one; check its address"),
        (silent, "timed out; check the network and its address"),
        (dripping, "timed out; check the network and its address"),
    ],
    ids=["407", "403", "302", "502", "ssh", "2000", "hangs up", "half", "endless", "silent", "dripping"],
)
def test_a_proxy_that_does_not_let_us_through_is_told_in_words(
    server: UpdateServer, answer: Answer, words: str
) -> None:
    with ProxyServer(answer) as proxy:
        began = time.monotonic()
        with pytest.raises(DeliveryError, match=rf"the proxy 127\.0\.0\.1:{proxy.port}.* {words}"):
            read(f"{server.url}/file", through(proxy, connect_s=0.4))
        assert time.monotonic() - began < 3.0
    assert server.requests == []


def test_a_proxy_that_is_not_there_is_told_in_words(server: UpdateServer) -> None:
    with ProxyServer() as proxy:
        gone = through(proxy)
    with pytest.raises(DeliveryError, match=r"the proxy 127\.0\.0\.1:\d+: .*refused; check the network"):
        read(f"{server.url}/file", gone)


def test_a_server_behind_a_proxy_keeps_to_the_same_limits(server: UpdateServer) -> None:
    def drip(exchange: Exchange) -> None:
        exchange.head(200, {"Content-Length": 1000})
        exchange.drip(bytes(1000), 0.02)

    def endless_body(exchange: Exchange) -> None:
        exchange.head(200, {"Transfer-Encoding": "chunked"})
        while True:
            exchange.body(b"10000\r\n" + bytes(1 << 16) + b"\r\n")

    with ProxyServer() as proxy:
        server.answers["file"] = drip
        with pytest.raises(DeliveryError, match="less than 10000 bytes/s"):
            read(f"{server.url}/file", through(proxy, window_s=0.2, min_bytes_per_s=10_000))
        server.answers["file"] = endless_body
        with pytest.raises(DeliveryError, match="at most were signed"):
            read(f"{server.url}/file", through(proxy))
        assert proxy.carried < 30_000_000


def test_what_a_proxy_slips_in_before_the_server_is_no_answer_of_the_server(server: UpdateServer) -> None:
    """Over TLS, as everywhere but in tests: what the proxy says after its answer is taken for the handshake."""
    slipped = says(ESTABLISHED + b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfalse")
    with ProxyServer(slipped) as proxy, pytest.raises(DeliveryError, match="check the network"):
        read(server.url.replace("http:", "https:") + "/file", through(proxy))


@pytest.mark.parametrize(
    "url",
    [
        "proxy.example.com:3128", "https://proxy.example.com:3128", "http://proxy.example.com", "http://:3128",
        "http://user:secret@proxy.example.com:3128", "http://proxy.example.com:3128/way", "http://p:0", "http://p:99999",
        "socks5://proxy.example.com:1080", "", "http://[::1:3128", "http://p:3128?x", "http://p..q:3128",
    ],
)  # fmt: skip
def test_only_host_and_port_are_a_proxy(url: str) -> None:
    with pytest.raises(ValueError, match="write http://HOST:PORT"):
        Proxy.of(url)


@given(st.text(max_size=40).map(lambda text: f"http://{text}"))
def test_whatever_a_person_writes_it_is_a_proxy_or_a_mistake(url: str) -> None:
    try:
        proxy = Proxy.of(url)
    except ValueError as error:
        assert "write http://HOST:PORT" in str(error)
    else:
        assert proxy.host
        assert 0 < proxy.port < 65_536


class Station:
    """agent.yaml for a repository over TLS, and the real program."""

    def __init__(self, folder: Path, server: UpdateServer, root: bytes) -> None:
        make_certificates(folder, {"server": "ca", "other": "stranger"})
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "server.crt", folder / "server.key")
        server.use_tls(context)
        (folder / "floor").mkdir()
        (folder / "root.json").write_bytes(root)
        address = server.url.replace("http:", "https:")
        self.config = folder / "agent.yaml"
        self.keys = {
            "metadata_url": f"{address}/metadata", "targets_url": f"{address}/targets", "root": "root.json",
            "state": "agent", "floor": "floor/floor.json", "ca_file": "ca.crt", "reserve_mb": 0,
            "built_at": "2026-01-01T00:00:00Z",
        }  # fmt: skip

    def downloads(self, environment: dict[str, str], **keys: object) -> "subprocess.CompletedProcess[str]":
        self.config.write_text(yaml.safe_dump({**self.keys, **keys}))
        command = [sys.executable, "-m", "appliance", "agent", "download", NAME, "--config", str(self.config)]
        environment = os.environ | {"PYTHONPATH": str(ROOT)} | environment
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def station(tmp_path: Path) -> Iterator[Station]:
    repository = Repository()
    repository.add_target(NAME, b"weights", custom={"kind": "model", "seq": 3})
    repository.update()
    with UpdateServer(repository.files) as server:
        yield Station(tmp_path, server, repository.root_bytes())


@needs_openssl
def test_the_agent_asks_through_the_proxy_that_is_named(station: Station) -> None:
    with ProxyServer() as proxy:
        ended = station.downloads({}, proxy=proxy.url)
        assert ended.returncode == 0, ended.stderr
        assert Path(ended.stdout.strip()).read_bytes() == b"weights"
        assert len(proxy.asked) == 5
        assert not [head for head in proxy.heads if b"boards" in head]


@needs_openssl
def test_a_proxy_with_a_certificate_of_its_own_is_not_believed(station: Station) -> None:
    """A proxy that looks into TLS shows another certificate than the server's."""
    with ProxyServer() as proxy:
        ended = station.downloads({}, proxy=proxy.url, ca_file="stranger.crt")
    assert ended.returncode == 1
    assert "certificate is not believed" in ended.stderr


@needs_openssl
def test_what_the_environment_says_of_proxies_is_never_taken(station: Station) -> None:
    with ProxyServer(says(b"HTTP/1.1 502 Bad Gateway\r\n\r\n")) as proxy:
        names = ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
        ended = station.downloads(dict.fromkeys(names, proxy.url))
        assert ended.returncode == 0, ended.stderr
        assert proxy.asked == []


@needs_openssl
def test_a_mistake_in_the_proxys_address_is_told_with_its_line(station: Station) -> None:
    ended = station.downloads({}, proxy="http://user:secret@proxy:3128")
    assert ended.returncode == 78
    assert re.search(r"agent\.yaml:\d+: proxy: .*write http://HOST:PORT", ended.stderr)
    assert "secret" not in ended.stderr
