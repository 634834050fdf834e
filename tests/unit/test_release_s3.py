"""Publishing to an object store: the same repository, two publishers at once, and a publisher that is killed."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from appliance.errors import ConfigError
from tests.release_desk import Desk
from tests.s3_server import BUCKET, S3Server
from tests.update_server import UpdateServer
from trainer.release.keys import open_signer
from trainer.release.passphrases import Secrets
from trainer.release.publication import Change, publish
from trainer.release.shelf import Shelf
from trainer.release.standing import stands

FIRST = "models/boards/boards-1.bundle"


class ServedBucket(Mapping[str, bytes]):
    """What a web server before the bucket serves."""

    def __init__(self, store: S3Server, prefix: str) -> None:
        self._client: Any = store.client()
        self._prefix = prefix

    def __getitem__(self, path: str) -> bytes:
        try:
            return bytes(self._client.get_object(Bucket=BUCKET, Key=f"{self._prefix}/{path}")["Body"].read())
        except self._client.exceptions.NoSuchKey as error:
            raise KeyError(path) from error

    def __iter__(self) -> Iterator[str]:
        raise NotADirectoryError(self._prefix)

    def __len__(self) -> int:
        raise NotADirectoryError(self._prefix)


@pytest.fixture(scope="module")
def store() -> Iterator[S3Server]:
    with S3Server() as running:
        yield running


@pytest.fixture
def desk(store: S3Server, tmp_path: Path) -> Desk:
    made = Desk(tmp_path, f"s3://{BUCKET}/{tmp_path.name}")
    made.begin()
    return made


@pytest.fixture
def web(store: S3Server, desk: Desk) -> Iterator[UpdateServer]:
    with UpdateServer(ServedBucket(store, desk.folder.name)) as running:
        yield running


def test_a_device_gets_what_lies_in_a_bucket(desk: Desk, web: UpdateServer) -> None:
    bundle = desk.bundle()
    assert desk.release(bundle) == 0
    assert desk.assign("--device", "line-1", "--release", FIRST) == 0
    device = desk.device(web)
    assert device.download(FIRST) == bundle.read_bytes()
    assert b"vi.assignment/1" in device.download("assign/ulm/line-1.json")
    assert desk.refresh() == 0
    assert desk.verify() == 0


def test_targets_come_first_and_the_timestamp_last(desk: Desk, store: S3Server) -> None:
    before = len(store.sent)
    assert desk.release(desk.bundle()) == 0
    names = [path.rpartition("/")[2].partition(".")[2] for path in store.sent[before:]]
    assert [name for name in names if name.endswith((".bundle", ".card.md"))] == names[:2]
    assert names[2:] == ["models.json", "snapshot.json", "json"]


def test_of_two_publishers_at_once_the_second_is_refused_and_nothing_of_the_first_is_lost(
    desk: Desk, web: UpdateServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both have read the same state; the store itself compares before it swaps timestamp.json."""
    shelf, pinned = Shelf(desk.address), desk.root.read_bytes()
    signers = [open_signer(str(desk.key("online")), Secrets((desk.folder / "passphrase",)))]
    late = stands(shelf, pinned)
    assert desk.release(desk.bundle()) == 0
    with pytest.raises(ConfigError, match="somebody else has"):
        publish(shelf, late, Change(), signers)
    assert desk.device(web).download(FIRST)
    assert desk.verify() == 0


def test_the_store_refuses_a_swap_that_was_overtaken_between_look_and_write(desk: Desk, store: S3Server) -> None:
    """The very last moment: what was read is still there for the reader, and another tag for the store."""
    shelf = Shelf(desk.address)
    mark = shelf.mark()
    assert mark.content is not None
    key = f"{desk.folder.name}/metadata/timestamp.json"
    store.client().put_object(Bucket=BUCKET, Key=key, Body=mark.content + b"\n")
    overtaken = shelf.mark()
    assert overtaken.tag != mark.tag
    with pytest.raises(ConfigError, match="somebody else has published"):
        shelf.swap(b"mine", type(mark)(overtaken.content, mark.tag))
    assert store.client().get_object(Bucket=BUCKET, Key=key)["Body"].read() == overtaken.content


def test_where_the_store_does_not_compare_the_second_is_refused_by_a_last_look(tmp_path: Path) -> None:
    desk = Desk(tmp_path, f"memory://{tmp_path.name}")
    desk.begin()
    shelf, pinned = Shelf(desk.address), desk.root.read_bytes()
    late = stands(shelf, pinned)
    assert desk.release(desk.bundle()) == 0
    with pytest.raises(ConfigError, match="somebody else has published there since"):
        publish(shelf, late, Change(), [open_signer(str(desk.key("online")), Secrets((tmp_path / "passphrase",)))])
    assert desk.verify() == 0
    assert FIRST in desk.standing().releases("model")


@pytest.mark.long
def test_a_publisher_that_was_killed_at_any_object_is_completed_by_the_same_command(
    desk: Desk, store: S3Server, web: UpdateServer
) -> None:
    words = ["--by", "Anna", "--no-report", "a test", *desk.at(), *desk.keyed("ci", "quentin", "online")]
    for seq, most in enumerate(range(5), 1):
        bundle = desk.bundle(revision=seq)
        command = [sys.executable, "-m", "trainer", "publish", "release", str(bundle), *words]
        store.hold_after(most)
        child = subprocess.Popen(command, env={**os.environ, **store.environment()}, stdout=subprocess.DEVNULL)
        try:
            assert store.is_full.wait(60)
        finally:
            child.kill()
        assert child.wait() < 0
        store.answer_again()
        store.is_full.clear()
        desk.device(web, f"before-{seq}").repository.refresh()
        assert desk.release(bundle) == 0
        assert desk.device(web, f"then-{seq}").download(f"models/boards/boards-{seq}.bundle") == bundle.read_bytes()
    assert desk.verify() == 0
