"""What `init` begins, what it leaves alone, and what it refuses; the folders may be there, empty, or gone."""

import json
import shutil
from collections.abc import Callable
from typing import Any

import pytest

from tests.conformance.device import Pair
from tests.tuf_repository import ALL_BUT_ROOT, Repository, in_days


def no_version(root: dict[str, Any]) -> None:
    del root["signed"]["version"]


def wrong_signature(root: dict[str, Any]) -> None:
    root["signatures"][0]["sig"] = "ab" * 64


def too_few_signatures(root: dict[str, Any]) -> None:
    root["signed"]["roles"]["root"]["threshold"] = 2


def no_signature(root: dict[str, Any]) -> None:
    root["signatures"].clear()


def changed(root: bytes, change: Callable[[dict[str, Any]], None]) -> bytes:
    """Change a file without signing it again."""
    document = json.loads(root)
    change(document)
    return json.dumps(document).encode()


def no_roots(repository: Repository) -> dict[str, bytes]:
    root = repository.root_bytes()
    changes = (no_version, wrong_signature, too_few_signatures, no_signature)
    return {
        "nothing": b"",
        "an empty object": b"{}",
        "a list": b"[]",
        "half of it": root[: len(root) // 2],
        "deep": b"[" * 100_000,
        "another role": repository.files["metadata/timestamp.json"],
        **{change.__name__: changed(root, change) for change in changes},
    }


NO_ROOTS = list(no_roots(Repository()))


def contents(pair: Pair) -> dict[str, bytes]:
    """Every file of the client, also of what it keeps beside the metadata."""
    files = pair.client.metadata.parent.rglob("*")
    return {str(path): path.read_bytes() for path in files if path.is_file() and path.name != "initial_root.json"}


def test_the_root_lies_in_the_folder_afterwards_and_nothing_was_asked(pair: Pair) -> None:
    assert (pair.client.metadata / "root.json").read_bytes() == pair.repository.root_bytes()
    assert [path.name for path in pair.client.metadata.iterdir()] == ["root.json"]
    assert pair.server.requests == []


@pytest.mark.parametrize("kind", NO_ROOTS)
def test_what_is_no_root_is_refused_and_nothing_is_asked(pair: Pair, kind: str) -> None:
    shutil.rmtree(pair.client.metadata.parent)
    pair.client.metadata.parent.mkdir()
    assert pair.client.init(no_roots(pair.repository)[kind]) == 1
    assert contents(pair) == {}
    assert pair.client.refresh() == 1
    assert pair.server.requests == []


@pytest.mark.parametrize("kind", NO_ROOTS)
def test_what_is_no_root_changes_nothing_of_a_device_that_lives(pair: Pair, kind: str) -> None:
    assert pair.client.refresh() == 0
    before = contents(pair)
    assert pair.client.init(no_roots(pair.repository)[kind]) == 1
    assert contents(pair) == before


def test_a_root_that_has_expired_is_a_beginning_too(pair: Pair) -> None:
    repository = Repository(expires=in_days(-1))
    assert pair.client.init(repository.root_bytes()) == 0
    assert (pair.client.metadata / "root.json").read_bytes() == repository.root_bytes()
    assert pair.client.refresh() == 1


def gone(pair: Pair) -> None:
    shutil.rmtree(pair.client.metadata)


def emptied(pair: Pair) -> None:
    gone(pair)
    pair.client.metadata.mkdir()


def files_gone(pair: Pair) -> None:
    for path in pair.client.metadata.glob("*.json"):
        path.unlink()


def only_the_first_root_is_left(pair: Pair) -> None:
    emptied(pair)
    (pair.client.metadata / "root.json").write_bytes(pair.repository.root_bytes())


def anothers(pair: Pair) -> None:
    emptied(pair)
    (pair.client.metadata / "root_history").mkdir()
    for name in ("root.json", "root_history/1.root.json"):
        (pair.client.metadata / name).write_bytes(Repository().root_bytes())


WIPES = (gone, emptied, files_gone, only_the_first_root_is_left, anothers)


@pytest.mark.parametrize("wipe", WIPES)
def test_with_its_metadata_gone_a_device_begins_anew(pair: Pair, wipe: Callable[[Pair], None]) -> None:
    """So an older repository is as new to it as to any: there is nothing that it could fall behind."""
    old = dict(pair.repository.files)
    pair.repository.publish("root", *ALL_BUT_ROOT)
    assert pair.client.refresh() == 0
    wipe(pair)
    pair.server.files = old
    assert pair.client.init(pair.repository.root_bytes()) == 0
    assert (pair.client.metadata / "root.json").read_bytes() == pair.repository.root_bytes()
    assert pair.client.trusted() == {"root": 1}
    assert pair.client.refresh() == 0
    assert pair.client.trusted() == {"root": 1, "snapshot": 1, "targets": 1, "timestamp": 1}


@pytest.mark.parametrize("wipe", [gone, emptied])
def test_with_its_metadata_gone_a_device_knows_nobody_until_it_begins_anew(
    pair: Pair, wipe: Callable[[Pair], None]
) -> None:
    assert pair.client.refresh() == 0
    wipe(pair)
    asked = len(pair.server.requests)
    assert pair.client.refresh() == 1
    assert pair.client.download("a") == 1
    assert len(pair.server.requests) == asked


def test_another_root_begins_another_device_with_nothing_of_the_one_before(pair: Pair) -> None:
    pair.repository.delegate("../role", ["*"])
    pair.repository.publish("../role", *ALL_BUT_ROOT)
    assert pair.client.download("a") == 1
    assert len(pair.client.trusted()) == 5
    other = Repository()
    assert pair.client.init(other.root_bytes()) == 0
    assert pair.client.trusted() == {"root": 1}
    pair.server.files = other.files
    assert pair.client.refresh() == 0
    assert (pair.client.metadata / "timestamp.json").read_bytes() == other.files["metadata/timestamp.json"]


def test_the_same_root_again_takes_nothing_from_a_device_that_lives(pair: Pair) -> None:
    pair.repository.publish("root", *ALL_BUT_ROOT)
    assert pair.client.refresh() == 0
    before = contents(pair)
    assert pair.client.init(pair.repository.root_bytes()) == 0
    assert contents(pair) == before
    pair.repository.timestamp.version = 1
    pair.repository.publish("timestamp", bump=False)
    assert pair.client.refresh() == 1
    assert pair.client.version("timestamp") == 2


def test_the_folders_are_made_with_those_above_them(pair: Pair) -> None:
    client = pair.client
    client.metadata, client.targets = client.metadata / "of" / "a suite", client.targets / "of" / "a suite"
    pair.repository.add_target("a", b"content")
    pair.repository.update()
    assert client.init(pair.repository.root_bytes()) == 0
    assert client.trusted() == {"root": 1}
    assert client.download("a") == 0
    assert [path.name for path in client.targets.iterdir()] == ["a"]
