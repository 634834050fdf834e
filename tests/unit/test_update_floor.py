"""The floor: what a device never goes back behind, judged by a pure core and kept in a file of its own."""

from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import ReplayError, StorageError
from appliance.update.floor import Floor, FloorState, Release, Role, Versions, as_moment, as_text

BUILT_AT = datetime(2020, 1, 1, tzinfo=timezone.utc)
NOON = datetime(2026, 6, 1, 12, tzinfo=timezone.utc)
KEYS_A, KEYS_B = Role(keyids=("a",)), Role(keyids=("b",))


def versions(
    root: int, timestamp: int, snapshot: int, timestamp_role: Role = KEYS_A, snapshot_role: Role = KEYS_A
) -> Versions:
    return Versions(
        root=root, timestamp=timestamp, snapshot=snapshot, timestamp_role=timestamp_role, snapshot_role=snapshot_role
    )


def release(
    seq: int, root: int = 1, targets: int = 5, targets_role: Role = KEYS_A, delegated: Role | None = KEYS_B
) -> Release:
    return Release(seq=seq, root=root, targets=targets, targets_role=targets_role, delegated=delegated)


SEEN = FloorState().risen_to("online", versions(3, 50, 20))


@pytest.mark.parametrize("offered", [versions(3, 50, 20), versions(3, 51, 20), versions(4, 50, 21)])
def test_the_same_or_newer_is_taken(offered: Versions) -> None:
    assert SEEN.risen_to("online", offered).repositories["online"] == offered


@pytest.mark.parametrize(
    ("offered", "role"),
    [
        (versions(2, 60, 30), "root"), (versions(3, 49, 20), "timestamp"), (versions(3, 51, 19), "snapshot"),
        (versions(2, 1, 1, KEYS_B, KEYS_B), "root"),
        (versions(3, 1, 1, KEYS_B), "timestamp"),  # other keys under the very same root: nobody agreed to that
        (versions(4, 49, 20), "timestamp"), (versions(2, 0, 0), "root"),
    ],
)  # fmt: skip
def test_what_is_older_is_refused_with_both_versions(offered: Versions, role: str) -> None:
    with pytest.raises(ReplayError, match=rf"repository online: {role} version \d+ is offered, and .* seen \d+"):
        SEEN.risen_to("online", offered)


@pytest.mark.parametrize("offered", [versions(4, 1, 1, KEYS_B), versions(4, 1, 1, KEYS_A, KEYS_B)])
def test_new_keys_under_a_newer_root_begin_anew(offered: Versions) -> None:
    assert SEEN.risen_to("online", offered).repositories["online"] == offered


def test_a_key_more_is_no_new_beginning() -> None:
    with pytest.raises(ReplayError):
        SEEN.risen_to("online", versions(4, 1, 1, Role(keyids=("a", "b"))))


def test_a_key_that_is_taken_away_is_a_new_beginning() -> None:
    both = FloorState().risen_to("online", versions(3, 50, 20, Role(keyids=("a", "b"))))
    assert both.risen_to("online", versions(4, 1, 1, Role(keyids=("b",))))


def test_keys_that_no_longer_suffice_are_a_new_beginning() -> None:
    assert SEEN.risen_to("online", versions(4, 1, 1, Role(keyids=("a", "b"), threshold=2)))


def test_a_newer_root_alone_leaves_the_rest() -> None:
    after = SEEN.risen_to("online", versions(4, 0, 0)).repositories["online"]
    assert (after.root, after.timestamp, after.snapshot) == (4, 50, 20)


def test_repositories_do_not_share_versions() -> None:
    both = SEEN.risen_to("stick", versions(1, 1, 1))
    assert {name: item.timestamp for name, item in both.repositories.items()} == {"online": 50, "stick": 1}


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(0, 9), st.integers(0, 9), st.sampled_from("ab")), max_size=12))
def test_under_the_same_keys_no_version_ever_falls(offers: list[tuple[int, int, int, str]]) -> None:
    state = FloorState()
    for root, timestamp, snapshot, key in offers:
        role = Role(keyids=(key,))
        before = state.repositories.get("online")
        try:
            state = state.risen_to("online", versions(root, timestamp, snapshot, role, role))
        except ReplayError:
            assert state.repositories.get("online") == before
            continue
        after = state.repositories["online"]
        assert before is None or after.root >= before.root
        if before is not None and after.timestamp_role == before.timestamp_role:
            assert after.timestamp >= before.timestamp
            assert after.snapshot >= before.snapshot


@pytest.mark.parametrize(
    "offered",
    [
        release(1, targets=6, delegated=KEYS_A),
        release(1, targets=6, delegated=None),
        release(1, targets=6, delegated=Role(keyids=("b", "c"), threshold=2)),
        release(1, root=2, targets=1, targets_role=KEYS_B),
    ],
)
def test_a_number_begins_anew_when_who_may_vouch_for_it_has_changed(offered: Release) -> None:
    state = FloorState().with_releases({"model": release(7)}).with_releases({"model": offered})
    assert state.releases == {"model": offered}


@pytest.mark.parametrize(
    "offered",
    [
        release(6), release(6, targets=6), release(6, root=2, targets=6),
        release(6, targets=6, delegated=Role(keyids=("b", "c"))),  # one more may sign
        release(6, delegated=KEYS_A), release(6, targets=4, delegated=KEYS_A),  # an old targets.json says nothing new
        release(6, targets_role=KEYS_B), release(6, targets=6, targets_role=KEYS_B),  # no newer root agreed to that
    ],
)  # fmt: skip
def test_a_number_never_falls_while_the_same_may_vouch_for_it(offered: Release) -> None:
    with pytest.raises(ReplayError, match="model release 6 is offered, and this device has taken 7"):
        FloorState().with_releases({"model": release(7)}).with_releases({"model": offered})


def test_who_may_vouch_is_what_the_newest_targets_said() -> None:
    state = FloorState().with_releases({"model": release(7)})
    state = state.with_releases({"model": release(8, targets=4, delegated=KEYS_A)})
    with pytest.raises(ReplayError):
        state.with_releases({"model": release(7, targets=5, delegated=KEYS_B)})


def test_without_a_delegation_a_number_stays_under_a_newer_targets() -> None:
    state = FloorState().with_releases({"model": release(7, delegated=None)})
    with pytest.raises(ReplayError):
        state.with_releases({"model": release(6, targets=6, delegated=None)})


STICK = {"repository": "stick", "root": 9, "targets": 99, "targets_role": KEYS_B, "delegated": KEYS_A}
"""Newer in every number, under other keys: what would begin anew in the same repository."""


def test_another_repository_never_lets_a_number_begin_anew() -> None:
    state = FloorState().with_releases({"model": release(7)})
    with pytest.raises(ReplayError, match="model release 6 is offered, and this device has taken 7"):
        state.with_releases({"model": release(6).model_copy(update=STICK)})


def test_what_a_stick_brought_binds_the_server_too() -> None:
    of_stick = release(8).model_copy(update=STICK)
    state = FloorState().with_releases({"model": release(7)}).with_releases({"model": of_stick})
    assert state.releases == {"model": of_stick}
    with pytest.raises(ReplayError, match="has taken 8"):
        state.with_releases({"model": release(7, targets=100, delegated=KEYS_A)})
    assert state.with_releases({"model": release(8, targets=100)}).releases == {"model": of_stick}
    assert state.with_releases({"model": release(9)}).releases == {"model": release(9)}


def test_a_floor_that_knows_one_repository_begins_another_on_a_used_device(tmp_path: Path) -> None:
    floor, file = Floor(tmp_path / "floor.json", BUILT_AT), tmp_path / "a file"
    with pytest.raises(StorageError, match=r"knows nothing of repository stick, and .*a file shows"):
        floor.begin("stick", versions(1, 0, 0), [], [file])
    floor.begin("online", versions(1, 0, 0), [])
    with pytest.raises(StorageError, match=r"knows nothing of repository stick, and .*a file shows"):
        floor.begin("stick", versions(1, 0, 0), [file])
    floor.begin("stick", versions(1, 0, 0), [], [file])
    assert set(floor.read().repositories) == {"online", "stick"}


def test_the_floor_outlives_the_process(tmp_path: Path) -> None:
    Floor(tmp_path / "floor.json", BUILT_AT).rise("online", versions(3, 50, 20))
    Floor(tmp_path / "floor.json", BUILT_AT).rise_to_releases({"model": release(7)})
    Floor(tmp_path / "floor.json", BUILT_AT).rise_to_time(NOON)
    again = Floor(tmp_path / "floor.json", BUILT_AT)
    with pytest.raises(ReplayError):
        again.rise("online", versions(3, 49, 20))
    with pytest.raises(ReplayError, match=r"model release 6 is offered, .* taken 7; .* as release 8"):
        again.check_releases({"model": release(6)})
    again.check_releases({"model": release(7), "app": release(1)})
    assert again.read().time == "2026-06-01T12:00:00Z"


def test_a_lower_release_or_an_earlier_time_changes_nothing(tmp_path: Path) -> None:
    floor = Floor(tmp_path / "floor.json", BUILT_AT)
    floor.rise_to_releases({"model": release(7)})
    floor.rise_to_time(NOON)
    before = floor.path.read_bytes()
    with pytest.raises(ReplayError, match="model release 6 is offered"):
        floor.rise_to_releases({"model": release(6), "app": release(1)})
    floor.rise_to_time(NOON - timedelta(days=900))
    assert floor.path.read_bytes() == before


@pytest.mark.parametrize(
    ("clock", "not_before", "known", "judged_at"),
    [
        (NOON, BUILT_AT, None, NOON),
        (datetime(1970, 1, 1, tzinfo=timezone.utc), NOON, None, NOON),
        (datetime(1970, 1, 1, tzinfo=timezone.utc), NOON, NOON + timedelta(days=1), NOON + timedelta(days=1)),
        (NOON + timedelta(days=2), NOON, NOON + timedelta(days=1), NOON + timedelta(days=2)),
    ],
)
def test_time_is_the_clocks_unless_it_is_known_to_be_later(
    tmp_path: Path, clock: datetime, not_before: datetime, known: datetime | None, judged_at: datetime
) -> None:
    floor = Floor(tmp_path / "floor.json", not_before)
    if known:
        floor.rise_to_time(known)
    assert floor.time(clock) == judged_at


@given(moment=st.datetimes(timezones=st.just(timezone.utc)))
def test_every_moment_is_read_as_it_was_written(moment: datetime) -> None:
    assert as_moment(as_text(moment)) == moment.replace(microsecond=0)


def test_no_time_before_the_image_was_built_is_noted(tmp_path: Path) -> None:
    floor = Floor(tmp_path / "floor.json", BUILT_AT)
    floor.rise_to_time(datetime(999, 1, 1, tzinfo=timezone.utc))
    assert floor.read().time is None


def test_a_floor_that_could_not_be_read_again_is_never_written(tmp_path: Path) -> None:
    floor = Floor(tmp_path / "floor.json", BUILT_AT)
    floor.rise("online", versions(1, 1, 1))
    before = floor.path.read_bytes()
    with pytest.raises(StorageError, match="it stays as it was"):
        floor.rise("online", versions(2, 2, 2, Role(keyids=tuple(f"{number:064}" for number in range(60_000)))))
    assert floor.path.read_bytes() == before


def test_a_link_to_the_floor_stays_one_and_what_it_names_is_replaced_as_a_whole(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    place, link = tmp_path / "elsewhere" / "floor.json", tmp_path / "floor.json"
    Floor(place, BUILT_AT).rise("online", versions(1, 1, 1))
    link.symlink_to(place)
    with place.open("rb") as before:
        kept = before.read()
        Floor(link, BUILT_AT).rise("online", versions(2, 2, 2))
        before.seek(0)
        assert before.read() == kept
    assert link.is_symlink()
    assert Floor(place, BUILT_AT).read().repositories["online"].root == 2


def test_a_folder_that_is_not_there_is_not_made_for_the_floor(tmp_path: Path) -> None:
    floor = Floor(tmp_path / "unmounted" / "floor.json", BUILT_AT)
    for use in (floor.read, lambda: floor.rise("online", versions(1, 1, 1))):
        with pytest.raises(StorageError, match="the floor's folder is not there; mount"):
            use()
    assert list(tmp_path.iterdir()) == []


DAMAGED = [
    b"",
    b"{",
    b"[]",
    b'{"schema": "vi.update-floor/1", "more": 1}',
    b'{"schema": "vi.update-floor/2"}',
    bytes(300),
]


@pytest.mark.parametrize("content", DAMAGED)
def test_a_damaged_floor_is_never_a_new_one(tmp_path: Path, content: bytes) -> None:
    floor = Floor(tmp_path / "floor.json", BUILT_AT)
    floor.path.write_bytes(content)
    with pytest.raises(StorageError, match="nothing is installed; restore it"):
        floor.rise("online", versions(1, 1, 1))
    assert floor.path.read_bytes() == content
