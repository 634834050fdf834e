"""The gates' judge as the agent feeds it: what the line's ledger says goes to the right respect."""

import re
from dataclasses import asdict
from pathlib import Path

import pytest

from appliance.bundle.gate_settings import Gates, GateSettings
from appliance.errors import ConfigError
from appliance.events import iso, moment_of
from appliance.update.line import Gate, Grounds, Judgement, SeenPart
from appliance.update.statistical import make_judge

BEGAN_S = 1_800_000_000.0
GATES = Gates(shadow_parts=500, canary_parts=200, watch_parts=300, watch_h=0.05, most_imbalance=0.08)
GROUNDS = Grounds(budget_ms=50.0, diverted_before=125, parts_before=2500)
NUMBERS = range(1, 60_000)


def part(number: int, **changes: object) -> SeenPart:
    """One of twenty parts is rejected; the release beside says the same."""
    verdict, reason, score = ("ACCEPT", "complete", None) if number % 20 else ("REJECT", "defect", 0.8)
    moment = moment_of("2027-01-15T08:00:00.000Z").timestamp() + number
    values = {
        "seq": number, "verdict": verdict, "reason": reason, "score": score, "latency_us": 9000, "at": iso_of(moment),
        "challenger_verdict": verdict, "challenger_reason": reason, "challenger_score": score,
    }  # fmt: skip
    return SeenPart(**(values | changes))  # type: ignore[arg-type]


def iso_of(moment_s: float) -> str:
    return iso(moment_of("1970-01-01T00:00:00Z").fromtimestamp(moment_s, moment_of("1970-01-01T00:00:00Z").tzinfo))


def judged(gate: Gate, **changes: object) -> Judgement:
    """Let parts pass, every third with a change, until there is an outcome; each hundred parts the agent restarts."""
    judge = make_judge(gate, GATES, GROUNDS)
    for number in NUMBERS:
        judge.take(part(number, **(changes if number % 3 == 0 else {})))
        if number % 100 == 0:
            if (found := judge.judge(0.0, BEGAN_S + number)).says != "CONTINUE":
                return found
            judge = make_judge(gate, GATES, GROUNDS, judge.dump())
    return judge.judge(0.0, BEGAN_S)


@pytest.mark.parametrize(("gate", "least"), [("shadow", 500), ("canary", 200), ("watch", 300)])
def test_a_release_that_says_the_same_passes(gate: Gate, least: int) -> None:
    found = judged(gate)
    assert found.says == "PASS", found
    assert found.parts >= least
    assert found.p99_ms == 9.0
    assert "all is shown" in found.reason


@pytest.mark.parametrize(
    ("gate", "changes", "words"),
    [
        ("shadow", {"challenger_verdict": "REJECT", "challenger_reason": "defect"}, "the candidate diverts"),
        ("shadow", {"challenger_verdict": "FAULT", "challenger_reason": "runtime"}, "without an answer"),
        ("shadow", {"latency_us": 51_000}, "over 50 ms"),
        ("canary", {"verdict": "REJECT", "reason": "defect"}, "diverted"),
        ("canary", {"verdict": "FAULT", "reason": "runtime"}, "no answer"),
        ("watch", {"is_late": True}, "over their deadline"),
        ("watch", {"latency_us": 51_000}, "over 50 ms"),
    ],
)
def test_what_is_worse_fails_in_its_own_words(gate: Gate, changes: dict[str, object], words: str) -> None:
    found = judged(gate, **changes)
    assert (found.says, words in found.reason) == ("FAIL", True), found


def test_known_parts_are_judged_as_known_ones_and_leave_the_lines_rejects_alone() -> None:
    gates, found = GATES.model_copy(update={"challenge_parts": 100}), {"verdict": "REJECT", "reason": "defect"}
    for changes, says, words in (
        (found, "PASS", "all is shown"),
        ({"verdict": "ACCEPT", "reason": "complete"}, "FAIL", "known to be bad was accepted"),
        ({"verdict": "FAULT", "reason": "camera", "latency_us": None}, "CONTINUE", "no bad challenge part came"),
    ):
        judge = make_judge("canary", gates, GROUNDS)
        for number in range(1, 2000):
            judge.take(part(number, **(changes | {"challenge": "bad"} if number % 3 == 0 else {})))
        result = judge.judge(0.0, BEGAN_S + 2000)
        assert (result.says, words in result.reason) == (says, True), result


@pytest.mark.parametrize(
    ("known_as", "says_beside", "parts", "words"),
    [
        ("bad", {"challenger_verdict": "ACCEPT", "challenger_reason": "complete"}, 1, "known to be bad"),
        ("good", {"challenger_verdict": "REJECT", "challenger_reason": "defect"}, 2, "known to be good"),
    ],
)
def test_a_known_part_that_is_judged_wrongly_beside_the_line_needs_no_statistics(
    known_as: str, says_beside: dict[str, object], parts: int, words: str
) -> None:
    judge = make_judge("shadow", GATES, GROUNDS)
    for number in range(1, parts + 1):
        assert judge.judge(0.0, BEGAN_S).says == "CONTINUE"
        judge = make_judge("shadow", GATES, GROUNDS, judge.dump())
        judge.take(part(number, challenge=known_as, **says_beside))
    found = judge.judge(0.0, BEGAN_S)
    assert (found.says, found.parts, words in found.reason) == ("FAIL", parts, True), found


def test_a_gate_whose_known_parts_never_came_says_that_it_lacks_them() -> None:
    gates = GATES.model_copy(update={"challenge_parts": 1, "patience": 5.0})
    judge = make_judge("canary", gates, GROUNDS)
    for number in range(1, 1001):
        judge.take(part(number))
    result = judge.judge(0.0, BEGAN_S + 1000)
    assert (result.says, result.parts) == ("LACKING", 1000)
    assert result.reason.startswith("no bad challenge part came, 1 must be found")


def test_nothing_passes_in_silence() -> None:
    for gate in ("shadow", "canary", "watch"):
        assert make_judge(gate, GATES, GROUNDS).judge(99.0, BEGAN_S).says == "CONTINUE"  # type: ignore[arg-type]


def test_an_assignment_may_set_each_of_the_gates_keys() -> None:
    names = set(GateSettings.__dataclass_fields__)
    assert set(Gates.model_fields) == names
    wrong = GATES.model_copy(update={"alpha": 2.0})
    with pytest.raises(ConfigError, match=r"gates: alpha is 2\.0"):
        make_judge("shadow", wrong, GROUNDS)


def test_the_documented_settings_of_the_gates_are_those_of_the_code() -> None:
    page = (Path(__file__).parents[2] / "docs" / "challenger.md").read_text(encoding="utf-8")
    told: dict[str, float] = {}
    for keys, defaults in re.findall(r"^\| (`[^|]*) \| ([^|]*) \|", page.partition("## All settings")[2], re.MULTILINE):
        told |= dict(zip(re.findall(r"`(\w+)`", keys), map(float, defaults.split(", ")), strict=True))
    assert told == asdict(GateSettings())


def test_parts_that_no_camera_saw_say_nothing_about_a_release_however_long_the_line_waited() -> None:
    judge = make_judge("watch", GATES, GROUNDS)
    for number in range(1, 400):
        judge.take(part(number, verdict="FAULT", reason="camera", latency_us=None, is_late=True))
    found = judge.judge(0.0, BEGAN_S)
    assert (found.says, found.parts, found.p99_ms) == ("CONTINUE", 0, None)


@pytest.mark.parametrize(("skipped", "says"), [(1000, "FAIL"), (200, "CONTINUE")])
def test_parts_that_a_release_was_too_busy_for_count_however_many_come_at_once(skipped: int, says: str) -> None:
    judge = make_judge("shadow", GATES, GROUNDS)
    for number in range(1, 40):
        judge.take(part(number))
    judge.skip(skipped)
    judge.skip(0)
    found = judge.judge(0.0, BEGAN_S)
    assert (found.says, f"over {skipped + 39} parts" in found.reason) == (says, True)
