"""The front as a program of its own."""

import os
import subprocess
import sys
from pathlib import Path

from tests.tuf_repository import Repository
from tests.update_server import UpdateServer

FRONT = Path(__file__).with_name("tuf_client")


def run(*words: object) -> int:
    command = [str(FRONT), *map(str, words)]
    return subprocess.run(command, env=os.environ | {"PYTHON": sys.executable}, check=False).returncode


def test_a_target_arrives_through_the_executable(tmp_path: Path) -> None:
    repository = Repository()
    repository.add_target("models/boards.bundle", b"weights")
    repository.update()
    metadata, targets, root = tmp_path / "metadata", tmp_path / "targets", tmp_path / "root.json"
    metadata.mkdir()
    targets.mkdir()
    root.write_bytes(repository.root_bytes())
    with UpdateServer(repository.files) as server:
        known = ("--metadata-url", server.metadata_url, "--metadata-dir", metadata)
        assert run("--metadata-dir", metadata, "init", root) == 0
        assert run(*known, "refresh") == 0
        place = ("--target-base-url", server.targets_url, "--target-dir", targets)
        assert run(*known, "--target-name", "models/boards.bundle", *place, "download") == 0
        assert run(*known, "--target-name", "models/none", *place, "download") == 1
    assert [path.read_bytes() for path in targets.iterdir()] == [b"weights"]
    assert sorted(path.name for path in metadata.iterdir()) == [
        "root.json", "root_history", "snapshot.json", "targets.json", "timestamp.json",
    ]  # fmt: skip
