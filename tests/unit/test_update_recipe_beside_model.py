"""A model and a recipe of one device: each is proved with the other one in force, so one of both changes at a time."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest

from appliance.update.assignment import AssignedRelease, Assignment
from appliance.update.conductor import Conductor, are_model_and_recipe
from appliance.update.doors import Window
from appliance.update.journal import Journal
from appliance.update.kinds import done, failed, waits
from appliance.update.lifecycle import State
from tests.scripted_kind import ScriptedKind
from tests.unit.test_update_journal import release
from tests.unit.test_update_two_names import GATES
from tests.update_device import SetClock

Together: TypeAlias = Callable[[AssignedRelease, AssignedRelease], bool]
MODEL, RECIPE = ("model", "boards"), ("recipe", "spots")


class Both:
    """A device that is to have another model and another recipe."""

    def __init__(self, folder: Path, first: str, judge_together: Together = are_model_and_recipe) -> None:
        self.kinds = {"model": ScriptedKind(), "recipe": ScriptedKind()}
        self.journal = Journal(folder / "journal.db", SetClock())
        self.conductor = Conductor(self.journal, self.kinds, SetClock(), Window(), judge_together)
        releases = [
            release(name, "12"[kind == "recipe"] * 64).model_copy(update={"kind": kind})
            for kind, name in (MODEL, RECIPE)
        ]
        releases.sort(key=lambda each: each.kind != first)
        self.conductor.begin(
            Assignment(schema="vi.assignment/1", device_id="d", seq=1, rollout="r", ring="lab",
                       releases=tuple(releases), gates=GATES)
        )  # fmt: skip

    def script(self, kind: str, state: str, what: object) -> None:
        name = dict((MODEL, RECIPE))[kind]
        self.kinds[kind].script[name, state] = lambda: what  # type: ignore[assignment,return-value]

    def states(self) -> tuple[State, State]:
        found = {update.release.kind: update.progress.state for update in self.journal.latest()}
        return found["model"], found["recipe"]

    def waits_for(self, kind: str) -> str:
        return next(update.waits_for for update in self.journal.latest() if update.release.kind == kind)


@pytest.mark.parametrize("first", ["model", "recipe"])
def test_the_second_waits_before_its_proof_until_the_first_has_ended(tmp_path: Path, first: str) -> None:
    both, second = Both(tmp_path, first), "recipe" if first == "model" else "model"
    for at in ("shadow", "watch"):
        both.script(first, at, waits("more parts"))
        for _ in range(3):
            both.conductor.advance()
        state = dict(zip(("model", "recipe"), both.states(), strict=True))
        assert (state[first], state[second]) == (State(at.upper()), State.PROVE)
        assert both.waits_for(second).startswith(f"release 2 of {first}")
        both.script(first, at, done())
    written = len(both.journal.steps(2))
    both.conductor.advance()
    both.conductor.advance()
    assert both.states() == (State.IDLE, State.IDLE)
    assert len(both.journal.steps(2)) > written
    asked = both.kinds[second].asked
    assert [state for _, state in asked].count("prove") == 1


def test_what_waits_before_its_proof_writes_nothing_while_it_does(tmp_path: Path) -> None:
    both = Both(tmp_path, "model")
    both.script("model", "watch", waits("more parts"))
    both.conductor.advance()
    before = both.journal.newest_step()
    for _ in range(5):
        both.conductor.advance()
    assert both.journal.newest_step() == before
    assert next(each.progress.tries for each in both.journal.latest() if each.release.kind == "recipe") == 0


def test_the_second_goes_on_when_the_first_was_rolled_back(tmp_path: Path) -> None:
    both = Both(tmp_path, "recipe")
    both.script("recipe", "canary", failed("it lets bad parts pass"))
    both.script("model", "watch", waits("more parts"))
    for _ in range(3):
        both.conductor.advance()
    assert both.states() == (State.WATCH, State.IDLE)


def test_the_second_waits_while_the_first_is_fetched_for_it_may_need_it(tmp_path: Path) -> None:
    both = Both(tmp_path, "model")
    both.script("model", "download", waits("the server is away"))
    both.conductor.advance()
    assert both.states() == (State.DOWNLOAD, State.PROVE)
    both.script("model", "download", done())
    both.conductor.advance()
    both.conductor.advance()
    assert both.states() == (State.IDLE, State.IDLE)


def test_a_recipe_of_another_product_waits_for_nobody(tmp_path: Path) -> None:
    both = Both(tmp_path, "model", lambda first, second: False)
    both.script("model", "shadow", waits("its product is not in force"))
    both.conductor.advance()
    assert both.states() == (State.SHADOW, State.IDLE)


def test_what_goes_back_waits_for_what_began_before_and_is_on_its_way_back_too(tmp_path: Path) -> None:
    both = Both(tmp_path, "model")
    both.script("recipe", "watch", waits("more parts"))
    for _ in range(2):
        both.conductor.advance()
    assert both.states() == (State.IDLE, State.WATCH)
    in_force = {"model": "1" * 64, "recipe": "0" * 64}
    for kind, digest in in_force.items():
        both.kinds[kind].digest = digest
    both.script("recipe", "rollback", waits("the line is away"))
    both.journal.wish("model", "boards", "Ann")
    both.conductor.advance()
    assert both.states() == (State.ROLLBACK, State.ROLLBACK)
    words = "release 2 of recipe spots is under way; this one goes on by itself when that has ended"
    assert both.waits_for("model") == words
    assert ("boards", "rollback") not in both.kinds["model"].asked
    both.script("recipe", "rollback", done())
    both.conductor.advance()
    assert both.states() == (State.IDLE, State.IDLE)


def test_two_models_do_not_wait_for_each_other(tmp_path: Path) -> None:
    kind = ScriptedKind()
    journal = Journal(tmp_path / "journal.db", SetClock())
    kind.script["one", "watch"] = kind.script["two", "watch"] = lambda: waits("more parts")
    conductor = Conductor(journal, {"model": kind}, SetClock(), Window())
    releases = (release("one", "1" * 64), release("two", "2" * 64))
    conductor.begin(
        Assignment(schema="vi.assignment/1", device_id="d", seq=1, rollout="r", ring="lab", releases=releases,
                   gates=GATES)
    )  # fmt: skip
    conductor.advance()
    assert [update.progress.state for update in journal.latest()] == [State.WATCH, State.WATCH]
