"""Which files are opened as a ledger, and which are refused in words."""

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from appliance import __version__
from appliance.errors import StorageError
from appliance.stores.queries import LedgerReader
from appliance.stores.schema import APPLICATION_ID, FIRST_TABLES, MIGRATIONS, check_kind, connect, prepare
from tests.ledger_inspections import open_ledger, store, store_many


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


def test_a_new_file_becomes_a_ledger_of_the_newest_form(path: Path) -> None:
    open_ledger(path).close()
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
    assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("SELECT device_id, software, last_seq FROM meta").fetchone() == (
        "device-1",
        __version__,
        0,
    )
    connection.close()


def test_an_older_form_is_migrated_and_keeps_its_rows(path: Path) -> None:
    with open_ledger(path) as ledger:
        store_many(ledger, 2)
    connection = connect(path)
    note = ("ALTER TABLE inspection ADD COLUMN note TEXT NOT NULL DEFAULT 'none'",)
    prepare(connection, path, "device-1", migrations=(*MIGRATIONS, note))
    assert connection.execute("SELECT seq, note FROM inspection").fetchall() == [(1, "none"), (2, "none")]
    assert connection.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS) + 1,)
    connection.close()


def test_a_ledger_from_before_the_reference_picture_goes_on(path: Path) -> None:
    connection = connect(path)
    prepare(connection, path, "device-1", migrations=(FIRST_TABLES,))
    assert connection.execute("PRAGMA user_version").fetchone() == (1,)
    connection.close()
    with open_ledger(path) as ledger:
        store_many(ledger, 2)
        assert ledger.verify_chain() is None
    connection = connect(path)
    assert connection.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
    assert connection.execute("SELECT seq, reference FROM frame").fetchall() == [(1, None), (2, None)]
    connection.close()


def test_a_migration_that_fails_leaves_the_older_form(path: Path) -> None:
    open_ledger(path).close()
    connection = connect(path)
    with pytest.raises(sqlite3.OperationalError):
        prepare(connection, path, "device-1", migrations=(*MIGRATIONS, ("CREATE TABLE extra (a)", "NO SUCH WORD")))
    connection.close()
    with open_ledger(path) as ledger:
        assert store(ledger, "a").seq == 1


def test_a_newer_form_is_refused_naming_the_software_that_wrote_it(path: Path) -> None:
    open_ledger(path).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.execute("UPDATE meta SET software = '7.5.0'")
    connection.commit()
    connection.close()
    for opening in (open_ledger, LedgerReader):
        with pytest.raises(StorageError, match=r"written by version 7\.5\.0 .*install 7\.5\.0 or newer"):
            opening(path)


def test_another_programs_database_is_refused_and_left_alone(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE recipes (name)")
    connection.commit()
    connection.close()
    before = path.read_bytes()
    with pytest.raises(StorageError, match="another program's database"):
        open_ledger(path)
    assert path.read_bytes() == before


def test_another_devices_ledger_is_refused(path: Path) -> None:
    open_ledger(path).close()
    with pytest.raises(StorageError, match="'device-1', not of 'device-2'; set device_id back"):
        open_ledger(path, device_id="device-2")
    open_ledger(path).close()


def test_a_file_that_is_no_database_is_refused(path: Path) -> None:
    path.write_bytes(b"no database at all, but long enough to be one" * 200)
    with pytest.raises(StorageError, match=r"not a database; .*name another path"):
        open_ledger(path)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=5000))
def test_any_bytes_give_a_ledger_or_a_storage_error(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("any") / "ledger.db"
    path.write_bytes(content)
    try:
        open_ledger(path).close()
    except StorageError as error:
        assert str(path) in str(error)
        assert path.read_bytes() == content
    else:
        assert content == b""


def test_a_ledger_that_lost_its_last_records_is_refused(path: Path) -> None:
    with open_ledger(path) as ledger:
        store_many(ledger, 3)
    connection = sqlite3.connect(path)
    connection.execute("DELETE FROM inspection WHERE seq = 3")
    connection.commit()
    connection.close()
    with pytest.raises(StorageError, match="record 3 was written last, but the last one there is 2"):
        open_ledger(path)


def test_a_ledger_with_damaged_pages_is_refused(path: Path) -> None:
    with open_ledger(path) as ledger:
        store_many(ledger, 50)
    content = bytearray(path.read_bytes())
    content[4096:] = b"\x5a" * (len(content) - 4096)
    path.write_bytes(bytes(content))
    with pytest.raises(StorageError, match=r"restore a copy|move it away"):
        open_ledger(path)


def test_a_second_writer_in_this_process_is_refused_until_the_first_closes(path: Path) -> None:
    said = rf"another process \(pid {os.getpid()}\) writes .*stop it first"
    with open_ledger(path), pytest.raises(StorageError, match=said):
        open_ledger(path)
    open_ledger(path).close()


def test_a_second_writer_in_another_process_is_refused(path: Path) -> None:
    program = (
        "import sys; from pathlib import Path\n"
        "from appliance.errors import StorageError\n"
        "from appliance.stores.ledger import SqliteLedger\n"
        "try:\n    SqliteLedger.open(Path(sys.argv[1]), 'device-1', 'boot-2', [])\n"
        "except StorageError as error:\n    sys.exit(str(error))\n"
    )
    with open_ledger(path):
        done = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"pid {os.getpid()}" in done.stderr


def test_a_refused_opening_leaves_no_lock_behind(path: Path) -> None:
    open_ledger(path).close()
    with pytest.raises(StorageError):
        open_ledger(path, device_id="other")
    open_ledger(path).close()


def test_a_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"nowhere/ledger\.db"):
        open_ledger(tmp_path / "nowhere" / "ledger.db")


def test_a_reader_does_not_create_a_ledger(path: Path) -> None:
    with pytest.raises(StorageError, match="unable to open"):
        LedgerReader(path)
    path.touch()
    with pytest.raises(StorageError, match="start the station once"):
        LedgerReader(path)
    assert path.read_bytes() == b""


def test_an_empty_file_is_told_from_a_ledger_without_writing(path: Path) -> None:
    path.touch()
    connection = connect(path, read_only=True)
    check_kind(connection, path)
    connection.close()
    assert path.read_bytes() == b""
