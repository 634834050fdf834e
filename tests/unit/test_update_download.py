"""Targets over a real server: in pieces, from the right place on, visible only when right; the old file is unharmed."""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from appliance.errors import BundleTrustError, DeliveryError, StorageError
from appliance.update.download import READ_BYTES, TargetStore
from appliance.update.https import HttpsSource
from appliance.update.pace import TransferLimits
from appliance.update.repository import Target
from appliance.update.transport import Transport
from tests.small_disk import fill, small_disk
from tests.update_server import Answer, Exchange, UpdateServer

CONTENT = bytes(range(256)) * 4000
LENGTH = len(CONTENT)
OLD = b"the release before"


def vouched(content: bytes, name: str = "models/a") -> Target:
    return Target(name, name, len(content), {"sha256": hashlib.sha256(content).hexdigest()})


TARGET = vouched(CONTENT)
PATH = f"targets/{TARGET.path}"


@pytest.fixture
def server() -> Iterator[UpdateServer]:
    with UpdateServer({PATH: CONTENT, "targets/models/old": OLD}) as server:
        yield server


def store_in(folder: Path, server: UpdateServer, **limits: float) -> TargetStore:
    transport = Transport(TransferLimits.model_validate(limits), allows_plain_loopback=True)
    return TargetStore(folder / "files", HttpsSource(server.targets_url, transport))


def cut_after(most: int) -> Answer:
    """Serve as asked, and hang up after so many bytes."""

    def answer(exchange: Exchange) -> None:
        start = exchange.first_byte
        span = {"Content-Range": f"bytes {start}-{LENGTH - 1}/{LENGTH}"} if start else {}
        exchange.head(206 if start else 200, {"Content-Length": LENGTH - start, **span})
        exchange.body(CONTENT[start : start + most])

    return answer


def visible(store: TargetStore) -> list[str]:
    return [path.name for path in store.folder.glob("[!.]*")]


@pytest.mark.parametrize("most", [1, 4096, 500_000, LENGTH // 2, LENGTH - 1])
def test_a_cut_download_goes_on_without_a_byte_twice(tmp_path: Path, server: UpdateServer, most: int) -> None:
    store = store_in(tmp_path, server)
    server.answers[PATH] = cut_after(most)
    with pytest.raises(DeliveryError, match="cut off after"):
        store.fetch(TARGET)
    assert visible(store) == []
    del server.answers[PATH]
    assert store.fetch(TARGET).read_bytes() == CONTENT
    assert server.sent[PATH] == LENGTH
    assert visible(store) == [TARGET.digests["sha256"]]


def test_five_cuts_in_a_row_cost_no_byte_either(tmp_path: Path, server: UpdateServer) -> None:
    store = store_in(tmp_path, server)
    for share in (1, 2, 3, 5, 8):
        server.answers[PATH] = cut_after(LENGTH // (20 * share))
        with pytest.raises(DeliveryError):
            store.fetch(TARGET)
    del server.answers[PATH]
    assert store.fetch(TARGET).read_bytes() == CONTENT
    assert server.sent[PATH] == LENGTH


def test_a_server_that_knows_no_ranges_costs_the_bytes_but_not_the_file(tmp_path: Path, server: UpdateServer) -> None:
    store = store_in(tmp_path, server)
    server.answers[PATH] = cut_after(300_000)
    with pytest.raises(DeliveryError):
        store.fetch(TARGET)

    def whole(exchange: Exchange) -> None:
        exchange.head(200, {"Content-Length": LENGTH})
        exchange.body(CONTENT)

    server.answers[PATH] = whole
    assert store.fetch(TARGET).read_bytes() == CONTENT
    assert server.first_bytes == [0, 300_000]


def test_a_server_may_send_less_than_was_asked_for(tmp_path: Path, server: UpdateServer) -> None:
    store = store_in(tmp_path, server)
    server.answers[PATH] = cut_after(100_000)
    with pytest.raises(DeliveryError):
        store.fetch(TARGET)

    def some(exchange: Exchange) -> None:
        start = exchange.first_byte
        end = min(start + 300_000, LENGTH)
        exchange.head(206, {"Content-Length": end - start, "Content-Range": f"bytes {start}-{end - 1}/*"})
        exchange.body(CONTENT[start:end])

    server.answers[PATH] = some
    assert store.fetch(TARGET).read_bytes() == CONTENT
    assert server.sent[PATH] == LENGTH


HAD = 100_000
WRONG_RANGES = [
    "", "bytes", f"bytes 0-{LENGTH - 1}/{LENGTH}", f"bytes {HAD + 1}-{LENGTH - 1}/{LENGTH}", f"bytes {HAD}-{LENGTH}/*",
    f"bytes {HAD}-{HAD - 1}/{LENGTH}", f"bytes {HAD}-{LENGTH - 1}/{LENGTH + 1}", f"bytes */{LENGTH}",
    f"items {HAD}-{LENGTH - 1}/{LENGTH}", f"bytes {HAD}-{'9' * 400}/{LENGTH}", f"bytes -{HAD}-{LENGTH - 1}/{LENGTH}",
]  # fmt: skip


@pytest.mark.parametrize("span", WRONG_RANGES)
def test_a_range_that_was_not_asked_for_is_refused_and_what_is_there_stays(
    tmp_path: Path, server: UpdateServer, span: str
) -> None:
    store = store_in(tmp_path, server)
    server.answers[PATH] = cut_after(HAD)
    with pytest.raises(DeliveryError):
        store.fetch(TARGET)

    def wrong(exchange: Exchange) -> None:
        exchange.head(206, {"Content-Length": LENGTH - HAD, "Content-Range": span})
        exchange.body(CONTENT[HAD:])

    server.answers[PATH] = wrong
    with pytest.raises(DeliveryError, match="were asked for, and the server sends"):
        store.fetch(TARGET)
    del server.answers[PATH]
    assert store.fetch(TARGET).read_bytes() == CONTENT
    assert server.first_bytes == [0, HAD, HAD]


def test_a_part_of_a_file_that_nobody_asked_for_is_refused(tmp_path: Path, server: UpdateServer) -> None:
    def part(exchange: Exchange) -> None:
        exchange.head(206, {"Content-Length": LENGTH, "Content-Range": f"bytes 0-{LENGTH - 1}/{LENGTH}"})
        exchange.body(CONTENT)

    server.answers[PATH] = part
    with pytest.raises(DeliveryError, match="were asked for"):
        store_in(tmp_path, server).fetch(TARGET)


def test_a_server_that_cannot_go_on_there_is_asked_from_the_beginning(tmp_path: Path, server: UpdateServer) -> None:
    store = store_in(tmp_path, server)
    server.answers[PATH] = cut_after(HAD)
    with pytest.raises(DeliveryError):
        store.fetch(TARGET)

    def not_there(exchange: Exchange) -> None:
        if exchange.first_byte:
            exchange.head(416, {"Content-Length": 0, "Content-Range": "bytes */10"})
        else:
            exchange.head(200, {"Content-Length": LENGTH})
            exchange.body(CONTENT)

    server.answers[PATH] = not_there
    assert store.fetch(TARGET).read_bytes() == CONTENT


def of_status(status: int) -> Answer:
    return lambda exchange: exchange.head(status, {"Content-Length": 0, "Location": "http://127.0.0.1:9/"})


@pytest.mark.parametrize("status", [302, 403, 404, 416, 500, 503])
def test_what_is_no_file_is_no_delivery(tmp_path: Path, server: UpdateServer, status: int) -> None:
    server.answers[PATH] = of_status(status)
    with pytest.raises(DeliveryError, match=str(status)):
        store_in(tmp_path, server).fetch(TARGET)


def test_another_file_of_the_same_length_is_refused_and_nothing_of_it_is_kept(
    tmp_path: Path, server: UpdateServer
) -> None:
    store = store_in(tmp_path, server)
    server.files = {PATH: bytes(LENGTH)}
    with pytest.raises(BundleTrustError, match="another file under this name"):
        store.fetch(TARGET)
    assert server.sent[PATH] == LENGTH
    assert [path.name for path in store.folder.iterdir()] == [".lock"]


def test_a_longer_file_is_refused_before_it_is_read(tmp_path: Path, server: UpdateServer) -> None:
    server.files = {PATH: CONTENT + b"x"}
    with pytest.raises(DeliveryError, match="at most were signed"):
        store_in(tmp_path, server).fetch(TARGET)


def test_a_shorter_file_is_the_servers_fault(tmp_path: Path, server: UpdateServer) -> None:
    store = store_in(tmp_path, server)
    server.files = {PATH: CONTENT[:-1]}
    with pytest.raises(DeliveryError, match=f"ends after {LENGTH - 1} of {LENGTH} bytes"):
        store.fetch(TARGET)
    assert visible(store) == []


def test_an_endless_file_ends_at_its_signed_length(tmp_path: Path, server: UpdateServer) -> None:
    def endless(exchange: Exchange) -> None:
        exchange.head(200, {"Transfer-Encoding": "chunked"})
        while True:
            exchange.body(b"10000\r\n" + bytes(1 << 16) + b"\r\n")

    server.answers[PATH] = endless
    store = store_in(tmp_path, server)
    with pytest.raises(DeliveryError, match="at most were signed"):
        store.fetch(TARGET)
    assert sum(path.stat().st_size for path in store.folder.iterdir()) <= LENGTH


def test_a_file_that_drips_is_given_up_and_goes_on_later(tmp_path: Path, server: UpdateServer) -> None:
    def drip(exchange: Exchange) -> None:
        exchange.head(200, {"Content-Length": LENGTH})
        exchange.body(CONTENT[:HAD])
        exchange.drip(CONTENT[HAD:], 0.02)

    server.answers[PATH] = drip
    with pytest.raises(DeliveryError, match="less than 1000000 bytes/s"):
        store_in(tmp_path, server, window_s=0.2, min_bytes_per_s=1_000_000).fetch(TARGET)
    del server.answers[PATH]
    assert store_in(tmp_path, server).fetch(TARGET).read_bytes() == CONTENT
    assert HAD <= server.first_bytes[1] < LENGTH


def test_drips_of_one_byte_an_answer_are_too_slow_as_well(tmp_path: Path, server: UpdateServer) -> None:
    """Each answer is fast, and each brings one byte: the time of all together is what ends it."""
    store = store_in(tmp_path, server, window_s=0.2, min_bytes_per_s=1_000_000)
    server.answers[PATH] = cut_after(1)
    with pytest.raises(DeliveryError, match="cut off"):
        store.fetch(TARGET)

    def one_byte(exchange: Exchange) -> None:
        start = exchange.first_byte
        exchange.head(206, {"Content-Length": 1, "Content-Range": f"bytes {start}-{start}/{LENGTH}"})
        exchange.body(CONTENT[start : start + 1])

    server.answers[PATH] = one_byte
    with pytest.raises(DeliveryError, match="when its time was over"):
        store.fetch(TARGET)


def test_a_draft_that_the_disk_has_damaged_is_fetched_anew(tmp_path: Path, server: UpdateServer) -> None:
    store = store_in(tmp_path, server)
    server.answers[PATH] = cut_after(HAD)
    with pytest.raises(DeliveryError):
        store.fetch(TARGET)
    [draft] = store.folder.glob(".*.part")
    draft.write_bytes(bytes(HAD))  # what a power cut may leave of a file that was not synced
    del server.answers[PATH]
    assert store.fetch(TARGET).read_bytes() == CONTENT


def test_a_draft_that_is_longer_than_the_file_is_begun_anew(tmp_path: Path, server: UpdateServer) -> None:
    store = store_in(tmp_path, server)
    store.folder.mkdir()
    (store.folder / f".{TARGET.digests['sha256']}.part").write_bytes(CONTENT + b"x")
    assert store.fetch(TARGET).read_bytes() == CONTENT


def test_a_complete_draft_needs_no_server(tmp_path: Path, server: UpdateServer) -> None:
    store = store_in(tmp_path, server)
    store.folder.mkdir()
    (store.folder / f".{TARGET.digests['sha256']}.part").write_bytes(CONTENT)
    assert store.fetch(TARGET).read_bytes() == CONTENT
    assert server.requests == []


def test_a_file_that_rots_in_the_store_is_noticed(tmp_path: Path, server: UpdateServer) -> None:
    store = store_in(tmp_path, server)
    path = store.fetch(TARGET)
    path.write_bytes(bytes(LENGTH))
    assert store.fetch(TARGET).read_bytes() == CONTENT


def test_a_full_disk_leaves_the_old_file_as_it_was(tmp_path: Path, server: UpdateServer) -> None:
    with small_disk(tmp_path / "disk", 2_000_000) as disk:
        store = store_in(disk, server)
        old = store.fetch(vouched(OLD, "models/old"))
        ballast = fill(disk)
        with pytest.raises(StorageError, match="are free; free some space"):
            store.fetch(TARGET)
        assert (old.read_bytes(), server.target_requests) == (OLD, ["models/old"])
        ballast.unlink()
        assert store.fetch(TARGET).read_bytes() == CONTENT
        assert old.read_bytes() == OLD


def test_a_disk_that_fills_up_while_a_file_comes_leaves_the_old_one(tmp_path: Path, server: UpdateServer) -> None:
    with small_disk(tmp_path / "disk", 2_000_000) as disk:
        store = store_in(disk, server)
        old = store.fetch(vouched(OLD, "models/old"))
        ballasts = []

        def filling(exchange: Exchange) -> None:
            exchange.head(200, {"Content-Length": LENGTH})
            exchange.body(CONTENT[:HAD])
            ballasts.append(fill(disk))
            exchange.body(CONTENT[HAD:])

        server.answers[PATH] = filling
        with pytest.raises(StorageError, match="No space left"):
            store.fetch(TARGET)
        assert (old.read_bytes(), visible(store)) == (OLD, [old.name])
        ballasts[0].unlink()
        del server.answers[PATH]
        assert store.fetch(TARGET).read_bytes() == CONTENT


def test_the_reserve_stays_free(tmp_path: Path, server: UpdateServer) -> None:
    with small_disk(tmp_path / "disk", 2_000_000) as disk:
        store = store_in(disk, server)
        with pytest.raises(StorageError, match="with the reserve"):
            replace(store, reserve_bytes=1_500_000).fetch(TARGET)
        assert server.requests == []
        assert replace(store, reserve_bytes=500_000).fetch(TARGET).read_bytes() == CONTENT


def test_half_fetched_files_make_room_before_a_new_one_is_refused(tmp_path: Path, server: UpdateServer) -> None:
    with small_disk(tmp_path / "disk", 2_000_000) as disk:
        store = store_in(disk, server)
        store.folder.mkdir()
        (store.folder / f".{'0' * 64}.part").write_bytes(bytes(1_500_000))
        assert store.fetch(TARGET).read_bytes() == CONTENT


def test_half_fetched_files_stay_where_deleting_them_is_no_help_or_not_needed(
    tmp_path: Path, server: UpdateServer
) -> None:
    with small_disk(tmp_path / "disk", 3_000_000) as disk:
        store = store_in(disk, server)
        store.folder.mkdir()
        older, newer = store.folder / f".{'1' * 64}.part", store.folder / f".{'0' * 64}.part"
        for number, path in enumerate((older, newer)):
            path.write_bytes(bytes(1_200_000))
            os.utime(path, (number, number))
        with pytest.raises(StorageError, match="are free; free some space"):
            replace(store, reserve_bytes=2_500_000).fetch(TARGET)
        assert (older.exists(), newer.exists()) == (True, True)
        assert store.fetch(TARGET).read_bytes() == CONTENT
        assert (older.exists(), newer.exists()) == (False, True)


def test_a_file_that_is_read_again_gets_on_piece_by_piece(tmp_path: Path, server: UpdateServer) -> None:
    store, pieces = store_in(tmp_path, server), list[int]()
    path = store.fetch(TARGET)
    assert replace(store, meanwhile=lambda: pieces.append(1)).fetch(TARGET) == path
    assert len(pieces) == -(-LENGTH // READ_BYTES)


def test_a_folder_that_cannot_be_made_is_told_in_words(tmp_path: Path, server: UpdateServer) -> None:
    (tmp_path / "files").write_bytes(b"a file, where a folder should be")
    with pytest.raises(StorageError, match=r"files: .+; check space"):
        store_in(tmp_path, server).fetch(TARGET)
