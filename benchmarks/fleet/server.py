"""What stands between a repository and its devices: static files out, reports in, and everything counted on the wire.

A process of its own: `python -m benchmarks.fleet.server FOLDER` prints its port and serves FOLDER/updates; a PUT to
/reports/DEVICE.json replaces FOLDER/reports/DEVICE.json as a whole. GET /figures tells what was
counted, and begins anew.
"""

import asyncio
import json
import re
import secrets
import sys
from collections import defaultdict
from pathlib import Path
from urllib.parse import unquote

MOST_BODY = 1_000_000
_KINDS = (
    ("timestamp", r"/metadata/timestamp\.json"),
    ("root", r"/metadata/\d+\.root\.json"),
    ("snapshot", r"/metadata/\d+\.snapshot\.json"),
    ("targets", r"/metadata/\d+\.targets\.json"),
    ("role of the site", r"/metadata/\d+\.assign-.*"),
    ("role of the models", r"/metadata/\d+\.models\.json"),
    ("assignment", r"/targets/assign/.*"),
    ("release", r"/targets/.*"),
    ("report", r"/reports/.*"),
)


class Server:
    """Counts requests and bytes of headers and bodies by what was asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._figures: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])

    async def serve(self) -> None:
        """Serve until the process is ended; the port is the first line of output."""
        server = await asyncio.start_server(self._answer, "127.0.0.1", 0, backlog=1024)
        sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
        sys.stdout.flush()
        await server.serve_forever()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            method, path, _ = head.split(b"\r\n", 1)[0].decode("ascii").split(" ")
            length = re.search(rb"(?i)content-length: *(\d+)", head)
            body = await reader.readexactly(min(int(length[1]), MOST_BODY)) if length else b""
            status, content = self._do(method, path, body)
            answer = (
                f"HTTP/1.1 {status}\r\nContent-Length: {len(content)}\r\nConnection: close\r\n\r\n".encode() + content
            )
            if path != "/figures":
                kind = next((name for name, form in _KINDS if re.fullmatch(form, path)), "else")
                for place, count in enumerate((1, len(head) + len(body), len(answer))):
                    self._figures[kind][place] += count
            writer.write(answer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, ValueError):
            return
        finally:
            writer.close()

    def _do(self, method: str, path: str, body: bytes) -> tuple[str, bytes]:
        if path == "/figures":
            figures, self._figures = dict(self._figures), defaultdict(lambda: [0, 0, 0])
            return "200 OK", json.dumps(figures).encode()
        if method == "PUT" and (found := re.fullmatch(r"/reports/([A-Za-z0-9_-]+\.json)", path)):
            draft = self._folder / "reports" / f".{secrets.token_hex(4)}.part"
            draft.write_bytes(body)
            draft.replace(self._folder / "reports" / found[1])
            return "204 No Content", b""
        place = self._folder / "updates" / unquote(path).lstrip("/")
        if method != "GET" or ".." in place.parts or not place.is_file():
            return "404 Not Found", b""
        return "200 OK", place.read_bytes()


if __name__ == "__main__":
    asyncio.run(Server(Path(sys.argv[1])).serve())
