"""Another release in force while the station runs: from which part on, what is refused, what is freed."""

import os
import threading
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import cv2
import pytest
import yaml

from appliance.config import load_config
from appliance.errors import RuntimeFault
from appliance.events import ReleaseChange
from appliance.ports import TriggerRequest
from appliance.products import load_products
from appliance.retirement import Retirement
from appliance.stores.update_queries import UpdateReader
from appliance.wiring import Appliance, build
from tests.device_root import CALM, JETSON, write
from tests.line import eventually
from tests.models import tiny_bundle, tiny_model
from tests.plant import write_station
from tests.products import with_products, write_products
from tests.releases import ask, prove_release, release, release_file, sha256, with_releases
from tests.slow_model import slow_bundle, slow_picture


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A station of one product, `spots`, judged by revision 5."""
    path = write_station(tmp_path)
    tiny_bundle(tmp_path / "tiny.bundle", revision=5)
    (tmp_path / "releases").mkdir()
    with_releases(path)
    return path


def proven(config: Path, revision: int, **changes: Any) -> Path:
    path = release_file(config.parent / "releases", revision, **changes)
    prove_release(config, path)
    return path


def part(appliance: Appliance, name: str) -> None:
    appliance.station.on_trigger(TriggerRequest(f"t-{name}", name))
    assert eventually(lambda: appliance.ledger.find(f"t-{name}") is not None)


def judged(config: Path, digest: str) -> list[int]:
    reader = UpdateReader(config.parent / "ledger.db")
    found = [each.seq for each in reader.judged_by(digest, 0, 100)]
    reader.close()
    return found


def changes_of(config: Path, kind: str) -> list[ReleaseChange]:
    return [each for each in UpdateReader(config.parent / "ledger.db").release_changes() if each.kind == kind]


def test_parts_after_a_release_are_judged_by_it_and_the_ledger_says_who_wanted_it(config: Path) -> None:
    newer = proven(config, 6)
    with build(config) as appliance:
        former = appliance.versions.bundle_digest
        part(appliance, "before")
        answer = release(appliance, "spots", newer)
        part(appliance, "after")
        told = appliance.station.on_command("status", {})["bundles"]["spots"]
        change = appliance.ledger.updates.last_release("spots", "bundle")
        certificate = appliance.certificate
    assert answer["ok"]
    assert (answer["product"], answer["changed"], answer["revision"]) == ("spots", True, 6)
    assert (answer["digest"], answer["previous_digest"]) == (sha256(newer), former)
    assert (answer["last_seq"], answer["last_trigger_id"]) == (1, "t-before")
    assert 0 <= answer["switch_ms"] <= answer["took_ms"]
    assert (judged(config, former), judged(config, sha256(newer))) == ([1], [2])
    assert told == {"bundle": "tiny", "revision": 6, "digest": sha256(newer)}
    assert change is not None
    assert (change.who, change.from_digest, change.to_digest) == ("A. Person", former, sha256(newer))
    assert (change.from_revision, change.to_revision, change.last_seq, change.is_rollback) == (5, 6, 1, False)
    assert certificate.subject.bundle_revision == 6


def test_a_release_in_force_already_changes_nothing(config: Path) -> None:
    newer = proven(config, 6)
    with build(config) as appliance:
        release(appliance, "spots", newer)
        again = release(appliance, "spots", newer)
        changes = changes_of(config, "bundle")
    assert (again["ok"], again["changed"], again["digest"]) == (True, False, sha256(newer))
    assert [each.to_revision for each in changes] == [5, 6]


def measuring_threads() -> set[threading.Thread]:
    """Threads of the inspections in memory: each that has inspected has one that measures."""
    return {thread for thread in threading.enumerate() if thread.name.startswith("correct")}


def test_a_part_on_its_way_keeps_its_release_and_then_the_former_one_is_freed(config: Path) -> None:
    newer = proven(config, 6)
    slow_bundle(config.parent / "tiny.bundle", lasts_s=1.5, revision=5)
    cv2.imwrite(str(config.parent / "pictures" / "0.png"), slow_picture())
    before = measuring_threads()
    with build(config) as appliance:
        former = appliance.versions.bundle_digest
        appliance.station.on_trigger(TriggerRequest("t-slow", "slow"))
        assert eventually(lambda: bool(measuring_threads() - before))
        of_the_former = measuring_threads() - before
        answer = release(appliance, "spots", newer)
        is_on_its_way = appliance.ledger.find("t-slow") is None
        waiting = appliance.station.on_command("status", {})["former_releases"]
        assert eventually(lambda: appliance.station.on_command("status", {})["former_releases"] == 0)
        part(appliance, "after")
        assert eventually(lambda: not any(thread.is_alive() for thread in of_the_former))
    assert answer["last_trigger_id"] == "t-slow"
    assert (is_on_its_way, waiting) == (True, 1)
    assert (judged(config, former), judged(config, sha256(newer))) == ([1], [2])


def test_a_station_that_stops_frees_the_release_in_force(config: Path) -> None:
    newer, before = proven(config, 6), measuring_threads()
    with build(config) as appliance:
        release(appliance, "spots", newer)
        part(appliance, "after")
        assert measuring_threads() - before
    assert not measuring_threads() - before


def test_a_station_that_stops_leaves_no_release_half_loaded(config: Path) -> None:
    newer = proven(config, 6)
    wanted = {"product": "spots", "bundle": str(newer), "sha256": sha256(newer), "by": "A. Person"}
    with build(config) as appliance:
        answer = appliance.station.on_command("release", wanted)
        appliance.updates.close()
        assert isinstance(answer, Future)
        assert answer.done()
        part(appliance, "after")
    assert "the station stops" in answer.result()["error"]


def test_a_former_release_that_cannot_be_freed_is_let_go_of_and_the_next_one_is_freed(
    config: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse() -> None:
        raise RuntimeFault("the accelerator does not answer")

    freed = threading.Event()
    retirement = Retirement()
    for free in (refuse, freed.set):
        (warm,) = load_products(*load_config(config), "").ready.values()
        warm.undo.callback(free)
        retirement.take(warm)
        del warm
        assert eventually(lambda: retirement.waiting == 0)
    retirement.close()
    assert freed.is_set()
    assert "a former release could not be freed" in caplog.text


def test_an_older_release_needs_a_rollback_and_to_have_run_here(config: Path) -> None:
    newer, older, unknown = proven(config, 6), config.parent / "releases" / "five.bundle", proven(config, 4)
    older.write_bytes((config.parent / "tiny.bundle").read_bytes())
    with build(config) as appliance:
        release(appliance, "spots", newer)
        refused = release(appliance, "spots", older)
        never_ran = release(appliance, "spots", unknown, rollback=True)
        assert appliance.versions.bundle_revision == 6
        back = release(appliance, "spots", older, rollback=True)
        part(appliance, "after")
        change = appliance.ledger.updates.last_release("spots", "bundle")
    assert refused["error"] == (
        "revision 5 of tiny is older than 6, which is in force; only a rollback goes back"
    )  # fmt: skip
    assert "never ran on this device, by its ledger; a rollback goes to a release that did" in never_ran["error"]
    assert (back["ok"], back["changed"], back["revision"]) == (True, True, 5)
    assert change is not None
    assert change.is_rollback
    assert judged(config, sha256(older)) == [1]


def test_a_release_on_trial_is_taken_back_from_memory_in_a_moment(config: Path) -> None:
    newer, older = proven(config, 6), config.parent / "releases" / "five.bundle"
    wanted = {"bundle": str(older), "sha256": sha256(config.parent / "tiny.bundle"), "rollback": True}
    with build(config) as appliance:
        part(appliance, "before")
        release(appliance, "spots", newer, keeps_former=True)
        kept = ask(appliance, "status")["kept_releases"]
        part(appliance, "trial")
        back = ask(appliance, "release", product="spots", **wanted)  # there is no file of it at all
        part(appliance, "after")
        told = ask(appliance, "status")
        assert eventually(lambda: ask(appliance, "status")["former_releases"] == 0)
    assert kept == {"spots": wanted["sha256"]}
    assert (back["ok"], back["changed"], back["revision"]) == (True, True, 5), back
    assert back["took_ms"] < 1000
    assert (told["kept_releases"], told["bundles"]["spots"]["revision"]) == ({}, 5)
    assert (judged(config, wanted["sha256"]), judged(config, sha256(newer))) == ([1, 3], [2])


def test_a_release_that_is_final_keeps_nothing_and_the_next_one_takes_its_place(config: Path) -> None:
    sixth, seventh = proven(config, 6), proven(config, 7)
    former = sha256(config.parent / "tiny.bundle")
    with build(config) as appliance:
        release(appliance, "spots", sixth, keeps_former=True)
        again = release(appliance, "spots", sixth, keeps_former=True)
        assert ask(appliance, "status")["kept_releases"] == {"spots": former}
        final = release(appliance, "spots", sixth)
        assert ask(appliance, "status")["kept_releases"] == {}
        release(appliance, "spots", seventh, keeps_former=True)
        assert ask(appliance, "status")["kept_releases"] == {"spots": sha256(sixth)}
        older = ask(appliance, "release", product="spots", bundle="x", sha256=sha256(sixth))
        assert eventually(lambda: ask(appliance, "status")["former_releases"] == 0)
        part(appliance, "after")
    assert (again["changed"], final["changed"]) == (False, False)
    assert "revision 6 of tiny is older than 7" in older["error"]
    assert judged(config, sha256(seventh)) == [1]


def another_name(config: Path) -> dict[str, Any]:
    return {"bundle": str(release_file(config.parent / "releases", 9, "other", name="other"))}


def other_classes(config: Path) -> dict[str, Any]:
    return {"bundle": str(release_file(config.parent / "releases", 9, width=128, height=128))}


def unproved(config: Path) -> dict[str, Any]:
    return {"bundle": str(release_file(config.parent / "releases", 7))}


def outside(config: Path) -> dict[str, Any]:
    return {"bundle": str(config.parent / "tiny.bundle")}


def upwards(config: Path) -> dict[str, Any]:
    return {"bundle": "../tiny.bundle"}


def linked_out(config: Path) -> dict[str, Any]:
    (config.parent / "releases" / "link.bundle").symlink_to(config.parent / "tiny.bundle")
    return {"bundle": "link.bundle"}


def missing(config: Path) -> dict[str, Any]:
    return {"bundle": "missing.bundle"}


def pipe(config: Path) -> dict[str, Any]:
    os.mkfifo(config.parent / "releases" / "pipe.bundle")
    return {"bundle": "pipe.bundle"}


def no_bundle(config: Path) -> dict[str, Any]:
    path = config.parent / "releases" / "text.bundle"
    path.write_text("no bundle")
    return {"bundle": "text.bundle", "sha256": sha256(path)}


def another_file(config: Path) -> dict[str, Any]:
    return {"bundle": str(proven(config, 6)), "sha256": "0" * 64}


def unknown_product(config: Path) -> dict[str, Any]:
    return {"bundle": str(proven(config, 6)), "product": "nothing"}


def edited_recipe(config: Path) -> dict[str, Any]:
    recipe = config.parent / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(yaml.safe_load(recipe.read_text()) | {"version": 2}))
    return {"bundle": str(proven(config, 6))}


@pytest.mark.parametrize(
    ("prepare", "words"),
    [
        (
            another_name,
            "is a release of other, and spots is judged by bundle tiny: if that is to change, name the file",
        ),
        (other_classes, "the model takes exactly 128x128 and the inspected part is 64x64"),
        (unproved, "tiny revision 7 has no valid certificate of this device: "),
        (outside, "does not lie in"),
        (upwards, "../tiny.bundle does not lie in"),
        (linked_out, "link.bundle does not lie in"),
        (missing, "missing.bundle: No such file or directory; name a file in"),
        (pipe, "pipe.bundle is no file; name the release"),
        (no_bundle, "text.bundle is not an acceptable bundle: it is not a zip file"),
        (another_file, "is not the file that was meant: its SHA-256 is"),
        (unknown_product, "there is no product 'nothing'; there are spots"),
        (edited_recipe, "the recipe of spots is not the one that the station judges with: it was edited"),
    ],
)
def test_a_release_that_may_not_judge_is_refused_in_words_and_nothing_changes(
    prepare: Any, words: str, config: Path
) -> None:
    with build(config) as appliance:
        before = appliance.versions
        wanted = prepare(config)
        path = config.parent / "releases" / wanted["bundle"]
        known = wanted.get("sha256") or (sha256(path) if path.is_file() else "0" * 64)
        answer = ask(appliance, "release", **{"product": "spots", "sha256": known} | wanted)
        part(appliance, "after")
        assert appliance.versions is before
    assert not answer["ok"]
    assert words in answer["error"]
    assert judged(config, before.bundle_digest) == [1]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"by": " "}, "release: `by`: "),
        ({"sha256": "abc"}, "release: `sha256`: "),
        ({"bundle": None}, "release: a release is of a `bundle` or of a `recipe`"),
        ({"rollback": "yes"}, "release: `rollback`: "),
    ],
)
def test_a_command_that_says_too_little_is_refused_with_the_key(
    changes: dict[str, Any], words: str, config: Path
) -> None:
    newer = proven(config, 6)
    good = {"product": "spots", "bundle": str(newer), "sha256": sha256(newer)}
    with build(config) as appliance:
        answer = ask(appliance, "release", **good | changes)
    assert not answer["ok"]
    assert answer["error"].startswith(words)


def test_a_release_that_was_proved_on_a_device_that_changed_meanwhile_is_refused(config: Path, tmp_path: Path) -> None:
    root = write(tmp_path / "root", JETSON | CALM)
    newer = release_file(config.parent / "releases", 6)
    with build(config, device_root=root) as appliance:
        write(root, {"var/lib/nvpmodel/status": "pmode:0000"})
        prove_release(config, newer, root=root)
        refused = release(appliance, "spots", newer)
        write(root, {"var/lib/nvpmodel/status": JETSON["var/lib/nvpmodel/status"]})
        prove_release(config, newer, root=root)
        taken = release(appliance, "spots", newer)
    assert "the power mode was MAXN_SUPER (2) and is 15W (0) now; " in refused["error"]
    assert "set it back, or start the station again" in refused["error"]
    assert taken["changed"]


def test_a_station_without_a_folder_of_releases_takes_none(config: Path) -> None:
    newer = proven(config, 6)
    with_releases(config, releases=None)
    with build(config) as appliance:
        answer = release(appliance, "spots", newer)
    assert "the station's configuration names no folder of releases; add `releases:`" in answer["error"]


def test_of_several_products_only_the_named_one_gets_the_release(tmp_path: Path) -> None:
    config = write_station(tmp_path)
    config.write_text(yaml.safe_dump(with_products(yaml.safe_load(config.read_text()), write_products(tmp_path))))
    with_releases(config)
    newer = release_file(tmp_path / "releases", 2)
    prove_release(config, newer, "tolerant")
    with build(config) as appliance:
        assert release(appliance, "tolerant", newer)["changed"]
        part(appliance, "plain")
        appliance.station.on_command("changeover", {"product": "tolerant", "by": "A. Person"})
        part(appliance, "tolerant")
        told = appliance.station.on_command("status", {})["bundles"]
        refused = release(appliance, "plain", newer)
    assert {name: each["revision"] for name, each in told.items()} == {"plain": 1, "tolerant": 2}
    assert judged(config, sha256(newer)) == [2]
    assert "has no valid certificate of this device" in refused["error"]


def test_a_model_that_fails_its_golden_images_now_does_not_judge(config: Path) -> None:
    wrong = release_file(config.parent / "releases", 6, model_onnx=tiny_model(64, 64, dark=True))
    with build(config) as appliance:
        answer = release(appliance, "spots", wrong)
        assert appliance.versions.bundle_revision == 5
    assert not answer["ok"]


def test_a_restart_goes_on_with_what_the_configuration_names_and_the_ledger_notes_it(config: Path) -> None:
    newer = proven(config, 6)
    with build(config) as appliance:
        release(appliance, "spots", newer)
    with build(config) as again:
        assert again.versions.bundle_revision == 5
        changes = changes_of(config, "bundle")
    assert [(each.who, each.to_revision) for each in changes] == [
        ("configuration", 5), ("A. Person", 6), ("configuration", 5)
    ]  # fmt: skip
    assert [each.from_revision for each in changes] == [0, 5, 6]
