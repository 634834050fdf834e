"""Building and proving in a child process: what kills it, or takes too long or too much, is a failure with a reason."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import yaml

from appliance.agent_workshop import ChildWorkshop
from appliance.bundle.archive import read_bundle
from appliance.certification.certificate import read_certificate
from appliance.errors import BundleProofError, BundleSlowError, ConfigError, RuntimeFault
from appliance.update.kinds import InterruptedWorkError
from appliance.update.settings import WorkSection
from tests.models import tiny_bundle
from tests.plant import RECIPE, write_station
from tests.planted import slow_everywhere, wrong_normalisation
from tests.stations import until
from tests.tiny_releases import NAME
from tests.update_agent import Fleet
from tests.update_server import UpdateServer

ROOT = Path(__file__).parents[2]
HEAVY = "tests.heavy_release"


def nobody() -> bool:
    return False


def workshop(folder: Path, *, child: str = "appliance.agent_child", is_wanted: Callable[[], bool] = nobody,
             **limits: int) -> ChildWorkshop:  # fmt: skip
    return ChildWorkshop(
        folder / "config.yaml", lambda name: folder / "models" / name / "current.bundle", WorkSection(**limits),
        is_wanted, child,
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    config = yaml.safe_load(write_station(tmp_path).read_text())
    config |= {"bundle": "models/tiny/current.bundle", "runtime": {"threads": 1}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    return tmp_path


def test_a_good_release_gets_its_certificate_among_the_stations(folder: Path) -> None:
    bundle = tiny_bundle(folder / "candidate.bundle", revision=2)
    assert "onnxruntime" in workshop(folder).build("tiny", bundle)
    proved = workshop(folder).prove("tiny", bundle)
    (kept,) = (folder / "certificates").iterdir()
    certificate = read_certificate(kept.read_bytes(), "kept")
    assert certificate.subject.bundle_digest == read_bundle(bundle).digest
    assert proved.words == f"certificate {certificate.id[:12]} of recipe spots"
    assert proved.p99_ms == certificate.result.latency_ms.p99
    assert proved.budget_ms == certificate.result.budget_ms, "one tile, so a part is a picture"


@pytest.mark.parametrize(
    ("plant", "kind", "words"),
    [
        (wrong_normalisation, BundleProofError, "does not do here"),
        (lambda path: slow_everywhere(path, rounds=150), BundleSlowError, "ms"),
        (tiny_bundle, ConfigError, "name it there"),
    ],
)
def test_a_refusal_is_told_as_what_it_is(
    folder: Path, plant: Callable[[Path], Path], kind: type[Exception], words: str
) -> None:
    name = "other" if kind is ConfigError else "tiny"
    if kind is BundleSlowError:
        hurried = RECIPE | {"deadline_ms": 11, "answer_reserve_ms": 10}
        (folder / "recipe.yaml").write_text(yaml.safe_dump(hurried))
    with pytest.raises(kind, match=words) as found:
        workshop(folder).prove(name, plant(folder / "candidate.bundle"))
    assert type(found.value) is kind


@pytest.mark.parametrize(
    ("what", "words"),
    [("eats", "it needs more memory"), ("dies", r"crashed \(SIGKILL\)"), ("hangs", "took too long")],
)
def test_what_ends_the_child_is_a_failure_in_words_and_ends_nothing_else(folder: Path, what: str, words: str) -> None:
    bundle = folder / "candidate.bundle"
    bundle.write_text(what)
    with pytest.raises(RuntimeFault, match=words):
        workshop(folder, child=HEAVY, prove_s=3 if what == "hangs" else 30, memory_mb=200).prove("tiny", bundle)


def test_the_shipped_child_holds_its_memory_limit(folder: Path) -> None:
    bundle = tiny_bundle(folder / "candidate.bundle")
    with pytest.raises(RuntimeFault, match=r"memory|crashed|ended with"):
        workshop(folder, memory_mb=16).prove("tiny", bundle)


def test_a_person_who_needs_the_agent_need_not_wait_for_a_child(folder: Path) -> None:
    bundle = folder / "candidate.bundle"
    bundle.write_text("hangs")
    started = folder / "child.pid"
    with pytest.raises(InterruptedWorkError, match="is done again"):
        workshop(folder, child=HEAVY, is_wanted=started.exists).prove("tiny", bundle)
    assert not Path(f"/proc/{started.read_text()}").exists()


def test_what_works_goes_last_and_only_what_is_too_slow_there_is_measured_at_the_lines_priority(folder: Path) -> None:
    bundle = folder / "candidate.bundle"
    last, beside = "idle 19 idle, along", "other 0 idle, apart"
    for what, told in (("says how", [last]), ("is slow", [last, beside])):
        bundle.write_text(what)
        proved = workshop(folder, child=HEAVY).prove("tiny", bundle)
        assert (folder / "priorities").read_text().splitlines() == told
        assert proved.words == what
        (folder / "priorities").unlink()
    bundle.write_text("says how")
    workshop(folder, child=HEAVY).build("tiny", bundle)
    assert (folder / "priorities").read_text() == f"{last}\n"


def test_a_child_ends_with_its_agent(folder: Path) -> None:
    bundle = folder / "candidate.bundle"
    bundle.write_text("hangs")
    code = f"""
from pathlib import Path
from tests.unit.test_agent_workshop import HEAVY, workshop
workshop(Path({str(folder)!r}), child=HEAVY).prove("tiny", Path({str(bundle)!r}))
"""
    agent = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)})
    pid = folder / "child.pid"
    until(lambda: pid.exists() and pid.read_text(), "the child works")
    agent.kill()
    agent.wait()
    until(lambda: is_gone(int(pid.read_text())), "the child has ended")


def is_gone(pid: int) -> bool:
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    return True


@pytest.mark.parametrize("what", ["dies", "eats"])
def test_three_ended_children_are_a_quarantine_with_the_reason(tmp_path: Path, what: str) -> None:
    fleet = Fleet(tmp_path)
    with UpdateServer(fleet.repository.files) as server:
        device = fleet.device(tmp_path / "device", server)
        before = device.in_force()
        fleet.offer(2)

        class Deadly(ChildWorkshop):
            def _work(self, task, name, bundle, limit_s, *more):  # type: ignore[no-untyped-def]
                plan = tmp_path / "plan"
                plan.write_text(what)
                return super()._work(task, name, plan, limit_s, *more)

        limits = WorkSection(memory_mb=200)
        current = device.kind.slots(NAME).current
        device.workshop = Deadly(device.station, lambda name: current, limits, threading.Event().is_set, HEAVY)
        update = device.update()
    assert (update.progress.outcome, update.progress.tries) == ("quarantined", 3)
    assert ("SIGKILL" if what == "dies" else "memory") in update.reason
    assert device.in_force() == before
