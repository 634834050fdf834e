"""One HTTP GET or PUT as a device may do it: to the named server only, bounded in size, time and slowness."""

import http.client
import io
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any
from urllib.parse import SplitResult, urlsplit

from appliance.errors import ConfigError, DeliveryError
from appliance.update.pace import MAX_READ_BYTES, Pace, TransferLimits
from appliance.update.proxy import Proxy

LOOPBACK = ("127.0.0.1", "::1", "localhost")
TAKEN = (200, 201, 204)
"""What a server answers that keeps what it was sent."""

HEADER_BYTES = 256 * 1024
"""More than an honest server's header, little enough to be thrown away."""


class _Wire(io.RawIOBase):
    """What comes off the socket, by the pace."""

    def __init__(self, connection: socket.socket, pace: Pace) -> None:
        self._connection, self._pace = connection, pace
        self._keeps_open = connection.makefile("rb", buffering=0)  # the socket closes with its last reader

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while True:
            self._connection.settimeout(self._pace.patience_s())
            try:
                count = self._connection.recv_into(memoryview(buffer)[:MAX_READ_BYTES])
            except TimeoutError:
                continue
            self._pace.took(count)
            return count

    def close(self) -> None:
        self._keeps_open.close()
        super().close()


class _WatchedSocket:
    """The one thing of a socket that http.client's response asks for."""

    def __init__(self, connection: socket.socket, pace: Pace) -> None:
        self._wire = _Wire(connection, pace)

    def makefile(self, mode: str) -> IO[bytes]:
        return io.BufferedReader(self._wire, MAX_READ_BYTES)


def _watched_response(pace: Pace, connection: socket.socket, **options: Any) -> http.client.HTTPResponse:
    return http.client.HTTPResponse(_WatchedSocket(connection, pace), **options)  # type: ignore[arg-type]


class Answer:
    """What a server answered: the status, and a body that is read once."""

    def __init__(self, response: http.client.HTTPResponse, place: str) -> None:
        """Take over a response whose header was read."""
        self._response, self._place = response, place
        self.status = response.status

    def header(self, name: str) -> str:
        """Return a header, or an empty string."""
        return self._response.getheader(name, "")

    def chunks(self, most_bytes: int) -> Iterator[bytes]:
        """Read the body.

        Args:
            most_bytes: what it may have.

        Yields:
            Its bytes in order, never more than most_bytes.

        Raises:
            DeliveryError: it is longer, encoded, cut short or of unknown length.
        """
        encoding = self.header("Content-Encoding").lower()
        if encoding not in ("", "identity"):
            raise DeliveryError(f"{self._place}: came as {encoding}, which nobody asked for; correct the server")
        length = self._response.length
        if length is None and not self._response.chunked:
            raise DeliveryError(f"{self._place}: the server does not say how long it is; let it send Content-Length")
        if length is not None and length > most_bytes:
            raise self._too_long(most_bytes, length)
        received = 0
        with _in_words(self._place):
            while chunk := self._response.read1(MAX_READ_BYTES):
                received += len(chunk)
                if received > most_bytes:
                    raise self._too_long(most_bytes, received)
                yield chunk
        if length is not None and received < length:
            raise DeliveryError(f"{self._place}: cut off after {received} of {length} bytes; try again")

    def _too_long(self, most_bytes: int, found: int) -> DeliveryError:
        return DeliveryError(
            f"{self._place}: {found} bytes or more, and {most_bytes} at most were signed; "
            "the server is misused or broken"
        )


@dataclass(frozen=True, slots=True)
class Transport:
    """How this device gets files; ca_file: the only authority that is believed, None: those of the system.

    allows_plain_loopback: http to this very computer, for tests and nothing else. proxy: through which every server is
    asked, None: none; what the process's environment says of proxies is never asked.
    """

    limits: TransferLimits
    ca_file: Path | None = None
    allows_plain_loopback: bool = False
    proxy: Proxy | None = None

    def check_address(self, url: str) -> SplitResult:
        """Return the parts of an address that this device may ask.

        Raises:
            ConfigError: not https, or not an address: its name cannot be asked for, or its path is not percent-encoded.
        """
        try:
            parts = urlsplit(url)
            port = parts.port
            (parts.hostname or "").encode("idna")
            parts.path.encode("ascii")
        except ValueError as error:
            raise ConfigError(f"{url}: no address of a server ({error}); write https://SERVER/PATH") from error
        is_allowed = parts.scheme == "https" or (
            parts.scheme == "http" and self.allows_plain_loopback and parts.hostname in LOOPBACK
        )
        if not is_allowed or not parts.hostname or port == 0 or parts.username or parts.query or parts.fragment:
            raise ConfigError(f"{url}: updates are fetched by https only; write https://SERVER/PATH and nothing else")
        return parts

    def check_authority(self) -> ssl.SSLContext:
        """Return whom this device believes.

        Raises:
            ConfigError: ca_file cannot be read, or holds no certificate.
        """
        try:
            return ssl.create_default_context(cafile=self.ca_file)
        except OSError as error:  # ssl's are some of these
            raise ConfigError(
                f"{self.ca_file}: no certificates of an authority ({error}); name a file with the authority's "
                "certificate (PEM)"
            ) from error

    @contextmanager
    def get(self, url: str, *, most_bytes: int, ends_at: float | None = None, first_byte: int = 0) -> Iterator[Answer]:
        """Ask for a file; a redirection is an answer like another, and never followed.

        Args:
            url: its address.
            most_bytes: the longest body that is read.
            ends_at: monotonic seconds at which the transfer must be over; None: as long as it is fast enough.
            first_byte: more than 0 asks for the rest from there (Range).

        Yields:
            The answer, whatever its status.

        Raises:
            ConfigError: not an address that this device may ask, or no authority that it may believe.
            DeliveryError: no answer, or the transfer broke the limits.

        Source:
            RFC 9110 section 14 (ranges).
        """
        headers = {"Range": f"bytes={first_byte}-"} if first_byte else {}
        with self._asked("GET", url, most_bytes=most_bytes, ends_at=ends_at, headers=headers) as answer:
            yield answer

    def put(self, url: str, content: bytes) -> None:
        """Let a server keep a document in place of the one that it has; a redirection is a refusal.

        Args:
            url: its address.
            content: all of it, JSON.

        Raises:
            ConfigError: not an address that this device may ask, or no authority that it may believe.
            DeliveryError: no answer, a refusal, or the transfer broke the limits.

        Source:
            RFC 9110 section 9.3.4 (PUT).
        """
        ends_at = time.monotonic() + self.limits.refresh_s
        headers = {"Content-Type": "application/json", "Content-Length": str(len(content))}
        with self._asked("PUT", url, most_bytes=0, ends_at=ends_at, headers=headers, body=content) as answer:
            if answer.status not in TAKEN:
                raise DeliveryError(f"{url}: the server answers {answer.status}; check the address and the server")

    @contextmanager
    def _asked(
        self, method: str, url: str, *, most_bytes: int, ends_at: float | None, headers: Mapping[str, str],
        body: bytes | None = None,
    ) -> Iterator[Answer]:  # fmt: skip
        parts = self.check_address(url)
        pace = Pace(self.limits, url, most_bytes=2 * most_bytes + HEADER_BYTES, ends_at=ends_at)
        asked = {"Accept-Encoding": "identity", "User-Agent": "inspection-appliance", "Connection": "close"}
        with _in_words(url):
            connection = self._connect(parts, ends_at)
        try:
            connection.response_class = partial(_watched_response, pace)  # type: ignore[assignment]
            with _in_words(url):
                connection.sock.settimeout(self.limits.window_s)  # what is sent is short
                connection.request(method, parts.path or "/", body=body, headers={**asked, **headers})
                response = connection.getresponse()
            with response:
                yield Answer(response, url)
        finally:
            connection.close()

    def _connect(self, parts: SplitResult, ends_at: float | None) -> http.client.HTTPConnection:
        host, until = parts.hostname or "", time.monotonic() + self.limits.connect_s
        until = until if ends_at is None else min(until, ends_at)
        connection: http.client.HTTPConnection
        if parts.scheme == "https":
            trust = self.check_authority()
            connection = http.client.HTTPSConnection(host, parts.port, context=trust)
            connection.sock = _shake_hands(self._reached(host, connection.port, until), trust, host, until)
        else:
            connection = http.client.HTTPConnection(host, parts.port)
            connection.sock = self._reached(host, connection.port, until)
        return connection

    def _reached(self, host: str, port: int, until: float) -> socket.socket:
        if self.proxy is None:
            return _connected(host, port, until)
        try:
            connection = _connected(self.proxy.host, self.proxy.port, until)
            try:
                self.proxy.reach(connection, host, port, until)
            except (OSError, DeliveryError):
                connection.close()
                raise
        except OSError as error:
            raise DeliveryError(f"the proxy {self.proxy}: {error}; check the network and its address") from error
        return connection


def _connected(host: str, port: int, until: float) -> socket.socket:
    """Try one address of the host after the other; each gets its share of the time, and all together no more."""
    addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)  # takes as long as the system's resolver
    for number, (family, kind, protocol, _, address) in enumerate(addresses):
        connection = socket.socket(family, kind, protocol)
        try:
            connection.settimeout(_left_s(until) / (len(addresses) - number))
            connection.connect(address)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return connection
        except OSError:
            connection.close()
            if number == len(addresses) - 1:
                raise
    raise OSError(f"{host} has no address")


def _shake_hands(connection: socket.socket, trust: ssl.SSLContext, host: str, until: float) -> ssl.SSLSocket:
    try:
        connection.settimeout(_left_s(until))  # one deadline for the whole handshake
        return trust.wrap_socket(connection, server_hostname=host)
    except OSError:
        connection.close()
        raise


def _left_s(until: float) -> float:
    return max(0.001, until - time.monotonic())


@contextmanager
def _in_words(place: str) -> Iterator[None]:
    try:
        yield
    except ssl.SSLCertVerificationError as error:
        raise DeliveryError(
            f"{place}: the server's certificate is not believed ({error.verify_message}); "
            "check the address, the clock and the authority's certificate"
        ) from error
    except (OSError, http.client.HTTPException) as error:
        raise DeliveryError(
            f"{place}: {str(error) or type(error).__name__}; check the network and the address"
        ) from error
