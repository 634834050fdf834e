"""Runs python-tuf's own tests of its client with this client in the place of theirs; a program of its own.

    python python_tuf_program.py SOURCES MODULE...

SOURCES is python-tuf's source release, unpacked; MODULE is one of its tests. Their simulator of a repository answers
over a socket, and what they expect of their `Updater` is asked of the conformance front's device. Writes JSON: how many
ran, and each that ended otherwise than theirs, with its case. A process of its own, since `tests` is theirs here.
"""

import importlib
import importlib.util
import json
import sys
import unittest
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType, SimpleNamespace
from typing import Any
from urllib.parse import quote, unquote

from tuf.api.exceptions import DownloadError, DownloadHTTPError, RepositoryError
from tuf.api.metadata import TargetFile

HERE = Path(__file__).resolve().parent
THEIR_ADDRESS = "https://example.com/"


def by_path(name: str, path: Path) -> Any:
    """Import a module of ours, whose package has the name of theirs."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


client = by_path("conformance_client", HERE / "client.py")
server = by_path("update_server", HERE.parent / "update_server.py").UpdateServer({})


class Simulated(dict[str, bytes]):
    """What their simulator has under a path."""

    def __init__(self, simulator: Any) -> None:
        self._simulator = simulator

    def get(self, path: str, default: Any = None) -> Any:
        asked = unquote(path) if path.startswith("targets/") else path  # theirs never came over a network
        try:
            return b"".join(self._simulator.fetch(THEIR_ADDRESS + asked))
        except DownloadHTTPError:
            return default


class SetClock(client.SystemClock):  # type: ignore[misc]
    """A clock that a test can set: nothing else of the process has to be frozen."""

    moment: datetime | None = None

    def utc(self) -> datetime:
        return self.moment or super().utc()  # type: ignore[no-any-return]


clock = client.Device.clock = SetClock(lambda: -1)


@contextmanager
def freeze_time(moment: datetime) -> Iterator[None]:
    clock.moment = moment
    try:
        yield
    finally:
        clock.moment = None


@contextmanager
def in_their_words(simulator: Any) -> Iterator[None]:
    """Let the server ask their simulator, and raise what of theirs lies under an error of ours, or means the same."""
    server.files = Simulated(simulator)
    try:
        yield
    except client.ApplianceError as error:
        if isinstance(error.__cause__, DownloadError | RepositoryError | OSError):
            raise error.__cause__ from error
        raise RepositoryError(str(error)) from error


class Updater:
    """What their tests ask of their client, asked of ours."""

    def __init__(self, metadata_dir: str, _metadata_url: str, target_dir: str = "", _targets_url: str = "",
                 fetcher: Any = None, config: Any = None, *, bootstrap: bytes | None) -> None:  # fmt: skip
        self.config = config or SimpleNamespace()
        self._simulator, self._targets = fetcher, Path(target_dir)
        self._device, self._found = client.Device(Path(metadata_dir)), dict[str, Any]()
        self._is_fresh = False
        with in_their_words(fetcher), TemporaryDirectory() as folder:
            root = Path(folder, "root.json")
            root.write_bytes(Path(metadata_dir, "root.json").read_bytes() if bootstrap is None else bootstrap)
            self._device.begin(root)

    def refresh(self) -> None:
        with in_their_words(self._simulator):
            self._device.repository(server.metadata_url).refresh()
        self._is_fresh = True

    def get_targetinfo(self, name: str) -> TargetFile | None:
        asked = self._simulator.fetch_tracker.metadata
        before = len(asked)
        try:
            with in_their_words(self._simulator):
                found = self._found[name] = self._device.repository(server.metadata_url).find(name)
        except RepositoryError as error:
            if isinstance(error.__cause__, client.ApplianceError) and error.__cause__.__cause__ is None:
                return None  # nothing of theirs lies under it: nobody vouches for this name
            raise
        finally:
            if self._is_fresh:  # ours refreshes before each look-up: that is asked for once more, and nothing else
                assert [role for role, _ in asked[before : before + 2]] == ["root", "timestamp"], asked
                del asked[before : before + 2]
            self._is_fresh = True
        return TargetFile(found.length, dict(found.digests), name)

    def find_cached_target(self, info: TargetFile, filepath: str | None = None) -> str | None:
        path = Path(filepath) if filepath else self._path(info)
        return str(path) if client.is_there(self._found[info.path], path) else None

    def download_target(self, info: TargetFile, filepath: str | None = None) -> str:
        self._path(info).unlink(missing_ok=True)  # theirs fetches it also where it is
        with in_their_words(self._simulator):
            return str(self._device.fetch(self._found[info.path], server.targets_url, self._targets))

    def _path(self, info: TargetFile) -> Path:
        return self._targets / quote(info.path, safe="")


def main(sources: str, *modules: str) -> None:
    """Run the tests of these modules."""
    sys.path.insert(0, sources)
    frozen = sys.modules["freezegun"] = ModuleType("freezegun")
    frozen.freeze_time = freeze_time  # type: ignore[attr-defined]
    result = unittest.TestResult()
    with server:
        for name in modules:
            module = importlib.import_module(f"tests.{name}")
            module.Updater = Updater  # type: ignore[attr-defined]
            unittest.defaultTestLoader.loadTestsFromModule(module).run(result)
    unlike = {test.id(): said for test, said in [*result.failures, *result.errors]}
    sys.stdout.write(json.dumps({"run": result.testsRun, "unlike": unlike}) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
