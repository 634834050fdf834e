"""A small proxy on a real socket that knows CONNECT, and misbehaves where a test wants it to."""

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import TypeAlias

ESTABLISHED = b"HTTP/1.1 200 Connection established\r\nVia: a plant's proxy\r\n\r\n"

Answer: TypeAlias = Callable[[socket.socket, threading.Event], None]
"""What answers a CONNECT instead of connecting."""


class ProxyServer:
    """Carries bytes both ways for whoever asks by CONNECT; asked: the servers that were asked for.

    carried: bytes that came back from servers. heads: all header lines of requests.
    """

    def __init__(self, answer: Answer | None = None) -> None:
        self.answer = answer
        self.asked: list[str] = []
        self.heads: list[bytes] = []
        self.carried = 0
        self._stopped = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def __enter__(self) -> "ProxyServer":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def _listen(self) -> None:
        while True:
            try:
                caller, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(caller,), daemon=True).start()

    def _serve(self, caller: socket.socket) -> None:
        with caller, suppress(OSError):
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                byte = caller.recv(1)
                if not byte:
                    return
                head += byte
            self.heads.append(head)
            method, server, _ = head.split(b" ", 2)
            self.asked.append(server.decode())
            if self.answer is not None:
                self.answer(caller, self._stopped)
                return
            assert method == b"CONNECT"
            host, _, port = server.decode().rpartition(":")
            with socket.create_connection((host.strip("[]"), int(port))) as far:
                caller.sendall(ESTABLISHED)
                back = threading.Thread(target=self._carry, args=(far, caller), daemon=True)
                back.start()
                self._carry(caller, far)
                back.join()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        is_back = sink.getsockname()[1] == self.port
        with suppress(OSError):
            while content := source.recv(1 << 16):
                self.carried += len(content) if is_back else 0
                sink.sendall(content)
            sink.shutdown(socket.SHUT_WR)
