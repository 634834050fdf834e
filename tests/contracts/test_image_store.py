"""What every image store promises (`ports.ImageStore`)."""

import hashlib
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import cv2
import numpy as np
import pytest

from appliance.events import new_id, utc_now
from appliance.ports import ImageStore
from appliance.stores.images import FolderImageStore, ImagePolicy
from tests.ledger_inspections import make_frame

POLICY = ImagePolicy(accept_every=3, min_free_bytes=0)
MOMENT = datetime(2026, 3, 4, 23, 59, tzinfo=timezone(timedelta(hours=-2)))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FolderImageStore]:
    opened = FolderImageStore(tmp_path, POLICY)
    yield opened
    opened.close()


def test_the_folder_store_offers_the_port(store: FolderImageStore) -> None:
    port: ImageStore = store
    assert port.plan(new_id(), "FAULT", [], utc_now()) == {}


@pytest.mark.parametrize("verdict", ["REJECT", "REVIEW", "FAULT"])
def test_every_part_that_is_not_accepted_keeps_its_pictures(store: FolderImageStore, verdict: str) -> None:
    for _ in range(7):
        assert store.plan(new_id(), verdict, ["top", "side"], utc_now()).keys() == {"top", "side"}


def test_one_in_n_accepted_parts_keeps_its_pictures_whatever_comes_between(store: FolderImageStore) -> None:
    kept = []
    for _ in range(7):
        kept.append(bool(store.plan(new_id(), "ACCEPT", ["top"], utc_now())))
        store.plan(new_id(), "REJECT", ["top"], utc_now())
    assert kept == [True, False, False, True, False, False, True]


def test_a_picture_is_named_by_day_in_utc_inspection_and_view(store: FolderImageStore) -> None:
    assert store.plan("an-id", "FAULT", ["top", "../etc"], MOMENT) == {
        "top": "2026-03-05/an-id_top.png",
        "../etc": "2026-03-05/an-id_..%2Fetc.png",
    }


def test_planned_pictures_are_on_disk_pixel_for_pixel(store: FolderImageStore, tmp_path: Path) -> None:
    frames = [make_frame("top", channels=1, seed=1), make_frame("side", channels=3, seed=2), make_frame("other")]
    names = store.plan(new_id(), "REJECT", ["top", "side"], utc_now())
    store.keep(frames, names)
    store.close()
    grey = cv2.imread(str(tmp_path / names["top"]), cv2.IMREAD_UNCHANGED)
    colour = cv2.imread(str(tmp_path / names["side"]), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(grey[:, :, None], frames[0].pixels)
    assert np.array_equal(cv2.cvtColor(colour, cv2.COLOR_BGR2RGB), frames[1].pixels)
    assert (store.written, store.dropped, store.problem) == (2, 0, None)


def test_whoever_listens_is_told_of_each_stored_picture(tmp_path: Path) -> None:
    told: list[tuple[str, str, str, str, int]] = []
    store = FolderImageStore(tmp_path, POLICY, on_stored=lambda *what: told.append(what))
    inspection_id = new_id()
    names = store.plan(inspection_id, "REVIEW", ["left_top"], utc_now())
    store.keep([make_frame("left_top")], names)
    store.close()
    content = (tmp_path / names["left_top"]).read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    assert told == [(inspection_id, "left_top", names["left_top"], digest, len(content))]


def test_keeping_returns_at_once_and_counts_what_it_dropped(tmp_path: Path) -> None:
    store = FolderImageStore(tmp_path, ImagePolicy(min_free_bytes=0, queue_length=2))
    frame = make_frame("top", height=1500, width=2000)
    started_ns = time.monotonic_ns()
    for _ in range(40):
        store.keep([frame], store.plan(new_id(), "REJECT", ["top"], utc_now()))
    assert time.monotonic_ns() - started_ns < 4_000_000_000
    store.close(timeout_s=60)
    assert store.dropped > 0
    assert store.written + store.dropped == 40
    assert len(list(tmp_path.rglob("*.png"))) == store.written


def test_after_closing_nothing_is_taken_and_that_is_counted(store: FolderImageStore) -> None:
    names = store.plan(new_id(), "REJECT", ["top"], utc_now())
    store.close()
    store.keep([make_frame("top")], names)
    assert (store.written, store.dropped) == (0, 1)


def test_jpeg_is_smaller_and_close_to_the_picture(tmp_path: Path) -> None:
    store = FolderImageStore(tmp_path, ImagePolicy(encoding="jpeg", jpeg_quality=90, min_free_bytes=0))
    rows = np.linspace(0, 255, 200, dtype=np.uint8)[:, None]
    frame = make_frame("top", 200, 200)
    smooth = type(frame)("top", 1, np.repeat(rows, 200, axis=1)[:, :, None], frame.captured_at, frame.captured_ns)
    names = store.plan(new_id(), "REJECT", ["top"], utc_now())
    store.keep([smooth], names)
    store.close()
    assert names["top"].endswith(".jpg")
    read = cv2.imread(str(tmp_path / names["top"]), cv2.IMREAD_UNCHANGED)
    assert int(np.abs(read.astype(int) - smooth.pixels[:, :, 0]).max()) < 8
    assert (tmp_path / names["top"]).stat().st_size < smooth.pixels.nbytes / 4
