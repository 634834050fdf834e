"""A network camera for tests: RTSP (RFC 2326) with MPEG-TS in RTP (RFC 2250), interleaved in the TCP connection."""

import struct
import threading
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingTCPServer

import cv2
import numpy as np

PACKETS_PER_MESSAGE = 7  # of 188 bytes each: the usual filling of a network packet


def write_transport_stream(path: Path, width: int, height: int, pictures: int = 250) -> None:
    """Write a video of noise that never repeats a picture."""
    rng = np.random.default_rng(3)
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"mp4v"), 25.0, (width, height))
    assert writer.isOpened()
    for _ in range(pictures):
        small = rng.integers(40, 220, (height // 8, width // 8, 3), np.uint8)
        writer.write(cv2.resize(small, (width, height), interpolation=cv2.INTER_NEAREST))
    writer.release()


class RtspServer:
    """Serves one video to every client, over and over; stop() and start() cut and mend the cable."""

    def __init__(self, video: Path, pictures: int = 250, rate_hz: float = 25.0) -> None:
        self.is_silent = False
        self.transports: list[str] = []
        data = video.read_bytes()
        size = 188 * PACKETS_PER_MESSAGE
        self._messages = [data[start : start + size] for start in range(0, len(data), size)]
        self._pause_s = pictures / rate_hz / len(self._messages)
        self._server: ThreadingTCPServer | None = None
        self._stopped = threading.Event()
        self._port = 0

    @property
    def url(self) -> str:
        """Where the stream is, the same after a restart."""
        return f"rtsp://operator:secret@127.0.0.1:{self._port}/stream"

    def start(self) -> None:
        """Listen; on the same port as before."""
        owner = self

        class Handler(StreamRequestHandler):
            def handle(self) -> None:
                try:
                    owner._talk(self)
                except OSError:
                    return

        class Server(ThreadingTCPServer):
            daemon_threads = True
            block_on_close = False
            allow_reuse_address = True

        self._stopped = threading.Event()
        self._server = Server(("127.0.0.1", self._port), Handler)
        self._port = int(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """Cut every connection and stop listening."""
        self._stopped.set()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
        self._server = None

    def _talk(self, client: StreamRequestHandler) -> None:
        while request := client.rfile.readline().decode():
            headers = dict[str, str]()
            while line := client.rfile.readline().decode().strip():
                key, _, value = line.partition(":")
                headers[key.lower()] = value.strip()
            method, body, extra = request.split(" ")[0], "", ""
            if method == "OPTIONS":
                extra = "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n"
            elif method == "DESCRIBE":
                body = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nt=0 0\r\nm=video 0 RTP/AVP 33\r\na=control:track1\r\n"
                extra = f"Content-Type: application/sdp\r\nContent-Length: {len(body)}\r\n"
            elif method == "SETUP":
                self.transports.append(headers["transport"])
                extra = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n"
            answer = f"RTSP/1.0 200 OK\r\nCSeq: {headers['cseq']}\r\nSession: 1\r\n{extra}\r\n{body}"
            client.wfile.write(answer.encode())
            if method == "PLAY":
                self._play(client)
                return

    def _play(self, client: StreamRequestHandler) -> None:
        sequence, stopped = 0, self._stopped
        while True:
            for message in self._messages:
                if stopped.wait(self._pause_s):
                    return
                if self.is_silent:
                    continue
                rtp = struct.pack(">BBHII", 0x80, 33, sequence & 0xFFFF, sequence * 3600 & 0xFFFFFFFF, 1) + message
                client.wfile.write(b"$\0" + struct.pack(">H", len(rtp)) + rtp)
                sequence += 1
