"""Records on the consumer's side: in order, each once, gaps and alterations visible, the cursor on disk."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import StorageError
from appliance.links.record_chain import MOST_AHEAD, Cursor, RecordChain, load_cursor, save_cursor
from tests.stations import records

PAYLOADS = [record.payload.encode() for record in records(12)]


def take(chain: RecordChain, *payloads: bytes) -> list[int]:
    taken = []
    for payload in payloads:
        chain.take(payload)
        taken += [record.message.seq for record in chain.complete()]
    return taken


@given(st.lists(st.sampled_from(range(12)), max_size=60))
def test_whatever_order_and_repetition_each_record_is_taken_once_and_in_order(arrivals: list[int]) -> None:
    chain = RecordChain.from_first("device-07")
    taken = take(chain, *(PAYLOADS[position] for position in arrivals))
    have = {position + 1 for position in arrivals}
    complete = next(seq for seq in range(14) if seq + 1 not in have)
    assert taken == list(range(1, complete + 1))
    assert chain.upto == complete
    ahead = {seq for seq in have if seq > complete}
    assert chain.missing() == ((complete + 1, min(ahead) - 1) if ahead else None)
    assert chain.duplicates == len(arrivals) - len(have)


def test_the_heartbeat_shows_a_record_that_is_missing_at_the_end() -> None:
    chain = RecordChain.from_first("device-07")
    take(chain, *PAYLOADS[:3])
    assert chain.missing(last_seq=3) is None
    assert chain.missing(last_seq=9) == (4, 9)


def test_records_that_the_station_no_longer_has_are_passed_over() -> None:
    chain = RecordChain.from_first("device-07")
    assert take(chain, PAYLOADS[6], PAYLOADS[7]) == []
    assert chain.skip_to(7) == 6
    assert chain.skip_to(7) == 0
    assert [record.message.seq for record in chain.complete()] == [7, 8]
    assert take(chain, PAYLOADS[8]) == [9]
    assert RecordChain("device-07").skip_to(7) == 0


def test_a_record_that_is_here_is_not_gone_although_the_station_no_longer_has_it() -> None:
    chain = RecordChain.from_first("device-07")
    assert take(chain, PAYLOADS[3], PAYLOADS[9]) == []
    assert chain.skip_to(10) == 3
    assert [record.message.seq for record in chain.complete()] == [4]
    assert chain.missing() == (5, 9)
    assert chain.skip_to(10) == 5
    assert [record.message.seq for record in chain.complete()] == [10]


def test_a_consumer_without_a_past_begins_with_what_comes_first() -> None:
    chain = RecordChain("device-07")
    assert chain.missing(last_seq=100) is None
    assert take(chain, PAYLOADS[4], PAYLOADS[5]) == [5, 6]


def test_an_altered_record_shows() -> None:
    document = json.loads(PAYLOADS[1]) | {"verdict": "REJECT"}
    chain = RecordChain.from_first("device-07")
    flags = []
    for payload in (PAYLOADS[0], json.dumps(document).encode(), PAYLOADS[2], PAYLOADS[3]):
        chain.take(payload)
        flags += [record.is_chained for record in chain.complete()]
    assert flags == [True, True, False, True]  # the third carries the hash of another second


def test_a_record_whose_taker_fails_is_given_again() -> None:
    chain = RecordChain.from_first("device-07")
    chain.take(PAYLOADS[0])
    for _ in chain.complete():
        break  # what happens when the taker raises
    assert chain.upto == 0
    assert take(chain, PAYLOADS[1]) == [1, 2]


@pytest.mark.parametrize("payload", [b"", b"{}", b"\xff", records(1, device_id="device-08")[0].payload.encode()])
def test_what_is_no_record_of_this_device_is_counted_and_left(payload: bytes) -> None:
    chain = RecordChain.from_first("device-07")
    assert take(chain, payload) == []
    assert chain.unreadable == 1


def test_what_waits_behind_a_gap_is_bounded() -> None:
    chain = RecordChain.from_first("device-07")
    for record in records(MOST_AHEAD + 50, first_seq=2):
        chain.take(record.payload.encode())
    assert chain.missing() == (1, 1)
    taken = take(chain, PAYLOADS[0])
    assert taken == list(range(1, MOST_AHEAD + 2))


def test_the_cursor_survives_on_disk_and_a_foreign_or_damaged_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cursor.json"
    assert load_cursor(path, "device-07") is None
    cursor = Cursor(device_id="device-07", upto=41, payload_hash="a" * 64)
    save_cursor(path, cursor)
    assert load_cursor(path, "device-07") == cursor
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(StorageError, match="is of device device-07"):
        load_cursor(path, "device-08")
    path.write_text("{")
    with pytest.raises(StorageError, match="delete it"):
        load_cursor(path, "device-07")
    with pytest.raises(StorageError, match="free disk space"):
        save_cursor(tmp_path / "absent" / "cursor.json", cursor)
