"""An HTTP server of updates on a real socket, which misbehaves in the ways that networks and attackers do."""

import re
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import TypeAlias

PIECE_BYTES = 1 << 14


@dataclass
class Exchange:
    """One request as the server sees it, and the means to answer it in any way."""

    handler: BaseHTTPRequestHandler
    path: str
    stopped: threading.Event
    sent: dict[str, int]

    @property
    def first_byte(self) -> int:
        """Where the asked range begins; 0 without one."""
        found = re.fullmatch(r"bytes=(\d+)-", self.handler.headers.get("Range", ""))
        return int(found[1]) if found else 0

    def head(self, status: int, headers: Mapping[str, str | int]) -> None:
        self.handler.send_response(status)
        for name, value in headers.items():
            self.handler.send_header(name, str(value))
        self.handler.end_headers()

    def body(self, content: bytes) -> None:
        for start in range(0, len(content), PIECE_BYTES):
            piece = content[start : start + PIECE_BYTES]
            self.sent[self.path] = self.sent.get(self.path, 0) + len(piece)
            self.handler.wfile.write(piece)

    def drip(self, content: bytes, pause_s: float) -> None:
        """One byte after the other, until the client has had enough."""
        for number in range(len(content)):
            self.body(content[number : number + 1])
            if self.stopped.wait(pause_s):
                return


Answer: TypeAlias = Callable[[Exchange], None]
"""What answers one path instead of the file."""


class UpdateServer:
    """Serves `files` by path, with ranges, in a thread; `answers` overrules it for a path.

    put holds what was sent (PUT), by path, the newest last. requests and first_bytes tell what was asked for, sent how
    many bytes of each path were written to sockets.
    """

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self.files = files
        self.answers: dict[str, Answer] = {}
        self.put: dict[str, list[bytes]] = {}
        self.requests: list[str] = []
        self.first_bytes: list[int] = []
        self.sent: dict[str, int] = {}
        self._stopped = threading.Event()
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                owner._answer(self)

            def do_PUT(self) -> None:
                content = self.rfile.read(int(self.headers["Content-Length"]))
                owner._answer(self, lambda exchange: owner._keep(exchange, content))

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self.metadata_url, self.targets_url = f"{self.url}/metadata/", f"{self.url}/targets/"

    def use_tls(self, context: ssl.SSLContext) -> None:
        """Speak TLS from the next connection on."""
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)

    @property
    def metadata_requests(self) -> list[str]:
        """Names of the metadata files that were asked for, in order."""
        prefix = "metadata/"
        return [path.removeprefix(prefix) for path in self.requests if path.startswith(prefix)]

    @property
    def target_requests(self) -> list[str]:
        return [path.removeprefix("targets/") for path in self.requests if path.startswith("targets/")]

    def __enter__(self) -> "UpdateServer":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _answer(self, handler: BaseHTTPRequestHandler, usual: Answer | None = None) -> None:
        path = handler.path.removeprefix("/")
        self.requests.append(path)
        exchange = Exchange(handler, path, self._stopped, self.sent)
        self.first_bytes.append(exchange.first_byte)
        handler.close_connection = True
        try:
            self.answers.get(path, usual or self._serve)(exchange)
        except OSError:
            return  # the client has gone

    def _keep(self, exchange: Exchange, content: bytes) -> None:
        self.put.setdefault(exchange.path, []).append(content)
        exchange.head(204, {})

    def _serve(self, exchange: Exchange) -> None:
        content = self.files.get(exchange.path)
        if content is None:
            exchange.head(404, {"Content-Length": 0})
        elif not (start := exchange.first_byte):
            exchange.head(200, {"Content-Length": len(content)})
            exchange.body(content)
        elif start >= len(content):
            exchange.head(416, {"Content-Length": 0, "Content-Range": f"bytes */{len(content)}"})
        else:
            span = f"bytes {start}-{len(content) - 1}/{len(content)}"
            exchange.head(206, {"Content-Length": len(content) - start, "Content-Range": span})
            exchange.body(content[start:])
