"""Invariant 1 across changeovers: one verdict each, by the product in force when the trigger was taken, on record."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.line import Line

PRODUCTS = ("a", "b", "c")
EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("part"), st.sampled_from(["good", "bad", "lost"])),
        st.tuples(st.just("again"), st.integers(0, 20)),
        st.tuples(st.just("change"), st.sampled_from([*PRODUCTS, "unknown"])),
        st.tuples(st.just("restart"), st.just("")),
    ),
    max_size=25,
)


def open_line(folder: Path) -> Line:
    line = Line(folder, products=PRODUCTS)
    line.camera.lost = lambda part_id: part_id.startswith("lost")
    return line


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=EVENTS)
def test_any_interleaving_of_triggers_changeovers_and_restarts_judges_each_part_once_by_its_product(
    tmp_path_factory: pytest.TempPathFactory, events: list[tuple[str, object]]
) -> None:
    folder = tmp_path_factory.mktemp("line")
    expected, judged, in_force = dict[str, str](), dict[str, str](), "a"
    lines = [open_line(folder)]
    lines[-1].__enter__()
    for number, (kind, value) in enumerate(events):
        if kind == "part":
            expected[f"{value}-{number}"] = in_force
            lines[-1].trigger(f"{value}-{number}")
        elif kind == "again" and expected:
            lines[-1].trigger(list(expected)[int(str(value)) % len(expected)], is_repeat=True)
        elif kind == "change":
            answer = lines[-1].change_over(value)
            assert answer["ok"] is (value in PRODUCTS)
            in_force = str(value) if answer["ok"] else in_force
        elif kind == "restart":
            lines[-1].__exit__()
            lines.append(open_line(folder))
            lines[-1].__enter__()
    lines[-1].__exit__()
    seqs = []
    for line in lines:
        for inspection, record in line.records:
            assert inspection.trigger.part_id not in judged
            judged[inspection.trigger.part_id] = inspection.versions.product
            seqs.append(record.seq)
    assert judged == expected
    assert sorted(seqs) == list(range(1, len(expected) + 1))
    for product in PRODUCTS:
        inspected = [part for line in lines for part in line.inspections[product].inspected]
        assert sorted(inspected) == sorted(
            part for part, name in expected.items() if name == product and not part.startswith("lost")
        )


def test_triggers_and_changeovers_of_several_threads_agree_on_where_the_change_was(tmp_path: Path) -> None:
    parts, changes = 200, 40
    begin = threading.Barrier(2)
    answers = []
    with Line(tmp_path, products=("a", "b"), queue_size=1000) as line, ThreadPoolExecutor(1) as plant:

        def change_to_and_fro() -> None:
            begin.wait()
            for number in range(changes):
                answers.append(line.change_over("ba"[number % 2]))

        changing = plant.submit(change_to_and_fro)
        begin.wait()
        for number in range(parts):
            line.trigger(f"{number}")
        changing.result()
        line.wait_for(parts)
    product = {inspection.trigger.trigger_id: inspection.versions.product for inspection, _ in line.records}
    assert len(product) == parts
    expected, in_force = dict[str, str](), "a"
    turns = iter(answers)
    turn = next(turns)
    for number in range(parts):
        while turn is not None and _is_before(turn, number):
            in_force, turn = turn["product"], next(turns, None)
        expected[f"t-{number}"] = in_force
    assert product == expected
    for name in ("a", "b"):
        assert {f"t-{part}" for part in line.inspections[name].inspected} == {
            trigger for trigger, by in product.items() if by == name
        }


def _is_before(answer: dict[str, object], number: int) -> bool:
    """Whether a changeover came before the part with this number."""
    last = answer["last_trigger_id"]
    return last is None or int(str(last).removeprefix("t-")) < number
