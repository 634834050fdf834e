"""A release at a real station over a real broker, as a person asks for it from a terminal."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from appliance.links.topics import Topics
from tests.models import tiny_bundle
from tests.plant import Plant, write_station
from tests.releases import BUNDLES, prove_release, release_file, sha256, with_releases
from tests.stations import Line as HeardLine
from tests.stations import needs_mosquitto, until

SECONDS = 90.0


def ask(config: Path, bundle: Path, *more: str, by: str = "A. Person") -> tuple[int, str, str]:
    """Type the command; returns exit code, output and complaints."""
    words = ["release", "--config", str(config), "--product", "spots", "--bundle", str(bundle), "--by", by, *more]
    command = [sys.executable, "-m", "appliance", *words]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert "Traceback" not in ended.stderr
    return ended.returncode, ended.stdout, ended.stderr


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[Plant]:
    """A running station with revision 1 in force and a proven revision 2 in its folder of releases."""
    running = Plant(tmp_path)
    running.config |= {"releases": "releases"}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(running.config))
    for revision in (1, 2):
        prove_release(tmp_path / "config.yaml", release_file(tmp_path / "releases", revision))
    with running:
        yield running


@needs_mosquitto
def test_a_person_puts_a_release_in_force_and_goes_back(plant: Plant) -> None:
    config, newer, older = (plant.folder / name for name in
                            ("config.yaml", "releases/tiny-2.bundle", "releases/tiny-1.bundle"))  # fmt: skip
    heard = HeardLine(plant.broker.port, Topics.of(plant.settings()), "listener")
    plant.announce("before", 9000)
    plant.wait_for_outcomes(1)
    code, told, complaint = ask(config, newer)
    assert code == 0, complaint
    release = f"revision 2 ({sha256(newer)[:12]})"
    assert told.startswith(f"spots is judged by {release} for every part after trigger t-before, in place of ")
    assert ask(config, newer)[:2] == (0, f"spots was judged by {release} already\n")
    plant.announce("after", 9000)
    plant.wait_for_records(2)
    until(lambda: [each["bundle"]["revision"] for each in heard.documents(heard.topics.meta)][-1:] == [2], "meta anew")
    code, _, complaint = ask(config, older)
    assert code == 1
    assert "revision 1 of tiny is older than 2, which is in force; only a rollback goes back" in complaint
    code, told, complaint = ask(config, older, "--rollback")
    assert (code, told[:30]) == (0, "spots is judged by revision 1 "), complaint
    said = {record.message.part_id: record.message.versions for record in plant.records}
    assert [said[part]["bundle_revision"] for part in ("before", "after")] == [1, 2]
    assert plant.query(f"SELECT who, from_revision, to_revision, is_rollback FROM {BUNDLES} ORDER BY id") == [
        ("configuration", 0, 1, 0), ("A. Person", 1, 2, 0), ("A. Person", 2, 1, 1)
    ]  # fmt: skip
    heard.close()


@needs_mosquitto
def test_the_agent_notes_steps_of_updates_and_reads_what_judges(plant: Plant) -> None:
    step = {"kind": "model", "name": "tiny", "seq": 2, "sha256": "a" * 64, "state": "VERIFY", "by": "agent"}
    noted = plant.consumer.command("update-event", step | {"reason": "as assigned"}).result(SECONDS)
    refused = plant.consumer.command("update-event", step | {"kind": "coffee"}).result(SECONDS)
    told = plant.consumer.command("status").result(SECONDS).result
    assert noted.ok
    assert not refused.ok
    assert "update-event: `kind`: expected 'model', 'recipe', 'app' or 'os', got 'coffee'" in str(refused.error)
    assert told["bundles"]["spots"]["digest"] == sha256(plant.folder / "tiny.bundle")
    assert told["shadow"] == {"state": "none"}
    assert plant.query("SELECT who, kind, name, release_seq, state, reason FROM update_event") == [
        ("agent", "model", "tiny", 2, "VERIFY", "as assigned")
    ]


@pytest.mark.parametrize(
    ("bundle", "by", "code", "words"),
    [
        ("tiny.bundle", "A. Person", 78, "a station without `mqtt` hears no command; add it, or name the bundle"),
        ("tiny.bundle", " ", 78, "--by is ' '; say who wants it"),
    ],
)
def test_what_the_command_cannot_do_is_said_with_a_remedy(
    bundle: str, by: str, code: int, words: str, tmp_path: Path
) -> None:
    tiny_bundle(tmp_path / "tiny.bundle")
    config = write_station(tmp_path)
    with_releases(config)
    assert ask(config, tmp_path / bundle, by=by)[0] == code
    assert words in ask(config, tmp_path / bundle, by=by)[2]


@needs_mosquitto
def test_a_file_that_is_not_there_is_said(plant: Plant) -> None:
    code, _, complaint = ask(plant.folder / "config.yaml", plant.folder / "missing.bundle")
    assert code == 65
    assert "missing.bundle cannot be read: No such file or directory" in complaint
