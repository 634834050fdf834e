"""A network camera for tests: an HTTP server that streams MJPEG and fails in the ways that real ones do."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal

import cv2
import numpy as np

Mode = Literal["live", "frozen", "black", "small", "cut", "silent", "grey"]


class MjpegServer:
    """Streams pictures of noise; `mode` may be changed at any time, stop() and start() cut and mend the cable."""

    def __init__(
        self,
        width: int = 64,
        height: int = 48,
        rate_hz: float = 50.0,
        *,
        port: int = 0,
        greys: tuple[int, int] = (60, 200),
    ) -> None:
        self.width, self.height, self.rate_hz = width, height, rate_hz
        self.mode: Mode = "live"
        self.frames_sent = 0
        self.connections = 0
        self._rng = np.random.default_rng(7)
        self._server: ThreadingHTTPServer | None = None
        self._thread: threading.Thread | None = None
        self._stopped = threading.Event()
        self._port = port
        self._greys = greys

    @property
    def url(self) -> str:
        """Where the stream is, the same after a restart."""
        return f"http://127.0.0.1:{self._port}/stream.mjpg"

    def start(self) -> None:
        """Listen; on the same port as before."""
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                owner.connections += 1
                stopped = owner._stopped
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=part")
                self.end_headers()
                try:
                    while not stopped.wait(1.0 / owner.rate_hz):
                        if owner.mode != "silent":
                            self.wfile.write(owner._next_part())
                except OSError:
                    return

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                return

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False

        self._stopped = threading.Event()
        self._server = Server(("127.0.0.1", self._port), Handler)
        self._port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Cut every connection and stop listening."""
        self._stopped.set()
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()
        self._server = None

    def _next_part(self) -> bytes:
        self.frames_sent += 1
        width, height = (self.width // 2, self.height // 2) if self.mode == "small" else (self.width, self.height)
        if self.mode == "black":
            picture = np.zeros((height, width, 3), np.uint8)
        elif self.mode == "frozen":
            picture = np.full((height, width, 3), 120, np.uint8)
        else:
            picture = self._rng.integers(*self._greys, (height, width, 3), np.uint8)
        if self.mode == "grey":
            picture = picture[:, :, 0]
        jpeg = cv2.imencode(".jpg", picture)[1].tobytes()
        if self.mode == "cut":
            jpeg = jpeg[: len(jpeg) // 2]
        return b"--part\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n" % (len(jpeg), jpeg)
