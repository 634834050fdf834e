"""A client of the conformance front and the server that it asks, for tests in this process."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tuf.api.metadata import Metadata

from tests.conformance import client
from tests.tuf_repository import Repository
from tests.update_server import UpdateServer


class Client:
    """Calls the front's commands as a suite would, on folders of its own."""

    def __init__(self, folder: Path, server: UpdateServer) -> None:
        self.metadata, self.targets = folder / "metadata", folder / "targets"
        self._root, self._server = folder / "initial_root.json", server

    def init(self, root: bytes) -> int:
        self._root.write_bytes(root)
        return client.main(["--metadata-dir", str(self.metadata), "init", str(self._root)])

    def refresh(self) -> int:
        return client.main([*self._known(), "refresh"])

    def download(self, *names: str) -> int:
        place = ["--target-base-url", self._server.targets_url, "--target-dir", str(self.targets)]
        wanted = [word for name in names for word in ("--target-name", name)]
        return client.main([*self._known(), *wanted, *place, "download"])

    def version(self, role: str) -> int | None:
        """The version that the client trusts, None if it has none."""
        path = self.metadata / f"{role}.json"
        return int(Metadata.from_file(str(path)).signed.version) if path.exists() else None

    def trusted(self) -> dict[str, int]:
        """Every trusted role with its version."""
        files = [path for path in self.metadata.iterdir() if path.suffix == ".json"]
        return {path.stem: int(Metadata.from_file(str(path)).signed.version) for path in sorted(files)}

    def got(self) -> list[bytes]:
        """What was downloaded, the oldest first."""
        files = sorted(self.targets.glob("*"), key=lambda path: path.stat().st_mtime_ns)
        return [path.read_bytes() for path in files]

    def _known(self) -> list[str]:
        return ["--metadata-url", self._server.metadata_url, "--metadata-dir", str(self.metadata)]


class Pair:
    """A repository, its server, and a client that was set up with its first root."""

    def __init__(self, folder: Path, server: UpdateServer, repository: Repository) -> None:
        self.repository, self.server = repository, server
        self.client = Client(folder, server)

    def begin(self) -> "Pair":
        """Set the client up, and let it refresh once."""
        assert self.client.init(self.repository.root_bytes()) == 0
        assert self.client.refresh() == 0
        return self


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    """A client that was set up and has asked nothing yet."""
    repository = Repository()
    with UpdateServer(repository.files) as server:
        pair = Pair(tmp_path, server, repository)
        assert pair.client.init(repository.root_bytes()) == 0
        yield pair
