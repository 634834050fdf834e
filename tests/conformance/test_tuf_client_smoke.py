"""The front as a program of its own, in a folder that has nothing to do with this clone."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tuf_repository import Repository
from tests.update_server import UpdateServer

HERE = Path(__file__).parent


@pytest.fixture
def front(tmp_path: Path) -> Path:
    """The executable in a clone with an environment of its own, as `make test` sets one up."""
    clone = tmp_path / "clone"
    (clone / "tests" / "conformance").mkdir(parents=True)
    (clone / "appliance").symlink_to(HERE.parents[1] / "appliance")
    for name in ("tuf_client", "client.py"):
        shutil.copy(HERE / name, clone / "tests" / "conformance" / name)
    python = clone / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    return clone / "tests" / "conformance" / "tuf_client"


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    """A folder from which somebody runs the front, with a package `tests` of its own."""
    package = tmp_path / "suite" / "tests"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    return package.parent


def run(front: Path, cwd: Path, *words: object, **environment: str) -> "subprocess.CompletedProcess[str]":
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHON", "PYTHONPATH")}
    command = [str(front), *map(str, words)]
    return subprocess.run(command, cwd=cwd, env=kept | environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("environment", [{}, {"PYTHON": "python3"}, {"TUF_CLIENT_PYTHON": sys.executable}])
def test_a_target_arrives_through_the_executable(
    tmp_path: Path, front: Path, suite: Path, environment: dict[str, str]
) -> None:
    repository = Repository()
    repository.add_target("boards/readme", b"content")
    repository.update()
    metadata, targets, root = tmp_path / "metadata", tmp_path / "targets", tmp_path / "root.json"
    metadata.mkdir()
    targets.mkdir()
    root.write_bytes(repository.root_bytes())

    def ends(*words: object) -> int:
        return run(front, suite, *words, **environment).returncode

    with UpdateServer(repository.files) as server:
        known = ("--metadata-url", server.metadata_url, "--metadata-dir", metadata)
        assert ends("--metadata-dir", metadata, "init", root) == 0
        assert ends(*known, "refresh") == 0
        place = ("--target-base-url", server.targets_url, "--target-dir", targets)
        assert ends(*known, "--target-name", "boards/readme", *place, "download") == 0
        assert ends(*known, "--target-name", "boards/none", *place, "download") == 1
    assert [path.read_bytes() for path in targets.iterdir()] == [b"content"]
    assert sorted(path.name for path in metadata.iterdir()) == [
        "root.json", "root_history", "snapshot.json", "targets.json", "timestamp.json",
    ]  # fmt: skip


def test_the_metadata_folder_may_be_where_the_front_is_called(tmp_path: Path, front: Path) -> None:
    (tmp_path / "metadata").mkdir()
    root = tmp_path / "root.json"
    root.write_bytes(Repository().root_bytes())
    assert run(front, tmp_path / "metadata", "--metadata-dir", ".", "init", root).stderr == ""
    assert (tmp_path / "metadata" / "root.json").read_bytes() == root.read_bytes()


@pytest.mark.parametrize(
    "words", ["", "refresh", "--metadata-dir . refresh", "--metadata-dir . fetch", "--metadata-dir . init"]
)
def test_a_wrong_call_is_a_refusal(front: Path, suite: Path, words: str) -> None:
    ended = run(front, suite, *words.split())
    assert ended.returncode == 1
    assert "usage: tuf_client" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_the_front_may_be_called_by_a_link(tmp_path: Path, front: Path) -> None:
    link, root = tmp_path / "client", tmp_path / "root.json"
    link.symlink_to(front)
    root.write_bytes(Repository().root_bytes())
    assert run(link, tmp_path, "--metadata-dir", tmp_path / "metadata", "init", root).stderr == ""
    assert (tmp_path / "metadata" / "root.json").read_bytes() == root.read_bytes()
