"""The picture folder's room: quota, free space, full disks, leftovers of a power cut, and other people's files."""

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from appliance.errors import StorageError
from appliance.events import new_id, utc_now
from appliance.stores.images import FolderImageStore, ImagePolicy
from appliance.stores.picture_folder import TEMPORARY, PictureFolder
from tests.ledger_inspections import make_frame
from tests.small_disk import fill, small_disk

FIRST_DAY = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)


def eventually(is_so: Callable[[], bool], timeout_s: float = 10.0) -> bool:
    pause = threading.Event()
    until_ns = time.monotonic_ns() + int(timeout_s * 1e9)
    while not is_so() and time.monotonic_ns() < until_ns:
        pause.wait(0.01)
    return is_so()


def make_folder(path: Path, quota_bytes: int = 1 << 40, removed: list[str] | None = None) -> PictureFolder:
    folder = PictureFolder(path, quota_bytes, 0, (removed if removed is not None else []).append)
    folder.take_stock()
    return folder


def put(folder: PictureFolder, day: int, name: str, size_bytes: int = 100) -> str:
    full_name = f"{(FIRST_DAY + timedelta(days=day)).date()}/{name}.png"
    assert folder.make_room(size_bytes)
    folder.write(full_name, b"p" * size_bytes)
    return full_name


def names(path: Path) -> list[str]:
    return sorted(str(found.relative_to(path)) for found in path.rglob("*") if found.is_file())


def test_the_oldest_pictures_make_room_and_their_empty_days_go(tmp_path: Path) -> None:
    removed: list[str] = []
    folder = make_folder(tmp_path, 350, removed)
    written = [put(folder, day, name) for day, name in ((0, "b"), (0, "a"), (1, "c"), (2, "d"), (2, "e"))]
    assert removed == ["2026-01-01/a.png", "2026-01-01/b.png"]
    assert names(tmp_path) == sorted(written[2:])
    assert folder.size_bytes == 300
    put(folder, 3, "f")
    put(folder, 3, "g")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2026-01-03", "2026-01-04"]


def test_stock_is_taken_of_what_was_there_before(tmp_path: Path) -> None:
    put(make_folder(tmp_path), 0, "a")
    again = make_folder(tmp_path, 150)
    assert again.size_bytes == 100
    put(again, 1, "b")
    assert names(tmp_path) == ["2026-01-02/b.png"]


def test_half_written_pictures_are_cleared_at_the_start(tmp_path: Path) -> None:
    name = put(make_folder(tmp_path), 0, "a")
    (tmp_path / "2026-01-01" / f"{TEMPORARY}b.png").write_bytes(b"half")
    assert make_folder(tmp_path).size_bytes == 100
    assert names(tmp_path) == [name]


def test_other_peoples_files_are_neither_counted_nor_removed(tmp_path: Path) -> None:
    put(make_folder(tmp_path), 0, "a")
    (tmp_path / "2026-01-01" / "why.txt").write_text("a person's note")
    (tmp_path / "2020.png").write_text("not in a day's folder")
    folder = make_folder(tmp_path, 100)
    assert put(folder, 1, "b") in names(tmp_path)
    assert names(tmp_path) == ["2020.png", "2026-01-01/why.txt", "2026-01-02/b.png"]


def test_a_picture_that_a_person_deleted_is_no_trouble(tmp_path: Path) -> None:
    folder = make_folder(tmp_path, 250)
    (tmp_path / put(folder, 0, "a")).unlink()
    put(folder, 1, "b")
    put(folder, 2, "c")
    assert names(tmp_path) == ["2026-01-02/b.png", "2026-01-03/c.png"]


def test_a_picture_larger_than_the_quota_is_dropped_and_said(tmp_path: Path) -> None:
    store = FolderImageStore(tmp_path, ImagePolicy(min_free_bytes=0, quota_bytes=10))
    store.keep([make_frame("top")], store.plan(new_id(), "REJECT", ["top"], utc_now()))
    store.close()
    assert (store.written, store.dropped) == (0, 1)
    assert store.problem is not None
    assert "quota" in store.problem


def test_pictures_leave_the_free_space_that_the_ledger_needs(tmp_path: Path) -> None:
    removed: list[str] = []
    with small_disk(tmp_path / "disk", 1 << 20) as disk:
        folder = PictureFolder(disk, 1 << 40, 512 << 10, removed.append)
        for number in range(12):
            put(folder, 0, f"{number:02}", 100 << 10)
        assert folder.size_bytes <= 512 << 10
        assert removed[0] == "2026-01-01/00.png"


def test_a_full_disk_drops_pictures_and_freeing_it_brings_them_back(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 1 << 20) as disk:
        store = FolderImageStore(disk, ImagePolicy(min_free_bytes=0))
        ballast = fill(disk)
        frame = make_frame("top", 100, 100)
        store.keep([frame], store.plan(new_id(), "REJECT", ["top"], utc_now()))
        assert eventually(lambda: store.dropped == 1)
        assert store.problem is not None
        assert "free disk space" in store.problem
        assert not [name for name in names(disk) if name != "ballast"]
        ballast.unlink()

        def is_written_again() -> bool:
            store.keep([frame], store.plan(new_id(), "REJECT", ["top"], utc_now()))
            return eventually(lambda: store.written > 0, 0.2)

        assert eventually(is_written_again)
        assert store.problem is None
        store.close()


def test_a_disk_that_refuses_in_the_middle_leaves_nothing_of_the_picture(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 1 << 20) as disk:
        folder = make_folder(disk)
        put(folder, 0, "small")
        with pytest.raises(OSError, match="No space"):
            folder.write("2026-01-01/large.png", b"x" * (2 << 20))
        assert names(disk) == ["2026-01-01/small.png"]
        assert folder.size_bytes == 100


def test_a_pinned_part_keeps_what_the_policy_leaves_out_and_nothing_twice(tmp_path: Path) -> None:
    store = FolderImageStore(tmp_path, ImagePolicy(min_free_bytes=0, accept_every=0))
    frames, moment = [make_frame("top"), make_frame("side")], utc_now()
    left_out, kept = new_id(), new_id()
    assert store.plan(left_out, "ACCEPT", ["top", "side"], moment) == {}
    assert store.pin(left_out, frames, {}, moment) == 0
    planned = store.plan(kept, "REJECT", ["top", "side"], moment)
    store.keep(frames, planned)
    assert store.pin(kept, frames, planned, moment) == 0
    store.close()
    assert (store.written, store.dropped) == (4, 0)
    day = moment.date().isoformat()
    assert set(names(tmp_path)) == {f"{day}/{each}_{view}.png" for each in (left_out, kept) for view in ("top", "side")}


def test_pinning_tries_once_more_what_was_dropped_and_says_what_is_lost(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 1 << 20) as disk:
        store = FolderImageStore(disk, ImagePolicy(min_free_bytes=0))
        ballast = fill(disk)
        frame, inspection_id, moment = make_frame("top", 100, 100), new_id(), utc_now()
        planned = store.plan(inspection_id, "REJECT", ["top"], moment)
        store.keep([frame], planned)
        assert eventually(lambda: store.dropped == 1)
        ballast.unlink()
        assert eventually(lambda: store.pin(inspection_id, [frame], planned, moment) == 0 and store.written > 0)
        store.close()
        assert store.pin(inspection_id, [frame], {}, moment) == 1
    assert store.problem == "the image store is closed"


def test_a_picture_that_cannot_be_encoded_does_not_stop_the_next(tmp_path: Path) -> None:
    store = FolderImageStore(tmp_path, ImagePolicy(min_free_bytes=0))
    good = make_frame("top")
    for frame in (make_frame("top", height=0), replace(good, pixels=good.pixels[:, :, 0]), good):
        store.keep([frame], store.plan(new_id(), "REJECT", ["top"], utc_now()))
    store.close()
    assert (store.written, store.dropped, store.problem) == (1, 2, None)


def test_a_listener_with_a_full_disk_does_not_stop_the_pictures(tmp_path: Path) -> None:
    def refuse(*_: object) -> None:
        raise StorageError("the ledger's disk is full")

    store = FolderImageStore(tmp_path, ImagePolicy(min_free_bytes=0), on_stored=refuse, on_removed=refuse)
    for _ in range(2):
        store.keep([make_frame("top")], store.plan(new_id(), "REJECT", ["top"], utc_now()))
    store.close()
    assert (store.written, store.dropped) == (2, 0)


def test_a_folder_that_cannot_be_made_is_a_storage_error_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="check the folder's owner"):
        FolderImageStore(tmp_path / "file" / "pictures", ImagePolicy())
