"""Invariant 1 across releases: one verdict each, by the release in force when the trigger was taken, on record."""

import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from appliance.changeover import Turn
from appliance.errors import StorageError
from appliance.events import Decision, Frame, ReleaseChange, ViewResult, utc_now
from appliance.ports import Inspect
from tests.line import Line

EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("part"), st.sampled_from(["good", "bad", "lost"])),
        st.tuples(st.just("again"), st.integers(0, 20)),
        st.tuples(st.just("release"), st.sampled_from(["a", "b"])),
        st.tuples(st.just("change"), st.sampled_from(["a", "b"])),
        st.tuples(st.just("refused"), st.just("a")),
    ),
    max_size=25,
)


def put(line: Line, product: str, revision: int, is_refused: bool = False, **changes: tuple[Inspect, ...]) -> Turn:
    """Put a release in force as `Releases` does once it has loaded it."""
    former = line.products.ready(product)
    digest = f"{revision:064d}"
    versions = replace(former.versions, bundle_revision=revision, bundle_digest=digest)
    change = ReleaseChange(
        utc_now(), "A. Person", product, "bundle", "tiny", former.versions.bundle_digest,
        former.versions.bundle_revision, digest, revision, is_rollback=False,
    )  # fmt: skip

    def note() -> int:
        if is_refused:
            raise StorageError("the disk is full; free some space")
        return line.ledger.updates.note_release(change)

    return line.products.put(replace(former, versions=versions, **changes), note)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=EVENTS)
def test_any_interleaving_of_triggers_changeovers_and_releases_judges_each_part_once_by_its_release(
    tmp_path_factory: pytest.TempPathFactory, events: list[tuple[str, object]]
) -> None:
    expected, in_force, revisions = dict[str, tuple[str, int]](), "a", {"a": 1, "b": 1}
    with Line(tmp_path_factory.mktemp("line"), products=("a", "b")) as line:
        line.camera.lost = lambda part_id: part_id.startswith("lost")
        for number, (kind, value) in enumerate(events, start=2):
            if kind == "part":
                expected[f"{value}-{number}"] = (in_force, revisions[in_force])
                line.trigger(f"{value}-{number}")
            elif kind == "again" and expected:
                line.trigger(list(expected)[int(str(value)) % len(expected)], is_repeat=True)
            elif kind == "change":
                in_force = line.change_over(value)["product"]
            elif kind == "release":
                put(line, str(value), number)
                revisions[str(value)] = number
            elif kind == "refused":
                with pytest.raises(StorageError):
                    put(line, "a", number, is_refused=True)
        line.wait_for(len(expected))
    judged = {item.trigger.part_id: (item.versions.product, item.versions.bundle_revision) for item, _ in line.records}
    assert judged == expected
    assert sorted(record.seq for _, record in line.records) == list(range(1, len(expected) + 1))


def test_triggers_and_releases_of_several_threads_agree_on_where_the_release_came_in_force(tmp_path: Path) -> None:
    parts, releases = 200, 40
    begin, turns = threading.Barrier(2), list[tuple[Turn, int]]()
    with Line(tmp_path, queue_size=1000) as line, ThreadPoolExecutor(1) as agent:

        def release_again_and_again() -> None:
            begin.wait()
            for revision in range(2, releases + 2):
                turns.append((put(line, "recipe", revision), revision))

        releasing = agent.submit(release_again_and_again)
        begin.wait()
        for number in range(parts):
            line.trigger(f"{number}")
        releasing.result()
        line.wait_for(parts)
    revision = {int(item.trigger.part_id): item.versions.bundle_revision for item, _ in line.records}
    assert len(revision) == parts
    expected = dict.fromkeys(range(parts), 1)
    for turn, now in turns:
        first = 0 if turn.last_trigger_id is None else int(turn.last_trigger_id.removeprefix("t-")) + 1
        expected |= dict.fromkeys(range(first, parts), now)
    assert revision == expected


class OwnedInspection:
    """Notes which threads inspect with it; a copy of a model is made for one."""

    def __init__(self, inspect: Inspect) -> None:
        self._inspect = inspect
        self.threads: set[str] = set()

    def __call__(
        self, frames: Mapping[str, Frame], stage_us: dict[str, int]
    ) -> tuple[Decision, tuple[ViewResult, ...]]:
        self.threads.add(threading.current_thread().name)
        return self._inspect(frames, stage_us)


def test_each_copy_of_a_model_is_used_by_one_thread_whatever_changes_while_two_inspect(tmp_path: Path) -> None:
    copies: list[tuple[OwnedInspection, ...]] = []
    with Line(tmp_path, products=("a", "b"), instances=2, queue_size=1000) as line:
        for number in range(60):
            product = "ab"[number % 2]
            if number % 3 == 0:
                copies.append(tuple(OwnedInspection(line.inspections[product]) for _ in range(2)))
                put(line, product, number + 2, inspections=copies[-1])
            line.change_over(product)
            for part in range(5):
                line.trigger(f"{number}-{part}")
        line.wait_for(300)
    assert {each[0].threads <= {"inspect:0"} and each[1].threads <= {"inspect:1"} for each in copies} == {True}
    assert set().union(*(one.threads for each in copies for one in each)) == {"inspect:0", "inspect:1"}
