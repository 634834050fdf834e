"""A real MLflow server in a process of its own: its handlers and its store, without the pages for people."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import urllib.request
from contextlib import suppress
from pathlib import Path
from threading import Event
from types import TracebackType


class MlflowServer:
    """Serves on loopback until it is left or killed; started again, it has what it had."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        self.address = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._folder.mkdir(exist_ok=True)
        settings = {
            "_MLFLOW_SERVER_FILE_STORE": f"sqlite:///{self._folder}/server.db",
            "_MLFLOW_SERVER_REGISTRY_STORE": f"sqlite:///{self._folder}/server.db",
            "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
            "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
            "_MLFLOW_SERVER_ARTIFACT_DESTINATION": str(self._folder / "files"),
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }
        command = [sys.executable, "-m", "flask", "--app", "mlflow.server", "run", "--port", str(self.port)]
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(command, env=os.environ | settings, stdout=log, stderr=log)
        for _ in range(300):
            assert self._process.poll() is None, (self._folder / "server.log").read_text()
            with suppress(OSError), urllib.request.urlopen(f"{self.address}/health", timeout=5) as answer:
                if answer.status == 200:
                    return
            Event().wait(0.2)
        raise AssertionError((self._folder / "server.log").read_text())

    def kill(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def __enter__(self) -> MlflowServer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
