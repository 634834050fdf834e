"""A candidate beside the line: what it says of the same parts, and when it begins and ends."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml

from appliance.events import Challenge
from appliance.shadow.beside import MOST_KNOWN
from appliance.wiring import build
from tests.line import eventually
from tests.models import spot_picture
from tests.plant import write_station
from tests.products import with_products, write_products
from tests.releases import ask, prove_release, release, release_file, sha256, shadow, with_releases
from tests.shadow_models import nan_model, trap_picture
from tests.shadows import (
    QUICK_ENOUGH_S,
    candidate,
    children,
    endless,
    faults,
    pairs,
    part,
    part_with_shadow,
    runs,
    shadow_station,
    shadowed,
    show,
    status,
)
from tests.slow_model import slow_bundle, slow_picture


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return shadow_station(tmp_path)


def pictures(config: Path) -> list[tuple[str, str]]:
    """Part and view of each picture that the ledger knows."""
    with closing(sqlite3.connect(f"file:{config.parent / 'ledger.db'}?mode=ro", uri=True)) as rows:
        return rows.execute(
            "SELECT part_id, view FROM image JOIN inspection USING (inspection_id) ORDER BY part_id"
        ).fetchall()


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


def test_a_candidate_that_answers_no_number_is_told_and_the_line_goes_on(config: Path) -> None:
    path = candidate(config, model_onnx=nan_model())
    show(config, spot_picture(64, 64), trap_picture())
    with shadowed(config, path) as appliance:
        part_with_shadow(appliance, "good")
        assert part(appliance, "trap") < QUICK_ENOUGH_S
        assert eventually(lambda: status(appliance)["state"] == "ended")
        told = status(appliance)
        part(appliance, "after")
    assert (told["unsound"], "NaN" in told["problem"]) == (True, True)
    assert runs(config, sha256(path))[0].problem == told["problem"]
    assert [each.decided.seq for each in pairs(config, sha256(path))] == [1]


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


def test_challenge_parts_wait_for_a_busy_candidate(config: Path) -> None:
    path = slow_bundle(config.parent / "releases" / "slow.bundle", lasts_s=1.0, revision=6)
    prove_release(config, path)
    show(config, slow_picture())
    with shadowed(config, path) as appliance:
        part(appliance, "first")
        for number in range(MOST_KNOWN - 1):
            part(appliance, f"known-{number}", Challenge.GOOD)
        assert eventually(lambda: status(appliance)["judged"] == MOST_KNOWN)
        assert status(appliance)["skipped"] == 0
    assert [each.decided.seq for each in pairs(config, sha256(path))] == [1, 2, 3, 4]


def test_so_many_of_them_and_no_others(config: Path) -> None:
    with shadowed(config, endless(config)) as appliance:
        part(appliance, "first")
        for number in range(MOST_KNOWN + 1):
            part(appliance, f"known-{number}", Challenge.BAD)
        part(appliance, "last")
        told = status(appliance)
        assert (told["judged"], told["skipped"]) == (0, 3)


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
        ({"bundle": None}, "a shadow needs `bundle` or `recipe`, and `sha256`"),
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


def test_a_part_without_an_answer_of_the_line_says_nothing_of_the_candidate(config: Path) -> None:
    path = candidate(config)
    show(config, spot_picture(64, 64), spot_picture(64, 64, background=255))
    with shadowed(config, path) as appliance:
        part_with_shadow(appliance, "good")
        part(appliance, "blinded")
        part_with_shadow(appliance, "good-again")
        told = status(appliance)
    assert faults(config) == 1
    assert (told["judged"], told["skipped"], told["differing"]) == (2, 0, 0)


def test_a_station_that_stops_begins_no_shadow(config: Path) -> None:
    path = candidate(config)
    with build(config) as appliance:
        appliance.updates.close()
        answer = shadow(appliance, "spots", path)
        assert children() == []
    assert answer == {"ok": False, "error": "the station stops; ask again when it runs"}


def test_a_station_that_stops_ends_its_shadow(config: Path) -> None:
    path = candidate(config)
    with shadowed(config, path) as appliance:
        part_with_shadow(appliance, "part")
    assert children() == []
    (run,) = runs(config, sha256(path))
    assert (run.ended_because, run.judged) == ("stop of the station", 1)
    assert len(pairs(config, sha256(path))) == 1
