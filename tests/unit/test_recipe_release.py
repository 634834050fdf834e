"""Another recipe in force, or beside the line, while the station runs: as a bundle, and only one of both changes."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml

from appliance.events import ReleaseChange
from appliance.stores.update_queries import UpdateReader
from appliance.wiring import build
from tests.releases import ask, prove_recipe, prove_release, recipe_release, release, release_file, sha256, shadow
from tests.shadows import limit, pairs, part, part_with_shadow, shadow_station, shadowed

STRICT = {"classes": {"spot": {"reject_limit": 0.5}}}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A station whose recipe leaves the limit of spots to the bundle, which accepts the spots that it sees."""
    return shadow_station(tmp_path)


def strict(config: Path, version: int = 2, **changes: Any) -> Path:
    path = recipe_release(config, version, **{**STRICT, **changes})
    prove_recipe(config, path)
    return path


def changes_of(config: Path) -> list[ReleaseChange]:
    return [each for each in UpdateReader(config.parent / "ledger.db").release_changes() if each.kind == "recipe"]


def records(config: Path) -> list[tuple[str, int]]:
    with closing(sqlite3.connect(f"file:{config.parent / 'ledger.db'}?mode=ro", uri=True)) as rows:
        found = rows.execute("SELECT verdict, record FROM inspection ORDER BY seq").fetchall()
    return [(verdict, json.loads(record)["versions"]["recipe_version"]) for verdict, record in found]


def test_parts_after_a_release_are_judged_by_the_recipe_and_the_ledger_says_who_wanted_it(config: Path) -> None:
    path = strict(config)
    with build(config) as appliance:
        part(appliance, "good")
        part(appliance, "spot")
        answer = release(appliance, "spots", path)
        part(appliance, "good-again")
        part(appliance, "spot-again")
        told = ask(appliance, "status")["recipes"]["spots"]
    assert (answer["ok"], answer["kind"], answer["revision"], answer["digest"]) == (True, "recipe", 2, sha256(path))
    assert records(config) == [("ACCEPT", 1), ("ACCEPT", 1), ("ACCEPT", 2), ("REJECT", 2)]
    assert told == {"recipe": "spots", "version": 2, "digest": sha256(path)}
    assert [(each.who, each.from_revision, each.to_revision) for each in changes_of(config)] == [
        ("configuration", 0, 1), ("A. Person", 1, 2)
    ]  # fmt: skip


def test_the_recipe_before_is_kept_while_the_new_one_is_on_trial_and_comes_back_without_its_file(config: Path) -> None:
    first = recipe_release(config, 1)
    document = yaml.safe_load(config.read_text())
    config.write_text(yaml.safe_dump(document | {"recipe": f"releases/{first.name}"}))
    path = strict(config)
    with build(config) as appliance:
        before = appliance.versions
        assert release(appliance, "spots", path, keeps_former=True)["ok"]
        assert ask(appliance, "status")["kept_releases"] == {"spots": sha256(first)}
        known = sha256(first)
        first.rename(first.with_suffix(".away"))
        back = ask(appliance, "release", product="spots", recipe=first.name, sha256=known, rollback=True)
        assert (back["ok"], back["digest"], appliance.versions) == (True, known, before)


def test_what_is_older_comes_back_by_a_rollback_only(config: Path) -> None:
    first, second = strict(config, 2), strict(config, 3, deadline_ms=4000)
    with build(config) as appliance:
        assert release(appliance, "spots", first)["ok"]
        assert release(appliance, "spots", second)["ok"]
        assert "only a rollback goes back" in release(appliance, "spots", first)["error"]
        assert release(appliance, "spots", first, rollback=True)["ok"]
        never = release(appliance, "spots", strict(config, 1), rollback=True)
    assert "version 1 of spots" in never["error"]
    assert "never ran on this device" in never["error"]


def unproved(config: Path) -> dict[str, Any]:
    return {"recipe": str(recipe_release(config, 2, **STRICT))}


def another_name(config: Path) -> dict[str, Any]:
    return {"recipe": str(strict(config, name="stains"))}


def another_camera(config: Path) -> dict[str, Any]:
    view = yaml.safe_load((config.parent / "recipe.yaml").read_text())["views"][0]
    return {"recipe": str(recipe_release(config, 2, views=[view | {"name": "below"}]))}


def unknown_class(config: Path) -> dict[str, Any]:
    return {"recipe": str(recipe_release(config, 2, classes={"scratch": {"reject_limit": 0.5}}))}


def both(config: Path) -> dict[str, Any]:
    return {"recipe": str(strict(config)), "bundle": "tiny-6.bundle"}


def plain_yaml(config: Path) -> dict[str, Any]:
    path = config.parent / "releases" / "plain.recipe"
    path.write_bytes((config.parent / "recipe.yaml").read_bytes())
    return {"recipe": str(path)}


def mended_bundle(config: Path) -> dict[str, Any]:
    """The configuration's bundle was exchanged since the start: a release of a recipe must not bring it along."""
    path = strict(config)
    other = release_file(config.parent / "releases", 6, **limit(0.9))
    (config.parent / "tiny.bundle").write_bytes(other.read_bytes())
    prove_recipe(config, path)
    return {"recipe": str(path)}


@pytest.mark.parametrize(
    ("prepare", "words"),
    [
        (unproved, "has no valid certificate of this device"),
        (another_name, "is a release of stains, and spots is judged by recipe spots"),
        (another_camera, "the recipe's views are below, the configuration has cameras for top"),
        (unknown_class, "has no class `scratch`"),
        (both, "a release is of a `bundle` or of a `recipe`; name one of them"),
        (plain_yaml, "is no package of a recipe"),
        (mended_bundle, "the bundle of spots is not the one that the station judges with"),
    ],
)
def test_a_recipe_that_may_not_judge_is_refused_in_words_and_nothing_changes(
    prepare: Any, words: str, config: Path
) -> None:
    with build(config) as appliance:
        before, wanted = appliance.versions, prepare(config)
        answer = ask(appliance, "release", product="spots", sha256=sha256(Path(wanted["recipe"])), **wanted)
        part(appliance, "part")
        assert (answer["ok"], appliance.versions) == (False, before)
    assert words in answer["error"]


def test_a_bundle_is_not_released_while_another_recipe_is_on_trial(config: Path) -> None:
    path, bundle = strict(config), release_file(config.parent / "releases", 6)
    prove_release(config, bundle)
    with build(config) as appliance:
        assert release(appliance, "spots", path)["ok"]
        refused = release(appliance, "spots", bundle)
    assert "the recipe of spots is not the one that the station judges with" in refused["error"]


def test_a_recipe_judges_beside_the_line_with_the_same_model(config: Path) -> None:
    path = strict(config)
    with shadowed(config, path) as appliance:
        for number in range(4):
            part_with_shadow(appliance, f"part-{number}")
        told = ask(appliance, "shadow", product="spots", stop=True)
        again = shadow(appliance, "spots", path)
    found = pairs(config, sha256(path))
    assert [each.decided.verdict for each in found] == ["ACCEPT"] * 4
    assert [each.verdict for each in found] == ["ACCEPT", "REJECT"] * 2
    assert (told["differing"], again["revision"]) == (2, 2)
