"""A candidate beside the line: what it says of the same parts, and that nothing that it does touches the line."""

import os
import signal
import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import pytest
import yaml

from appliance.bundle.manifest import DefectClass
from appliance.clock import SystemClock
from appliance.ports import TriggerRequest
from appliance.shadow.beside import Candidate, Shadow
from appliance.shadow.process import CandidateProcess
from appliance.shadow.rest import Rest
from appliance.stores.update_queries import ShadowPair, ShadowRun, UpdateReader
from appliance.wiring import Appliance, build
from tests.ledger_inspections import make_inspection, make_trigger, open_ledger
from tests.line import eventually
from tests.models import spot_picture, tiny_bundle
from tests.plant import write_station
from tests.products import with_products, write_products
from tests.releases import ask, children_of, prove_release, release, release_file, sha256, shadow, with_releases
from tests.shadow_models import greedy_model, nan_model, trap_picture
from tests.slow_model import slow_bundle, slow_picture

QUICK_ENOUGH_S = 5.0
"""A deadline of the line, of a computer on which much else runs."""


def limit(value: float) -> dict[str, Any]:
    return {"classes": (DefectClass(name="spot", severity="major", limit=value),)}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A station of one product whose release accepts what it sees: good pictures and spots of 0.78 in turn."""
    path = write_station(tmp_path)
    tiny_bundle(tmp_path / "tiny.bundle", revision=5, **limit(0.95))
    cv2.imwrite(str(tmp_path / "pictures" / "1.png"), spot_picture(64, 64, [(1, 1, 200)]))
    (tmp_path / "releases").mkdir()
    images = {"directory": "images", "accept_one_in": 0, "min_free_mb": 0}
    with_releases(path, images=images)
    return path


def candidate(config: Path, **changes: Any) -> Path:
    """Write and prove the next release, which rejects spots unless it is told otherwise."""
    path = release_file(config.parent / "releases", 6, **{**limit(0.5), **changes})
    prove_release(config, path)
    return path


def show(config: Path, *pictures: Any) -> None:
    """Let the camera show these pictures in turn."""
    for old in (config.parent / "pictures").iterdir():
        old.unlink()
    for number, pixels in enumerate(pictures):
        cv2.imwrite(str(config.parent / "pictures" / f"{number}.png"), pixels)


def part(appliance: Appliance, name: str) -> float:
    """Send a part; returns the seconds until its verdict is on record."""
    begun = time.monotonic()
    appliance.station.on_trigger(TriggerRequest(f"t-{name}", name))
    assert eventually(lambda: appliance.ledger.find(f"t-{name}") is not None)
    return time.monotonic() - begun


def status(appliance: Appliance) -> dict[str, Any]:
    told: dict[str, Any] = ask(appliance, "status")["shadow"]
    return told


def part_with_shadow(appliance: Appliance, name: str) -> None:
    """Send a part that the candidate is free to judge, and wait until it has."""
    before = status(appliance)["judged"]
    part(appliance, name)
    assert eventually(lambda: status(appliance)["judged"] == before + 1), status(appliance)


def children() -> list[int]:
    """Return the process ids of this process's candidates."""
    return children_of(os.getpid())


def pairs(config: Path, digest: str) -> list[ShadowPair]:
    with closing(UpdateReader(config.parent / "ledger.db")) as reader:
        return list(reader.shadow_pairs(digest, 0, 100))


def runs(config: Path, digest: str) -> list[ShadowRun]:
    with closing(UpdateReader(config.parent / "ledger.db")) as reader:
        return list(reader.shadow_runs(digest))


def faults(config: Path) -> int:
    """How many parts had no verdict in time, or no inspection."""
    with closing(sqlite3.connect(f"file:{config.parent / 'ledger.db'}?mode=ro", uri=True)) as rows:
        return int(rows.execute("SELECT count(*) FROM inspection WHERE verdict = 'FAULT'").fetchone()[0])


def pictures(config: Path) -> list[tuple[str, str]]:
    """Part and view of each picture that the ledger knows."""
    with closing(sqlite3.connect(f"file:{config.parent / 'ledger.db'}?mode=ro", uri=True)) as rows:
        return rows.execute(
            "SELECT part_id, view FROM image JOIN inspection USING (inspection_id) ORDER BY part_id"
        ).fetchall()


@contextmanager
def shadowed(config: Path, path: Path) -> Iterator[Appliance]:
    """A running station with that candidate beside it."""
    with build(config) as appliance:
        answer = shadow(appliance, "spots", path)
        assert answer["ok"], answer
        yield appliance


def test_a_candidate_judges_the_same_pictures_and_its_judgements_stand_beside_the_verdicts(config: Path) -> None:
    path = candidate(config)
    with shadowed(config, path) as appliance:
        for number in range(4):
            part_with_shadow(appliance, f"part-{number}")
        told = status(appliance)
        ended = ask(appliance, "shadow", product="spots", stop=True)
    found = pairs(config, sha256(path))
    assert [each.decided.seq for each in found] == [1, 2, 3, 4]
    assert [each.decided.verdict for each in found] == ["ACCEPT"] * 4
    assert [each.verdict for each in found] == ["ACCEPT", "REJECT"] * 2
    assert [each.decided.top_score for each in found] == [each.top_score for each in found]
    assert found[1].top_score == pytest.approx(200 / 255, abs=1e-3)
    assert all(each.latency_us > 0 for each in found)
    assert (told["state"], told["judged"], told["skipped"], told["differing"]) == ("running", 4, 0, 2)
    assert (ended["state"], ended["changed"], ended["ended"]) == ("ended", True, "asked to by A. Person")
    (run,) = runs(config, sha256(path))
    assert (run.judged, run.differing, run.problem) == (4, 2, "")
    assert (run.candidate_revision, run.ended_because, run.who) == (6, "asked to by A. Person", "A. Person")


def test_pictures_of_parts_on_which_they_differ_are_kept(config: Path) -> None:
    path = candidate(config)
    with shadowed(config, path) as appliance:
        for number in range(4):
            part_with_shadow(appliance, f"part-{number}")
        assert eventually(lambda: len(pictures(config)) == 2)
        assert status(appliance)["pictures_lost"] == 0
    assert pictures(config) == [("part-1", "top"), ("part-3", "top")]


def test_the_candidate_goes_last_and_ends_with_the_shadow(config: Path) -> None:
    with shadowed(config, candidate(config)) as appliance:
        (process,) = children()
        policy, niceness = os.sched_getscheduler(process), os.getpriority(os.PRIO_PROCESS, process)
        first_to_go = Path(f"/proc/{process}/oom_score_adj").read_text().strip()
        ask(appliance, "shadow", product="spots", stop=True)
        assert children() == []
        part(appliance, "after")
    assert (policy, niceness, first_to_go) == (os.SCHED_IDLE, 19, "1000")


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL])
def test_a_candidate_that_crashes_is_told_and_the_line_goes_on(config: Path, number: signal.Signals) -> None:
    path = candidate(config)
    with shadowed(config, path) as appliance:
        part_with_shadow(appliance, "before")
        os.kill(children()[0], number)
        assert eventually(lambda: status(appliance)["state"] == "ended")
        assert part(appliance, "after") < QUICK_ENOUGH_S
        told = status(appliance)
    assert told["problem"] == f"its process crashed ({number.name})"
    assert [(each.problem, each.ended_because, each.judged) for each in runs(config, sha256(path))] == [
        (told["problem"], "problem", 1)
    ]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_what_stops_the_station_and_all_of_its_processes_is_no_crash_of_the_candidate(
    config: Path, number: signal.Signals
) -> None:
    path = candidate(config)
    with shadowed(config, path) as appliance:
        os.kill(children()[0], number)
        part_with_shadow(appliance, "after")
    assert children() == []
    (run,) = runs(config, sha256(path))
    assert (run.ended_because, run.problem, run.judged) == ("stop of the station", "", 1)


def test_a_candidate_whose_code_crashes_is_told_too(tmp_path: Path) -> None:
    trigger = make_trigger("t-1")
    inspection = make_inspection(trigger)
    wanted = Candidate("board", "f" * 64, "me", inspection.versions, frozenset({"top"}), 10**6, {}, 10**9, 30.0)
    with open_ledger(tmp_path / "ledger.db") as ledger:
        ledger.accept(trigger)
        record = ledger.record(inspection)
        segfaults = partial(CandidateProcess, module="tests.segfaulting_candidate")
        beside = Shadow(wanted, ledger.updates, lambda *_: 0, SystemClock(), segfaults)
        beside.start()
        assert beside.ready.result(60) == 3
        beside.offer(inspection, record)
        beside.join(60)
        told = beside.status()
    assert (told["state"], told["problem"], told["judged"]) == ("ended", "its process crashed (SIGSEGV)", 0)


def test_a_candidate_that_answers_no_number_is_told_and_the_line_goes_on(config: Path) -> None:
    path = candidate(config, model_onnx=nan_model())
    show(config, spot_picture(64, 64), trap_picture())
    with shadowed(config, path) as appliance:
        part_with_shadow(appliance, "good")
        assert part(appliance, "trap") < QUICK_ENOUGH_S
        assert eventually(lambda: status(appliance)["state"] == "ended")
        told = status(appliance)
        part(appliance, "after")
    assert "NaN" in told["problem"]
    assert runs(config, sha256(path))[0].problem == told["problem"]
    assert [each.decided.seq for each in pairs(config, sha256(path))] == [1]


def endless(config: Path) -> Path:
    """Write and prove a candidate that takes minutes for what the camera shows."""
    path = slow_bundle(config.parent / "releases" / "endless.bundle", lasts_s=300.0, revision=6)
    prove_release(config, path)
    show(config, slow_picture())
    return path


def state_of(process: int) -> str:
    """Return what the kernel calls a process's state: T is stopped."""
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]


def test_a_candidate_rests_while_the_line_inspects_and_goes_on_between_two_parts(config: Path) -> None:
    path = candidate(config)
    slow_bundle(config.parent / "tiny.bundle", lasts_s=1.0, revision=5, **limit(0.95))
    show(config, slow_picture())
    with shadowed(config, path) as appliance:
        (process,) = children()
        assert eventually(lambda: state_of(process) == "S")
        appliance.station.on_trigger(TriggerRequest("t-slow", "slow"))
        assert eventually(lambda: state_of(process) == "T")
        assert appliance.ledger.find("t-slow") is None
        assert eventually(lambda: status(appliance)["judged"] == 1)
        assert state_of(process) != "T"
    assert [each.verdict for each in pairs(config, sha256(path))] == ["ACCEPT"]


def test_the_time_in_which_a_candidate_rests_is_not_taken_for_a_hang() -> None:
    rest, never = Rest(), threading.Event()
    with ThreadPoolExecutor(1) as asking, CandidateProcess(100, 10**9, "tests.segfaulting_candidate") as process:
        with rest.of(process.number):
            with rest:
                process.ask({})
                answer = asking.submit(process.answer, 0.5, never.is_set, lambda: rest.rested_s)
                with rest:
                    never.wait(1.0)
                seen = (answer.done(), state_of(process.number))
            said = answer.result(60)
    assert seen == (False, "T")
    assert said == {"ready": {"revision": 3}}


def test_no_verdict_waits_for_a_candidate_that_does_not_answer(config: Path) -> None:
    with_releases(config, runtime={"kind": "onnx", "threads": 1, "instances": 1})  # nobody steps in for who waits
    path, other = endless(config), release_file(config.parent / "releases", 7)
    prove_release(config, other)
    with shadowed(config, path) as appliance:
        took = [part(appliance, f"part-{number}") for number in range(10)]
        told = status(appliance)
        begun = time.monotonic()
        release(appliance, "spots", other)
        assert appliance.versions.bundle_revision == 7
        assert eventually(lambda: children() == [])
        took += [part(appliance, "after"), time.monotonic() - begun - QUICK_ENOUGH_S]
    assert max(took) < QUICK_ENOUGH_S
    assert faults(config) == 0
    assert (told["state"], told["judged"], told["skipped"]) == ("running", 0, 9)


def test_a_candidate_that_hangs_is_ended_and_told(config: Path) -> None:
    path = endless(config)
    with_releases(config, shadow={"hang_s": 2})
    with shadowed(config, path) as appliance:
        took = [part(appliance, f"part-{number}") for number in range(10)]
        assert eventually(lambda: status(appliance)["state"] == "ended")
        told = status(appliance)
        assert children() == []
    assert max(took) < QUICK_ENOUGH_S
    assert faults(config) == 0
    assert told["problem"] == "it said nothing for 2 s and was ended"
    assert told["judged"] == 0
    assert told["skipped"] >= 1


def test_a_candidate_that_needs_too_much_memory_is_ended(config: Path) -> None:
    path = candidate(config, model_onnx=greedy_model(1500))
    with_releases(config, shadow={"memory_mb": 900})
    show(config, spot_picture(64, 64), trap_picture())
    with shadowed(config, path) as appliance:
        part_with_shadow(appliance, "good")
        assert part(appliance, "trap") < QUICK_ENOUGH_S
        assert eventually(lambda: status(appliance)["state"] == "ended")
        told = status(appliance)
        part(appliance, "after")
    assert told["problem"] == "it needs more memory than shadow.memory_mb allows"
    assert runs(config, sha256(path))[0].problem == told["problem"]


def test_a_candidate_that_cannot_even_load_in_its_memory_is_refused(config: Path) -> None:
    path = candidate(config)
    with_releases(config, shadow={"memory_mb": 100})
    with build(config) as appliance:
        answer = shadow(appliance, "spots", path)
        told = status(appliance)
        part(appliance, "part")
    assert answer == {"ok": False, "error": told["problem"]}
    assert "it needs more memory than shadow.memory_mb allows" in told["problem"]
    assert told["state"] == "ended"


def test_parts_that_come_while_the_candidate_is_busy_are_skipped_and_counted(config: Path) -> None:
    path = slow_bundle(config.parent / "releases" / "slow.bundle", lasts_s=1.0, revision=6)
    prove_release(config, path)
    show(config, slow_picture())
    with shadowed(config, path) as appliance:
        took = [part(appliance, f"part-{number}") for number in range(8)]
        assert eventually(lambda: status(appliance)["judged"] >= 1)
        told = status(appliance)
    assert max(took) < QUICK_ENOUGH_S
    assert faults(config) == 0
    assert told["skipped"] >= 1
    assert told["judged"] + told["skipped"] in (7, 8)  # one may be on its way


def test_a_shadow_ends_with_the_release_that_it_stands_beside(config: Path) -> None:
    path = candidate(config)
    with shadowed(config, path) as appliance:
        part_with_shadow(appliance, "before")
        assert release(appliance, "spots", path)["changed"]
        assert status(appliance)["ended"] == "release"
        part(appliance, "after")
        again = shadow(appliance, "spots", path)
    assert "this release judges spots already" in again["error"]
    assert [each.decided.seq for each in pairs(config, sha256(path))] == [1]
    assert runs(config, sha256(path))[0].ended_because == "release"


def test_a_shadow_ends_with_a_changeover_and_a_product_that_is_not_in_force_has_none(tmp_path: Path) -> None:
    config = write_station(tmp_path)
    config.write_text(yaml.safe_dump(with_products(yaml.safe_load(config.read_text()), write_products(tmp_path))))
    with_releases(config)
    path = release_file(tmp_path / "releases", 2)
    prove_release(config, path, "plain")
    with build(config) as appliance:
        refused = shadow(appliance, "tolerant", path)
        assert shadow(appliance, "plain", path)["ok"]
        ask(appliance, "changeover", product="tolerant")
        told = status(appliance)
    assert refused["error"] == "tolerant is not in force, and a shadow sees the parts that are judged"
    assert (told["state"], told["ended"], told["problem"]) == ("ended", "changeover", "")


def test_asking_again_for_the_same_candidate_changes_nothing_and_for_another_one_is_refused(config: Path) -> None:
    path, other = candidate(config), release_file(config.parent / "releases", 7)
    with shadowed(config, path) as appliance:
        again, refused = shadow(appliance, "spots", path), shadow(appliance, "spots", other)
        stopped = [ask(appliance, "shadow", product="spots", stop=True)["changed"] for _ in range(2)]
    assert (again["ok"], again["changed"], again["state"]) == (True, False, "running")
    assert "another candidate judges beside the line already; end it first" in refused["error"]
    assert stopped == [True, False]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sha256": "0" * 64}, "is not the file that was meant"),
        ({"bundle": "../tiny.bundle"}, "does not lie in"),
        ({"product": "nothing"}, "there is no product 'nothing'"),
        ({"bundle": None}, "a shadow needs `bundle` and `sha256`"),
        ({"by": ""}, "shadow: `by`: "),
    ],
)
def test_a_shadow_that_cannot_be_is_refused_in_words(changes: dict[str, Any], words: str, config: Path) -> None:
    path = candidate(config)
    good = {"product": "spots", "bundle": str(path), "sha256": sha256(path)}
    with build(config) as appliance:
        answer = ask(appliance, "shadow", **good | changes)
        part(appliance, "part")
    assert not answer["ok"]
    assert words in answer["error"]


def test_a_candidate_without_a_certificate_is_refused_and_a_recipe_edited_meanwhile_too(config: Path) -> None:
    unproved = release_file(config.parent / "releases", 7)
    with build(config) as appliance:
        no_proof = shadow(appliance, "spots", unproved)
        recipe = config.parent / "recipe.yaml"
        recipe.write_text(yaml.safe_dump(yaml.safe_load(recipe.read_text()) | {"version": 2}))
        edited = shadow(appliance, "spots", unproved)
    assert "tiny revision 7 has no valid certificate of this device" in no_proof["error"]
    assert "the recipe was edited since the station started with it" in edited["error"]


def test_a_shadow_does_not_survive_the_process_and_the_ledger_says_so(config: Path) -> None:
    with build(config) as appliance:
        appliance.ledger.updates.begin_shadow(appliance.clock.utc(), "A. Person", "spots", "f" * 64, 9)
    with build(config) as again:
        assert status(again) == {"state": "none"}
    (run,) = runs(config, "f" * 64)
    assert run.ended_because == "restart"
    assert run.ended_at is not None


def test_a_station_that_stops_ends_its_shadow(config: Path) -> None:
    path = candidate(config)
    with shadowed(config, path) as appliance:
        part_with_shadow(appliance, "part")
    assert children() == []
    (run,) = runs(config, sha256(path))
    assert (run.ended_because, run.judged) == ("stop of the station", 1)
    assert len(pairs(config, sha256(path))) == 1
