"""How long a part waits for the ledger when millions of parts are in it.

The ledger is filled in bulk with random trigger and part ids (the worst case for their indexes), and the file is put
out of the page cache. Then parts come at a steady rate - accept, record, acknowledge, as in the station - first alone,
then while old records are purged. Exit code 1: a p99 is 20 ms or more.
"""

import argparse
import os
import secrets
import shutil
import sqlite3
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import Progress, track
from rich.table import Table

from appliance.events import (
    Decision,
    Detection,
    Frame,
    ImageStatistics,
    Inspection,
    Reason,
    Trigger,
    Verdict,
    Versions,
    ViewResult,
    new_id,
    utc_now,
)
from appliance.stores.ledger import SqliteLedger
from appliance.stores.schema import FIRST_TABLES, connect
from benchmarks.results import machine, write

LARGEST_P99_MS = 20.0
CHUNK = 50_000
RECORD_BYTES = 600
INDEXES = tuple(text for text in FIRST_TABLES if "INDEX inspection_" in text)
VERSIONS = Versions("0.1", "boards", 3, "a" * 64, "board", 1, "b" * 64, "c" * 64, "onnx", "board")
STATISTICS = ImageStatistics(120.0, 30.0, 0.25, 200.0, 0.01, 0.02)
PIXELS = np.zeros((1, 1, 1), np.uint8)
BULK = (
    """INSERT INTO inspection
        SELECT value, lower(hex(randomblob(16))), lower(hex(randomblob(12))), lower(hex(randomblob(12))),
            CASE WHEN value % 20 THEN 'ACCEPT' ELSE 'REJECT' END, 'complete', NULL, NULL, NULL, 0,
            '2020-01-01T00:00:00.000Z', '2020-01-01T00:00:00.050Z', 50000,
            hex(randomblob(:half)), lower(hex(randomblob(32)))
        FROM number""",
    "INSERT INTO frame SELECT value, 'top', value, '2020-01-01T00:00:00.010Z', 'camera', 800.0, 1.5, 0.5, -0.5,"
    " 120.5, 30.5, 0.25, 200.5, 0.01, 0.02, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL FROM number",
    'INSERT INTO stage_time SELECT number.value, stage.value, 9000 FROM number, json_each(\'["capture","correct",'
    '"decide","infer"]\') AS stage',
    "INSERT INTO detection SELECT value, 'top', 0, 'short', 0.9, 1.5, 2.5, 30.5, 40.5 FROM number WHERE value % 5 = 0",
)


def fill(path: Path, rows: int) -> None:
    SqliteLedger.open(path, "device-1", "boot-1", ["plant"]).close()
    connection = connect(path)
    for setting in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -262144", "foreign_keys = OFF"):
        connection.execute(f"PRAGMA {setting}")
    for text in INDEXES:
        connection.execute(f"DROP INDEX {text.split(' ON ', maxsplit=1)[0].split()[-1]}")
    for start in track(range(1, rows + 1, CHUNK), f"writing {rows:,} records", console=Console(stderr=True)):
        connection.execute("BEGIN")
        number = (
            f"WITH RECURSIVE number(value) AS (SELECT {start} UNION ALL SELECT value + 1 FROM number"
            f" WHERE value < {min(start + CHUNK - 1, rows)}) "
        )
        for text in BULK:
            at = text.index("SELECT")
            parameters = {"half": RECORD_BYTES // 2} if ":half" in text else {}
            connection.execute(text[:at] + number + text[at:], parameters)
        connection.execute("COMMIT")
    for text in track(INDEXES, "building indexes", console=Console(stderr=True)):
        connection.execute(text)
    last_hash = connection.execute("SELECT record_hash FROM inspection WHERE seq = ?", (rows,)).fetchone()[0]
    connection.execute("UPDATE meta SET last_seq = ?, last_hash = ?", (rows, last_hash))
    connection.execute("UPDATE consumer SET acked_upto = ?", (rows,))
    connection.execute("PRAGMA journal_mode = WAL")
    connection.close()


def forget_cached_pages(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)


def inspection_of(trigger: Trigger, number: int) -> Inspection:
    found = (Detection("short", 0.9, (1.5, 2.5, 30.5, 40.5)),) if number % 5 == 0 else ()
    frame = Frame("top", number, PIXELS, utc_now(), time.monotonic_ns(), "camera", 800.0, 1.5)
    decision = Decision(Verdict.REJECT if found else Verdict.ACCEPT, Reason.DEFECT if found else Reason.COMPLETE)
    spent_us = {"capture": 9000, "correct": 300, "infer": 9000, "decide": 100}
    view = ViewResult("top", frame, STATISTICS, found, (0.5, -0.5))
    now_ns = time.monotonic_ns()
    return Inspection(new_id(), trigger, decision, (view,), utc_now(), now_ns, spent_us, VERSIONS, {})


def ticks(rate: float, seconds: float, name: str) -> Iterator[int]:
    pause = threading.Event()
    started_ns = time.monotonic_ns()
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task(name, total=int(rate * seconds))
        for number in range(int(rate * seconds)):
            pause.wait(max(0.0, (started_ns + number * 1e9 / rate - time.monotonic_ns()) / 1e9))
            yield number
            progress.advance(task)


def parts(ledger: SqliteLedger, rate: float, seconds: float, name: str) -> dict[str, list[float]]:
    spent_ms: dict[str, list[float]] = {"accept": [], "record": [], "acknowledge": [], "accept + record": []}
    for number in ticks(rate, seconds, name):
        begun_ns = time.monotonic_ns()
        trigger = Trigger(secrets.token_hex(12), secrets.token_hex(12), utc_now(), begun_ns, begun_ns + 10**9)
        inspection = inspection_of(trigger, number)
        started_ns = time.monotonic_ns()
        ledger.accept(trigger)
        accepted_ns = time.monotonic_ns()
        record = ledger.record(inspection)
        recorded_ns = time.monotonic_ns()
        ledger.acknowledge("plant", record.seq)
        spent_ms["accept"].append((accepted_ns - started_ns) / 1e6)
        spent_ms["record"].append((recorded_ns - accepted_ns) / 1e6)
        spent_ms["accept + record"].append((recorded_ns - started_ns) / 1e6)
        spent_ms["acknowledge"].append((time.monotonic_ns() - recorded_ns) / 1e6)
    return spent_ms


def bare_disk(folder: Path, rate: float, seconds: float) -> list[float]:
    """What a part would cost if a ledger were only two writes of the same size that wait for the disk."""
    spent_ms = []
    with (folder / "bare").open("wb", buffering=0) as file:
        for number in ticks(rate, seconds, "the bare disk"):
            started_ns = time.monotonic_ns()
            for size_bytes in (4 << 12, 10 << 12):
                os.pwrite(file.fileno(), b"x" * size_bytes, number % 100 * (20 << 12))
                os.fsync(file.fileno())
            spent_ms.append((time.monotonic_ns() - started_ns) / 1e6)
    return spent_ms


def parts_while_purging(ledger: SqliteLedger, rate: float, seconds: float) -> tuple[dict[str, list[float]], float]:
    purged: list[int] = []
    begun_ns = time.monotonic_ns()
    thread = threading.Thread(target=lambda: purged.append(ledger.purge(datetime(2021, 1, 1, tzinfo=timezone.utc))))
    thread.start()
    spent_ms = parts(ledger, rate, seconds, "parts while old records are purged")
    ledger.close()
    thread.join()
    return spent_ms, purged[0] / ((time.monotonic_ns() - begun_ns) / 1e9)


def summary(spent_ms: list[float]) -> dict[str, float]:
    p50, p95, p99 = np.percentile(spent_ms, (50, 95, 99))
    return {
        "p50_ms": round(p50, 2),
        "p95_ms": round(p95, 2),
        "p99_ms": round(p99, 2),
        "max_ms": round(max(spent_ms), 2),
    }


def measure(folder: Path, rows: int, rate: float, seconds: float, niceness: int) -> dict[str, object]:
    path = folder / "ledger.db"
    begun_ns = time.monotonic_ns()
    os.setpriority(os.PRIO_PROCESS, 0, 10)
    fill(path, rows)
    os.setpriority(os.PRIO_PROCESS, 0, niceness)
    filled_s = (time.monotonic_ns() - begun_ns) / 1e9
    size_bytes = path.stat().st_size
    forget_cached_pages(path)
    bare = bare_disk(folder, rate, seconds / 2)
    ledger = SqliteLedger.open(path, "device-1", "boot-2", ["plant"])
    alone = parts(ledger, rate, seconds, "parts")
    purging, purged_per_s = parts_while_purging(ledger, rate, seconds)
    with SqliteLedger.open(path, "device-1", "boot-3", ["plant"]) as again:
        broken = again.verify_chain(rows + 1)
    return {
        "rows": rows,
        "file_gib": round(size_bytes / (1 << 30), 2),
        "filled_in_s": round(filled_s),
        "rate_per_s": rate,
        "niceness": niceness,
        "load_average_meanwhile": round(os.getloadavg()[0], 2),
        "bare_disk": {"two writes": summary(bare)},
        "alone": {name: summary(values) for name, values in alone.items()},
        "while_purging": {name: summary(values) for name, values in purging.items()},
        "purged_per_s": round(purged_per_s),
        "wal_mib_at_the_end": round(_size(path.with_name("ledger.db-wal")) / (1 << 20), 1),
        "chain_of_new_records_is_intact": broken is None,
    }


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def main() -> int:
    """Measure, print, write benchmarks/results/ledger.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--rate", type=float, default=50.0, help="parts per second")
    parser.add_argument("--seconds", type=float, default=60.0, help="of each of the two measurements")
    parser.add_argument("--niceness", type=int, default=0, help="of the measurement; filling is done at 10")
    parser.add_argument("--folder", type=Path, default=Path("var"), help="on the disk to be measured; 1.4 kB per row")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    need_bytes = args.rows * 1600 + (256 << 20)
    if shutil.disk_usage(args.folder).free < need_bytes:
        parser.error(f"{args.folder} needs {need_bytes >> 20} MiB free; name another --folder or fewer --rows")
    about = {**machine(), "sqlite": sqlite3.sqlite_version, "load_average": os.getloadavg()[0]}
    with tempfile.TemporaryDirectory(dir=args.folder, prefix="ledger-") as folder:
        figures = measure(Path(folder), args.rows, args.rate, args.seconds, args.niceness)
    table = Table(title=f"{args.rows:,} records present, {args.rate:g} parts/s", show_lines=False)
    for heading in ("", "p50 ms", "p95 ms", "p99 ms", "max ms"):
        table.add_column(heading)
    for phase in ("bare_disk", "alone", "while_purging"):
        for name, values in figures[phase].items():  # type: ignore[attr-defined]
            table.add_row(f"{name} {phase.replace('_', ' ')}", *(str(value) for value in values.values()))
    Console().print(table, f"purged {figures['purged_per_s']}/s meanwhile")
    write("ledger", {"machine": about, "ledger": figures})
    p99_ms = [figures[phase]["accept + record"]["p99_ms"] for phase in ("alone", "while_purging")]  # type: ignore[index]
    return 0 if max(p99_ms) < LARGEST_P99_MS else 1


if __name__ == "__main__":
    sys.exit(main())
