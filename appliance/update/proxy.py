"""A way through the plant's proxy: CONNECT, so that TLS and all within it stay between this device and the server."""

import re
import socket
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

from appliance.errors import DeliveryError

MOST_HEADER_BYTES = 16 * 1024
STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})[ \r\n]")
ENDS = (b"\r\n\r\n", b"\n\n")
WANTS_PASSWORD = 407


@dataclass(frozen=True, slots=True)
class Proxy:
    """Where it listens."""

    host: str
    port: int

    @classmethod
    def of(cls, url: str) -> "Proxy":
        """Read an address such as http://proxy.example.com:3128.

        Raises:
            ValueError: it is none, or has more in it, such as a password.
        """
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
            (host or "").encode("idna")
        except ValueError as error:
            raise ValueError(f"no address of a proxy ({error}); write http://HOST:PORT") from error
        is_more = parts.path not in ("", "/") or "@" in parts.netloc or "?" in url or "#" in url
        if parts.scheme != "http" or not host or not port or is_more:
            raise ValueError("no address of a proxy; write http://HOST:PORT and nothing else")  # not what may be secret
        return cls(host, port)

    def reach(self, connection: socket.socket, host: str, port: int, until: float) -> None:
        """Let the proxy connect to a server; it finds the server's address itself.

        Args:
            connection: to the proxy.
            host: the server.
            port: the server's.
            until: monotonic seconds at which it must have answered.

        Raises:
            DeliveryError: it says no, or something that is no answer.
            TimeoutError: it says nothing in time.

        Source:
            RFC 9110 section 9.3.6 (CONNECT).
        """
        server = f"[{host}]:{port}" if ":" in host else f"{host.encode('idna').decode()}:{port}"
        connection.settimeout(_left_s(until))
        connection.sendall(f"CONNECT {server} HTTP/1.1\r\nHost: {server}\r\n\r\n".encode("ascii"))
        header = b""
        while not header.endswith(ENDS):
            connection.settimeout(_left_s(until))
            byte = connection.recv(1)  # not one more: what follows is the server's
            header += byte
            if not byte or len(header) > MOST_HEADER_BYTES:
                raise DeliveryError(f"the proxy {self} gives no answer that is one; check its address")
        found = STATUS.match(header)
        status = int(found[1]) if found else 0
        if status == WANTS_PASSWORD:
            raise DeliveryError(f"the proxy {self} wants a password; let it pass this device by its address")
        if not 200 <= status <= 299:
            said = f"answers {status}" if found else "gives no answer that is one"
            raise DeliveryError(f"the proxy {self} {said} for {server}; let it pass this device to there")

    def __str__(self) -> str:
        """Return it as a person writes it."""
        return f"{self.host}:{self.port}"


def _left_s(until: float) -> float:
    left_s = until - time.monotonic()
    if left_s <= 0:
        raise TimeoutError("timed out")
    return left_s
