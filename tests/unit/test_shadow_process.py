"""A candidate's process: it goes last, rests while the line inspects, and nothing that it does touches the line."""

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from appliance.clock import SystemClock
from appliance.ports import TriggerRequest
from appliance.shadow.beside import Candidate, Shadow
from appliance.shadow.process import CandidateProcess
from appliance.shadow.rest import Rest
from appliance.wiring import build
from tests.ledger_inspections import make_inspection, make_trigger, open_ledger
from tests.line import eventually
from tests.models import spot_picture
from tests.releases import ask, prove_release, release, release_file, sha256, shadow, with_releases
from tests.shadow_models import greedy_model, trap_picture
from tests.shadows import (
    QUICK_ENOUGH_S,
    candidate,
    children,
    endless,
    faults,
    limit,
    pairs,
    part,
    part_with_shadow,
    runs,
    shadow_station,
    shadowed,
    show,
    state_of,
    status,
)
from tests.slow_model import slow_bundle, slow_picture


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return shadow_station(tmp_path)


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
    with (
        ThreadPoolExecutor(1) as asking,
        CandidateProcess(100, 10**9, "tests.segfaulting_candidate") as process,
        rest.of(process.number),
    ):
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
        assert eventually(lambda: children() == [])
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


def test_a_candidate_for_which_the_system_has_no_room_leaves_nothing_open() -> None:
    before = sorted(Path("/proc/self/fd").iterdir())
    with pytest.raises(OSError, match="Argument list too long"):
        CandidateProcess(10**6, 10**9, "a" * 10**7)
    assert sorted(Path("/proc/self/fd").iterdir()) == before


def test_of_two_candidates_the_next_one_rests_also_when_the_last_one_has_ended() -> None:
    rest, child = Rest(), "tests.segfaulting_candidate"
    with CandidateProcess(100, 10**9, child) as process, ExitStack() as last:
        last.enter_context(rest.of(last.enter_context(CandidateProcess(100, 10**9, child)).number))
        with rest.of(process.number):
            last.close()
            with rest:
                assert eventually(lambda: state_of(process.number) == "T")
            assert eventually(lambda: state_of(process.number) != "T")


def test_a_shadow_whose_ledger_was_closed_before_it_ended_does_not_take_the_process_along(tmp_path: Path) -> None:
    inspection = make_inspection(make_trigger("t-1"))
    wanted = Candidate("board", "f" * 64, "me", inspection.versions, frozenset({"top"}), 10**6, {}, 10**9, 30.0)
    with open_ledger(tmp_path / "ledger.db") as ledger:
        loads = partial(CandidateProcess, module="tests.segfaulting_candidate")
        beside = Shadow(wanted, ledger.updates, lambda *_: 0, SystemClock(), loads)
        beside.start()
        beside.ready.result(60)
    beside.end("stop of the station")
    beside.join(60)
    assert "the ledger is closed" in beside.status()["problem"]
    assert children() == []
