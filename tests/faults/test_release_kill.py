"""The station is killed around releases: each part has one verdict by one release, and the ledger knows which when."""

import os
import random
import threading
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from appliance.command_messages import CommandReply
from appliance.errors import DeliveryError
from appliance.stores.ledger import SqliteLedger
from tests.models import tiny_bundle
from tests.plant import DEVICE_ID, START_S, Plant
from tests.releases import BUNDLES, children_of, prove_release, release_file, sha256
from tests.stations import needs_mosquitto, until

KILLS = int(os.environ.get("FAULT_RELEASES", "5"))
LONGEST_WAIT_S = 0.4
"""Loading the tiny release takes about so long: the blow falls before, in and after the change."""

PARTS = 12
"""Around each release."""

pytestmark = [
    pytest.mark.faults,
    pytest.mark.timeout(420),
    needs_mosquitto,
]


class Releasing(Plant):
    """A plant with two releases in its folder, proved before the line begins; revision 1 is configured."""

    def __init__(self, folder: Path, runtime: str = "onnx") -> None:
        super().__init__(folder)
        self.config |= {"releases": "releases", "runtime": {"kind": runtime, "threads": 1}}
        self.files = {1: release_file(folder / "releases", 1), 2: release_file(folder / "releases", 2)}
        (folder / "config.yaml").write_text(yaml.safe_dump(self.config))
        tiny_bundle(folder / "tiny.bundle", revision=1)
        for path in self.files.values():
            prove_release(folder / "config.yaml", path)

    def ask(self, revision: int) -> "Future[CommandReply] | None":
        path = self.files[revision]
        wanted = {"product": "spots", "bundle": str(path), "sha256": sha256(path), "by": "A. Person", "rollback": True}
        with suppress(DeliveryError):  # the consumer has no connection for a moment: then nothing was asked
            return self.consumer.command("release", wanted | {"rollback": revision == 1})
        return None


@pytest.mark.long
def test_a_kill_around_a_release_leaves_each_part_one_verdict_by_a_release_that_the_ledger_names(
    tmp_path: Path,
) -> None:
    rng, clock = random.Random(20263), threading.Event()
    sent = 0
    with Releasing(tmp_path) as plant:
        digests = {revision: sha256(path) for revision, path in plant.files.items()}
        for number in range(KILLS):
            assert plant.consumer.wait_until_online(START_S), plant.log()
            if number == 0:
                assert plant.ask(2).result(60).ok, plant.log()  # type: ignore[union-attr]
                assert plant.ask(1).result(60).ok, plant.log()  # type: ignore[union-attr]
            answer = plant.ask(2)
            wait_s = rng.uniform(0, LONGEST_WAIT_S)
            for each in range(PARTS):
                plant.announce(f"part-{number}-{each}", 30_000, 500)
                clock.wait(wait_s / PARTS)
            sent += PARTS
            plant.kill()
            ((last,),) = plant.query(f"SELECT to_digest FROM {BUNDLES} ORDER BY id DESC LIMIT 1")
            assert last in digests.values()
            if answer is not None and answer.done() and answer.exception() is None:
                assert answer.result().ok, answer.result().error
                assert last == digests[2], "the station answered before the release was on disk"
            plant.start()
            plant.announce(f"after-{number}", 30_000, 200)
            sent += 1
            plant.wait_for_records(sent, 60.0)
            ((now,),) = plant.query(f"SELECT to_digest FROM {BUNDLES} ORDER BY id DESC LIMIT 1")
            assert now == digests[1], "a restart begins with what the configuration names, and notes it"
        plant.wait_for_outcomes(sent, 60.0)
        assert plant.stop() == 0
        rows = plant.query(
            "SELECT seq, part_id, json_extract(record, '$.versions.bundle_digest') FROM inspection ORDER BY seq"
        )
        changes = plant.query(f"SELECT from_digest, to_digest, last_seq FROM {BUNDLES} ORDER BY id")
        plant.start()
    _check(rows, changes, sent, digests)
    with SqliteLedger.open(tmp_path / "ledger.db", DEVICE_ID, "audit", ["quality"]) as ledger:
        assert ledger.verify_chain() is None


def _check(
    rows: list[tuple[Any, ...]], changes: list[tuple[Any, ...]], sent: int, digests: dict[int, str]
) -> None:  # fmt: skip
    assert [seq for seq, _, _ in rows] == list(range(1, sent + 1))
    assert len({part for _, part, _ in rows}) == sent
    assert [each[0] for each in changes] == ["", *(each[1] for each in changes[:-1])], "a release from nowhere"
    for seq, _, digest in rows:
        before = [to for _, to, last_seq in changes if last_seq < seq]
        assert digest in digests.values()
        assert digest in before, f"record {seq} is by a release that was not in force yet"


def test_a_release_under_load_loses_no_part_and_changes_between_two(tmp_path: Path) -> None:
    clock, parts = threading.Event(), 120
    with Releasing(tmp_path) as plant:
        digests = {revision: sha256(path) for revision, path in plant.files.items()}
        answers = []
        for number in range(parts):
            plant.announce(f"part-{number:03d}", 30_000)
            if number in (20, 70):
                answers.append(plant.ask(2 if number == 20 else 1))
            clock.wait(0.02)
        plant.wait_for_records(parts, 60.0)
        plant.wait_for_outcomes(parts, 60.0)
        told = [each.result(60).result for each in answers if each is not None]
        rows = plant.query(
            "SELECT trigger_id, json_extract(record, '$.versions.bundle_digest'), verdict FROM inspection"
            " ORDER BY trigger_id"
        )
    assert [each["changed"] for each in told] == [True, True]
    assert len(rows) == parts
    in_force, expected = digests[1], []
    turns = {each["last_trigger_id"]: each["digest"] for each in told}
    for trigger_id, _, _ in rows:
        expected.append(in_force)
        in_force = turns.get(trigger_id, in_force)
    assert [digest for _, digest, _ in rows] == expected
    assert not [row for row in rows if row[2] == "FAULT"]
    assert all(each["switch_ms"] < 1000 for each in told), told


def test_a_candidate_ends_with_a_killed_station_and_the_next_start_says_so(tmp_path: Path) -> None:
    with Releasing(tmp_path) as plant:
        path = plant.files[2]
        wanted = {"product": "spots", "bundle": str(path), "sha256": sha256(path), "by": "A. Person"}
        started = plant.consumer.command("shadow", wanted).result(60)
        assert started.ok, started.error
        assert plant.process is not None
        (candidate,) = children_of(plant.process.pid)
        for number in range(20):
            plant.announce(f"part-{number}", 30_000)
        plant.wait_for_records(20, 60.0)
        plant.kill()
        until(lambda: not Path(f"/proc/{candidate}").exists(), "the candidate ended with the station")
        plant.start()
        plant.announce("after", 30_000, 200)
        plant.wait_for_records(21, 60.0)
        assert plant.query("SELECT ended_because, problem FROM shadow_run") == [("restart", None)]
        assert plant.consumer.command("status").result(60).result["shadow"] == {"state": "none"}
        assert plant.query("SELECT count(*) FROM shadow WHERE seq > 20") == [(0,)]


def test_a_station_with_openvino_stops_in_order_after_its_former_model_is_gone(tmp_path: Path) -> None:
    pytest.importorskip("openvino", reason="openvino is not installed (extra openvino)")
    with Releasing(tmp_path, "openvino") as plant:
        assert plant.consumer.wait_until_online(START_S), plant.log()
        assert plant.ask(2).result(60).ok, plant.log()  # type: ignore[union-attr]
        plant.announce("judged-by-2", 9000)
        until(lambda: "the former release is out of memory" in plant.log(), "the retirement of the first model")
        assert plant.stop() == 0, plant.log()
