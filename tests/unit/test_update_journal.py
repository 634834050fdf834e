"""The journal: durable before visible, read back as it was written, and told in words when it cannot be used."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.bundle.gate_settings import Gates
from appliance.errors import StorageError
from appliance.update.assignment import AssignedRelease
from appliance.update.journal import MOST_UNSENT, MOST_UPDATES, MOST_WISHES, Journal
from appliance.update.kinds import Update
from appliance.update.lifecycle import Event, Progress, State, after
from tests.small_disk import fill, small_disk
from tests.update_device import SetClock

GATES = Gates(shadow_parts=1, canary_parts=2, watch_parts=3, watch_h=0.5)


def release(name: str = "tiny", digest: str = "a" * 64) -> AssignedRelease:
    return AssignedRelease(
        kind="model", name=name, path=f"models/{name}/{name}-2.bundle", sha256=digest, length=9, seq=2
    )


def begun(journal: Journal, name: str = "tiny") -> Update:
    return journal.begin(release(name), GATES, after(Progress(), Event.DONE), rollout="r", previous="b" * 64)


def test_a_row_is_there_for_another_process_before_the_action(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.db", SetClock())
    (synchronous,) = journal._connection.execute("PRAGMA synchronous").fetchone()
    assert synchronous == 2, "FULL"
    update = begun(journal)
    moved = journal.move(update, after(update.progress, Event.DONE), "checked", parts=3)
    other = Journal(tmp_path / "journal.db", SetClock())
    assert other.open_updates() == [moved]
    assert [(step.state, step.reason) for step in other.steps(update.number)] == [
        ("CHECK", ""),
        ("DOWNLOAD", "checked"),
    ]
    assert [event["state"] for _, _, event in other.unsent()] == ["CHECK", "DOWNLOAD"]


@settings(max_examples=40, deadline=None)
@given(
    state=st.sampled_from([state for state in State if state is not State.IDLE]), tries=st.integers(0, 3),
    verdict=st.sampled_from(["", "failed", "quarantined"]), reason=st.text(max_size=50),
    p99=st.none() | st.floats(0, 9), since_seq=st.none() | st.integers(0, 2**40),
    waits=st.text(max_size=20),
)  # fmt: skip
def test_an_update_is_read_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, state: State, tries: int, verdict: str, reason: str, p99: float | None,
    since_seq: int | None, waits: str,
) -> None:  # fmt: skip
    journal = Journal(tmp_path_factory.mktemp("journal") / "journal.db", SetClock())
    progress = Progress(state, tries, 1, 7, verdict, True, True)  # type: ignore[arg-type]
    moved = journal.move(begun(journal), progress, reason, p99_ms=p99)
    resting = journal.rest(moved, waits, since_seq=since_seq)
    assert journal.open_updates() == journal.latest() == journal.of_digest("a" * 64) == [resting]
    journal.close()


def test_a_state_of_a_newer_version_is_read_as_the_way_back(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.db", SetClock())
    begun(journal)
    journal._connection.execute("UPDATE life SET state = 'TELEPORT'")
    (update,) = journal.open_updates()
    assert update.progress.state is State.ROLLBACK


def test_each_name_has_its_newest_update(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.db", SetClock())
    for name in ("one", "two", "one"):
        begun(journal, name)
    assert [(update.number, update.release.name) for update in journal.latest()] == [(3, "one"), (2, "two")]


def test_wishes_quarantine_and_notes_are_kept(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.db", SetClock())
    wish = journal.wish("model", "tiny", "Ann")
    assert journal.wishes() == [wish]
    assert journal.answer_to(wish) is None
    journal.answer(wish, "done")
    assert (journal.wishes(), journal.answer_to(wish)) == ([], "done")
    journal.quarantine("a" * 64, "bad", "agent")
    journal.quarantine("a" * 64, "worse", "agent")
    assert journal.quarantined() == {"a" * 64: "bad"}
    assert (journal.release_quarantine("a" * 64), journal.release_quarantine("a" * 64)) == (True, False)
    journal.note("hold", {"by": "Ann"})
    assert journal.noted("hold") == {"by": "Ann"}
    journal.note("hold", None)
    assert journal.noted("hold") is None


def other_program(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE theirs (id)")
    connection.commit()


def newer(path: Path) -> None:
    Journal(path, SetClock()).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.commit()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda path: path.write_bytes(b"x" * 5000), "the agent begins a new one, and what is in force stays"),
        (lambda path: path.mkdir(), "check that the folder exists"),
        (other_program, "is no journal that this version reads"),
        (newer, "install the version that wrote it"),
    ],
)
def test_a_file_that_is_no_journal_is_refused_in_words(tmp_path: Path, spoil: object, words: str) -> None:
    spoil(tmp_path / "journal.db")  # type: ignore[operator]
    with pytest.raises(StorageError, match=words):
        Journal(tmp_path / "journal.db", SetClock())


def test_a_full_disk_writes_nothing_and_is_over_when_it_is_over(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 600_000) as disk:
        journal = Journal(disk / "journal.db", SetClock())
        update = begun(journal)
        ballast = fill(disk)
        with pytest.raises(StorageError, match="free disk space; the agent goes on by itself"):
            for _ in range(200):
                update = journal.move(update, update.progress, "x" * 4000)
        before = journal.open_updates()
        assert before == [update]
        ballast.unlink()
        moved = journal.move(update, after(update.progress, Event.DONE), "goes on")
        assert journal.open_updates() == [moved]
        journal.close()


def test_the_journal_does_not_grow_without_end(tmp_path: Path) -> None:
    """What is in force may be an old success, which is needed to go back from it."""
    journal = Journal(tmp_path / "journal.db", SetClock())
    success = journal.move(begun(journal), Progress(State.IDLE, verdict="success"), "")
    waiting = begun(journal, "other")
    for number in range(MOST_UPDATES + 20):
        update = begun(journal)
        journal.move(update, Progress(State.IDLE, verdict="failed"), "")
        journal.answer(journal.wish("model", "tiny", "Ann"), f"{number}")
    unanswered = journal.wish("model", "tiny", "Bob")
    kept = journal.of_digest("a" * 64)
    tiny = [update.number for update in kept if update.release.name == "tiny"]
    assert tiny[0] == success.number
    assert len(tiny) == MOST_UPDATES + 1
    assert waiting.number in [update.number for update in kept]
    assert journal.steps(success.number + 2) == []
    assert len(journal.steps(tiny[-1])) == 2
    with closing(sqlite3.connect(tmp_path / "journal.db")) as rows:
        assert rows.execute("SELECT count(*) FROM wish").fetchone() == (MOST_WISHES + 1,)
    assert journal.wishes() == [unanswered]


def test_events_that_no_line_ever_takes_are_bounded(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.db", SetClock())
    update = begun(journal)
    for _ in range(MOST_UNSENT + 5):
        update = journal.move(update, update.progress, "again")
    with closing(sqlite3.connect(tmp_path / "journal.db")) as rows:
        assert rows.execute("SELECT count(*), max(id) FROM unsent").fetchone() == (MOST_UNSENT, MOST_UNSENT + 6)


def test_rows_of_the_neighbouring_versions_are_read(tmp_path: Path) -> None:
    """A newer agent reads what an older one wrote, and after a rollback the other way round."""
    journal = Journal(tmp_path / "journal.db", SetClock())
    update = begun(journal)
    (text,) = journal._connection.execute("SELECT row FROM life").fetchone()
    row = json.loads(text)
    for section in (row, row["release"], row["gates"], row["progress"]):
        section["of_a_newer_version"] = 7
    del row["budget_ms"], row["gates"]["alpha"], row["progress"]["has_judged"]
    journal._connection.execute("UPDATE life SET row = ?", (json.dumps(row),))
    assert journal.open_updates() == [update]
