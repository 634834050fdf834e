"""A station with several products: which one judges, from which trigger on, who wanted it, and what is refused."""

from pathlib import Path

import pytest

from appliance.errors import StorageError
from appliance.events import Reason, Trigger, Verdict, utc_now
from appliance.stores.ledger import SqliteLedger
from tests.line import Line, eventually

SLOW = "its bundle takes 900 ms here and may take 100 ms; use a smaller model"


def judged_by(line: Line) -> dict[str, str]:
    """Part -> the product that its record names."""
    return {item.trigger.part_id: item.versions.product for item, _ in line.records}


def test_parts_after_a_changeover_are_judged_by_the_new_product_and_their_records_say_so(tmp_path: Path) -> None:
    with Line(tmp_path, products=("a", "b")) as line:
        line.trigger("first")
        answer = line.change_over("b")
        line.trigger("second")
        line.wait_for(2)
    assert judged_by(line) == {"first": "a", "second": "b"}
    assert line.inspections["a"].inspected == ["first"]
    assert line.inspections["b"].inspected == ["second"]
    assert '"product":"b"' in line.records[-1][1].payload
    assert answer["ok"]
    assert (answer["product"], answer["previous"], answer["changed"]) == ("b", "a", True)
    assert answer["last_trigger_id"] == "t-first"
    assert 0 <= answer["took_ms"] < 30_000


def test_a_part_on_its_way_keeps_the_product_that_was_in_force_when_its_trigger_came(tmp_path: Path) -> None:
    with Line(tmp_path, products=("a", "b")) as line:
        line.camera.gate.clear()
        line.trigger("waits-for-the-camera")
        line.change_over("b")
        line.camera.gate.set()
        line.wait_for(1)
        line.inspections["b"].gate.clear()
        line.trigger("waits-for-the-model")
        assert eventually(lambda: line.inspections["b"].inspected == ["waits-for-the-model"])
        line.change_over("a")
        line.inspections["b"].gate.set()
        line.wait_for(2)
    assert judged_by(line) == {"waits-for-the-camera": "a", "waits-for-the-model": "b"}


def test_a_part_that_never_reaches_inspection_names_its_product_all_the_same(tmp_path: Path) -> None:
    with Line(tmp_path, products=("a", "b")) as line:
        line.camera.lost = lambda part_id: part_id.startswith("lost")
        line.trigger("lost-1")
        line.change_over("b")
        line.trigger("lost-2")
        line.trigger("passed", is_repeat=True)
        line.wait_for(3)
    assert judged_by(line) == {"lost-1": "a", "lost-2": "b", "passed": "b"}
    assert {verdict for verdict, _ in line.verdicts().values()} == {Verdict.FAULT}


def test_a_changeover_to_the_product_in_force_is_fine_and_changes_nothing(tmp_path: Path) -> None:
    with Line(tmp_path, products=("a", "b")) as line:
        answer = line.change_over("a")
        assert line.ledger.last_changeover() is None
    assert (answer["ok"], answer["product"], answer["changed"]) == (True, "a", False)


@pytest.mark.parametrize(
    ("product", "by", "words"),
    [
        ("c", "A. Person", "there is no product 'c'; there are a, b, slow"),
        (None, "A. Person", "changeover needs `product`, one of a, b"),
        (3, "A. Person", "changeover needs `product`"),
        ("slow", "A. Person", f"product slow may not judge here: {SLOW}"),
        ("b", None, "changeover needs `by`, who wants it"),
        ("b", "  ", "changeover needs `by`"),
        ("b", "x" * 129, "changeover needs `by`, who wants it, in 1 to 128 characters"),
    ],
)
def test_what_cannot_be_done_is_refused_in_words_and_nothing_changes(
    product: object, by: object, words: str, tmp_path: Path
) -> None:
    with Line(tmp_path, products=("a", "b"), unavailable={"slow": SLOW}) as line:
        answer = line.change_over(product, by)
        line.trigger("part")
        line.wait_for(1)
        assert line.ledger.last_changeover() is None
    assert not answer["ok"]
    assert words in answer["error"]
    assert judged_by(line) == {"part": "a"}


def test_the_command_status_names_the_product_in_force_and_why_others_may_not_judge(tmp_path: Path) -> None:
    with Line(tmp_path, products=("a", "b"), unavailable={"slow": SLOW}) as line:
        line.change_over("b")
        told = line.station.on_command("status", {})
    assert told["product"] == "b"
    assert told["products"] == {"a": "", "b": "", "slow": SLOW}


def test_who_wanted_it_and_when_is_in_the_ledger(tmp_path: Path) -> None:
    before = utc_now()
    with Line(tmp_path, products=("a", "b")) as line:
        line.change_over("b", by=" A. Person ")
        found = line.ledger.last_changeover()
    assert found is not None
    assert (found.who, found.from_product, found.to_product) == ("A. Person", "a", "b")
    assert abs((found.at - before).total_seconds()) < 30


def test_a_restart_goes_on_with_the_product_in_force(tmp_path: Path) -> None:
    with Line(tmp_path, products=("a", "b")) as line:
        line.change_over("b")
    with Line(tmp_path, products=("a", "b"), boot_id="boot-2") as again:
        again.trigger("part")
        again.wait_for(1)
    assert judged_by(again) == {"part": "b"}


def test_a_disk_that_refuses_leaves_the_former_product_in_force(tmp_path: Path) -> None:
    with Line(tmp_path, products=("a", "b")) as line:
        line.ledger.refuses_changeover = True
        with pytest.raises(StorageError, match="disk is full"):
            line.change_over("b")
        line.trigger("part")
        line.wait_for(1)
        line.ledger.refuses_changeover = False
        assert line.change_over("b")["changed"]
    assert judged_by(line) == {"part": "a"}


def test_nobody_is_judged_by_a_product_before_it_is_on_disk(tmp_path: Path) -> None:
    noted: list[str] = []
    with Line(tmp_path, products=("a", "b")) as line:
        line.ledger.before_changeover = lambda: noted.append(line.products.in_force.name)
        line.change_over("b")
        noted.append(line.products.in_force.name)
    assert noted == ["a", "b"]


def test_parts_that_a_crash_left_open_name_the_product_of_their_time(tmp_path: Path) -> None:
    with SqliteLedger.open(tmp_path / "ledger.db", "device-1", "boot-1") as ledger:
        for part_id, product in (("first", "a"), ("second", "b"), ("third", "gone"), ("fourth", "")):
            assert ledger.accept(Trigger(f"t-{part_id}", part_id, utc_now(), 0, 0, product))
    with Line(tmp_path, products=("a", "b"), boot_id="boot-2") as line:
        pass
    assert judged_by(line) == {"first": "a", "second": "b", "third": "gone", "fourth": "a"}
    assert {item.decision.reason for item, _ in line.records} == {Reason.RESTART}
    unknown = next(item.versions for item, _ in line.records if item.trigger.part_id == "third")
    assert (unknown.bundle, unknown.bundle_digest, unknown.recipe, unknown.recipe_digest) == ("", "", "", "")
    assert (unknown.runtime, unknown.certificate) == ("", "")


def test_a_known_trigger_is_not_the_last_one_of_a_product(tmp_path: Path) -> None:
    with Line(tmp_path, products=("a", "b")) as line:
        line.trigger("first")
        line.trigger("second")
        line.wait_for(2)
        line.trigger("first", is_repeat=True)
        assert line.change_over("b")["last_trigger_id"] == "t-second"
