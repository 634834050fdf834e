"""How far the building and proving of an update is: what the child tells, and what of it lies beside the journal."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from appliance.agent_workshop import ChildWorkshop
from appliance.errors import EXIT_TERMINATED, RuntimeFault
from appliance.runtimes.engines.child import read_word
from appliance.update.kinds import InterruptedWorkError
from appliance.update.settings import WorkSection
from appliance.update.work_progress import (
    REFRESH_S,
    STALE_S,
    WRITE_EVERY_S,
    WorkProgress,
    WorkSeen,
    progress_of,
    read_progress,
    with_progress,
)
from tests.plant import RECIPE, write_station
from tests.planted import slow_everywhere

HEAVY = "tests.heavy_release"


class Ticking:
    """A clock that a test sets."""

    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def work(tmp_path: Path) -> WorkProgress:
    return WorkProgress(tmp_path / "work.json", Ticking())


def take(work: WorkProgress, share: float, now_s: float) -> WorkSeen | None:
    """Take a sign at a moment; returns what the file says then."""
    assert isinstance(work.now, Ticking)
    work.now.now_s = now_s
    work.take("model", "tiny", "PROVE", share)
    return read_progress(work.path, now_s)


def test_the_file_says_how_far_and_how_long_and_is_written_now_and_then_only(work: WorkProgress) -> None:
    work.begin()
    assert take(work, 0.0, 100.0) is None, "nothing has begun"
    writes = list[WorkSeen]()
    for number in range(501):
        seen = take(work, 0.1 + number / 1000, 100.0 + number / 5)
        assert seen is not None
        writes += [seen] if seen not in writes else []
    assert writes[0] == WorkSeen("model", "tiny", "PROVE", 10, None, 100.0)
    assert writes[-1] == WorkSeen("model", "tiny", "PROVE", 60, 80, 200.0)
    times_s = [each.at_s for each in writes]
    assert min(later - one for one, later in pairwise(times_s)) >= WRITE_EVERY_S
    assert [each.percent for each in writes] == sorted(each.percent for each in writes)
    work.end()
    assert not work.path.exists()
    work.end()


def test_what_stands_still_is_told_to_be_alive_and_what_was_left_behind_is_not(work: WorkProgress) -> None:
    work.begin()
    take(work, 0.5, 100.0)
    assert [getattr(take(work, 0.5, 100.0 + each), "at_s", None) for each in (1.0, REFRESH_S, 2 * REFRESH_S)] == [
        100.0, 100.0 + REFRESH_S, 100.0 + 2 * REFRESH_S,
    ]  # fmt: skip
    last_s = 100.0 + 2 * REFRESH_S
    assert read_progress(work.path, last_s + STALE_S) is not None
    assert read_progress(work.path, last_s + STALE_S + 1) is None, "of an agent that was killed"
    assert read_progress(work.path, 3.0) is None, "of before the device started"


@pytest.mark.parametrize("content", ["", "{", "[]", "7", '{"kind": "model"}', '{"percent": 7, "new": 1}', "\xff"])
def test_what_cannot_be_read_says_nothing(tmp_path: Path, content: str) -> None:
    path = tmp_path / "work.json"
    assert read_progress(path) is None
    path.write_text(content, encoding="latin-1")
    assert read_progress(path) is None


def test_a_disk_that_refuses_is_told_once_and_breaks_nothing_off(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    work = WorkProgress(tmp_path / "none" / "work.json", Ticking())
    work.begin()
    for number in range(5):
        take(work, 0.1 * number, 100.0 + 60 * number)
    work.end()
    assert [record.getMessage().partition("cannot be written: ")[2] for record in caplog.records] == [
        "No such file or directory; how far the update is, is not told"
    ]


def test_only_the_update_that_is_worked_on_is_said_to_be_far() -> None:
    seen = WorkSeen("model", "tiny", "PROVE", 40, 180, 1.0)
    unknown = {"progress_percent": None, "left_s": None}
    assert progress_of(seen, "model", "tiny", "PROVE") == {"progress_percent": 40, "left_s": 180}
    for other in (("app", "tiny", "PROVE"), ("model", "other", "PROVE"), ("model", "tiny", "SHADOW")):
        assert progress_of(seen, *other) == unknown
    assert progress_of(None, "model", "tiny", "PROVE") == unknown
    releases = [{"kind": "model", "name": name, "state": "PROVE"} for name in ("tiny", "other")]
    told = with_progress({"problem": "", "releases": releases}, seen)
    assert [each["left_s"] for each in told["releases"]] == [180, None]
    assert releases[0].keys() == {"kind", "name", "state"}, "what is reported has no such keys"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    config = yaml.safe_load(write_station(tmp_path).read_text())
    config |= {"bundle": "models/tiny/current.bundle", "runtime": {"threads": 1}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    return tmp_path


def current_in(folder: Path) -> Callable[[str], Path]:
    return lambda name: folder / "models" / name / "current.bundle"


@pytest.fixture
def slow(folder: Path) -> Path:
    """A release whose proof takes long and is in time."""
    (folder / "recipe.yaml").write_text(yaml.safe_dump(RECIPE | {"deadline_ms": 60_000}))
    return slow_everywhere(folder / "candidate.bundle", rounds=400)


def test_how_far_the_shipped_childs_proof_is_is_told_until_somebody_needs_the_agent(folder: Path, slow: Path) -> None:
    work = WorkProgress(folder / "work.json")
    seen = list[WorkSeen]()

    def is_wanted() -> bool:
        now = read_progress(work.path)
        if now is not None and now not in seen:
            seen.append(now)
        return bool(seen) and seen[-1].left_s is not None

    workshop = ChildWorkshop(
        folder / "config.yaml", current_in(folder), WorkSection(), is_wanted, kind="model", progress=work
    )
    with pytest.raises(InterruptedWorkError):
        workshop.prove("tiny", slow)
    assert {(each.kind, each.name, each.state) for each in seen} == {("model", "tiny", "PROVE")}
    assert seen[0].left_s is None, "nothing is claimed before there is a basis"
    assert 0 <= seen[0].percent < seen[-1].percent < 100
    assert not work.path.exists()
    assert not (folder / "certificates").exists()


def test_the_shipped_child_ends_in_order_when_it_is_asked_to(folder: Path, slow: Path) -> None:
    current, own = current_in(folder)("tiny"), str(os.getpid())
    command = [
        sys.executable, "-m", "appliance.agent_child", "prove", "--config", str(folder / "config.yaml"),
        "--release", str(slow), "--current", str(current), "--memory-mb", "4000", "--parent", own,
    ]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert 0 < read_word(child.stdout.readline())["progress"] < 0.1
        child.send_signal(signal.SIGTERM)
        assert child.wait(30) == EXIT_TERMINATED
        assert b"result" not in child.stdout.read()


def test_a_child_that_ends_takes_its_progress_along(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    bundle, work = folder / "candidate.bundle", WorkProgress(folder / "work.json")
    bundle.write_text("is halfway")
    pid = folder / "child.pid"
    far = list[int]()

    def look() -> None:
        if pid.exists() and (seen := read_progress(work.path)):
            far.append(json.loads(work.path.read_text())["percent"])
            os.kill(int(pid.read_text()), 9)
            assert seen.state == "BUILD"

    workshop = ChildWorkshop(
        folder / "config.yaml", current_in(folder), WorkSection(), lambda: False, HEAVY, look, progress=work
    )
    with pytest.raises(RuntimeFault, match="SIGKILL"):
        workshop.build("tiny", bundle)
    assert far
    assert far[0] in (25, 50)
    assert not work.path.exists()
