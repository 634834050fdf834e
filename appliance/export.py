"""appliance export: records and pictures out of a station's ledger, as files that can be verified, while it runs."""

import argparse
import hashlib
import json
import secrets
import shutil
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import IO

from rich.console import Console
from rich.progress import Progress

from appliance.annotations.feedback import (
    EXPORT,
    PICTURE_FOLDER,
    PICTURES,
    RECORDS,
    Export,
    ExportedPicture,
    line_of,
)
from appliance.arguments import names
from appliance.config import load_config
from appliance.errors import ConfigError, StorageError
from appliance.events import ReleaseChange, UpdateEvent, Verdict, iso
from appliance.messages import RecordMessage
from appliance.stores.queries import LedgerReader, StoredPicture
from appliance.stores.update_queries import UpdateReader

BATCH = 200
"""Records of one read, so that no snapshot is held for long and memory does not grow."""

UPDATES = "updates.jsonl"
MOST_CHANGES = 100_000


@dataclass(slots=True)
class _Taken:
    """What was written so far; gone: pictures that made room meanwhile, damaged: those that are not as recorded."""

    prev_hash: str = ""
    last_hash: str = ""
    device_id: str = ""
    pictures: int = 0
    updates: int = 0
    gone: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--config", type=Path, required=True, help="the station's configuration (YAML)")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="a new folder")
    parser.add_argument(
        "--since", type=_moment, metavar="TIME", help="first record, as in 2026-11-01 or 2026-11-01T06:00 (UTC)"
    )
    parser.add_argument("--until", type=_moment, metavar="TIME", help="no record from then on (UTC)")
    parser.add_argument(
        "--verdicts",
        type=_verdicts,
        default=tuple(verdict.value for verdict in Verdict),
        metavar="A,B",
        help="pictures of parts with these verdicts (default: all); records are always without gaps",
    )


def execute(arguments: argparse.Namespace) -> int:
    """Write records and pictures into a new folder; 0."""
    config, _ = load_config(arguments.config)
    with closing(UpdateReader(config.ledger.path)) as ledger:
        span = ledger.span(arguments.since, arguments.until)
        if span is None:
            raise ConfigError(f"{config.ledger.path}: has no record of that time; change --since or --until")
        with _new_folder(arguments.out) as folder:
            taken = _write(ledger, span, folder, config.images.directory, arguments.verdicts)
            taken.updates = _write_updates(ledger, folder, arguments.since, arguments.until)
    console = Console(highlight=False, markup=False, soft_wrap=True)
    updates = f", {taken.updates} steps of updates" if taken.updates else ""
    console.print(f"{arguments.out}: records {span[0]} to {span[1]}, {taken.pictures} pictures{updates}")
    for lost, words in ((taken.gone, "made room and are gone"), (taken.damaged, "are not as recorded; check the disk")):
        if lost:
            sys.stderr.write(f"appliance: {len(lost)} pictures {words}; the first is {lost[0]}\n")
    return 0


def _write(
    ledger: LedgerReader, span: tuple[int, int], folder: Path, pictures: Path, verdicts: tuple[str, ...]
) -> _Taken:
    taken = _Taken()
    with (
        (folder / RECORDS).open("wb") as records,
        (folder / PICTURES).open("wb") as index,
        Progress(console=Console(stderr=True), transient=True) as bar,
    ):
        task = bar.add_task("exporting", total=span[1] - span[0] + 1)
        for first in range(span[0], span[1] + 1, BATCH):
            last = min(first + BATCH - 1, span[1])
            wanted = _write_records(ledger, first, last, records, verdicts, taken)
            for picture in ledger.pictures(first, last):
                if picture.inspection_id in wanted:
                    _take(picture, pictures, folder, index, taken)
            bar.advance(task, last - first + 1)
    document = Export(
        device_id=taken.device_id,
        from_seq=span[0],
        to_seq=span[1],
        prev_hash=taken.prev_hash,
        last_hash=taken.last_hash,
        pictures=taken.pictures,
    )
    (folder / EXPORT).write_bytes(line_of(document))
    return taken


def _write_updates(ledger: UpdateReader, folder: Path, since: datetime | None, until: datetime | None) -> int:
    """Write what updates did and which releases came in force, by time; no file if nothing did."""
    changes = [
        each
        for each in ledger.release_changes(limit=MOST_CHANGES)
        if (since is None or each.at >= since) and (until is None or each.at < until)
    ]
    lines: list[tuple[str, ReleaseChange | UpdateEvent]] = [("vi.release-change/2", each) for each in changes]
    lines += [("vi.update-event/1", each) for each in ledger.update_events(since, until)]
    if lines:
        with (folder / UPDATES).open("wb") as file:
            for schema, each in sorted(lines, key=lambda line: line[1].at):
                document = {"schema": schema, **asdict(each), "at": iso(each.at)}
                file.write(json.dumps(document).encode() + b"\n")
    return len(lines)


def _write_records(
    ledger: LedgerReader, first: int, last: int, file: IO[bytes], verdicts: tuple[str, ...], taken: _Taken
) -> set[str]:
    """Write records as they were sent; returns the inspections whose pictures are wanted."""
    found = ledger.replay(first, last, BATCH)
    if [record.seq for record in found] != list(range(first, last + 1)):
        raise StorageError(f"records {first} to {last} were purged meanwhile; repeat the command with a later --since")
    wanted = set()
    for record in found:
        message = RecordMessage.model_validate_json(record.payload)
        taken.prev_hash = taken.prev_hash or message.prev_hash
        taken.device_id, taken.last_hash = message.device_id, record.record_hash
        file.write(record.payload.encode() + b"\n")
        if message.verdict in verdicts:
            wanted.add(message.inspection_id)
    return wanted


def _take(picture: StoredPicture, source: Path, folder: Path, index: IO[bytes], taken: _Taken) -> None:
    try:
        content = (source / picture.path).read_bytes()
    except FileNotFoundError:
        taken.gone.append(picture.path)
        return
    except OSError as error:
        raise StorageError(
            f"{source / picture.path}: cannot be read ({error.strerror}); check the disk and this user's rights there"
        ) from error
    if hashlib.sha256(content).hexdigest() != picture.sha256:
        taken.damaged.append(picture.path)
        return
    target = folder / PICTURE_FOLDER / picture.path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)
    entry = ExportedPicture(
        inspection_id=picture.inspection_id, view=picture.view, path=picture.path, sha256=picture.sha256
    )
    index.write(line_of(entry))
    taken.pictures += 1


@contextmanager
def _new_folder(path: Path) -> Iterator[Path]:
    """Have a folder there whole or not at all; killed, it leaves a hidden draft beside it.

    Nothing is forced to the disk, which the line needs: every reader holds the files against their digests anyway.
    """
    if path.exists():
        raise ConfigError(f"{path}: is there already and is kept; name another folder")
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        draft.mkdir(parents=True)
        yield draft
        draft.rename(path)
    except OSError as error:
        raise StorageError(
            f"{path}: cannot be written: {error}; check space and rights, or name another folder"
        ) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no time; write it as 2026-11-01 or 2026-11-01T06:00") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)


def _verdicts(text: str) -> tuple[str, ...]:
    found = names(text)
    known = [verdict.value for verdict in Verdict]
    if unknown := [name for name in found if name not in known]:
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: no such verdict; there are {', '.join(known)}")
    return found
