"""A release on a device that changed under the running station: its own latency is proved again on its own parts."""

from pathlib import Path
from typing import Any

import pytest

from appliance.device_watch import FREE_LOOKS
from appliance.latency_watch import LIVE_RUNS
from appliance.ports import TriggerRequest
from appliance.wiring import Appliance, build
from tests.device_root import CALM, COOL_GPU, GPU_CLOCK, HOT_GPU, JETSON, write
from tests.line import eventually
from tests.models import tiny_bundle
from tests.plant import RECIPE, write_station
from tests.releases import prove_recipe, prove_release, recipe_release, release, release_file, with_releases

SLOWER_MODE = {"var/lib/nvpmodel/status": "pmode:0000"}
LOWER_CLOCK = {f"{GPU_CLOCK}/max_freq": "612000000\n"}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A station of one product, `spots`, judged by revision 5."""
    path = write_station(tmp_path)
    tiny_bundle(tmp_path / "tiny.bundle", revision=5)
    (tmp_path / "releases").mkdir()
    with_releases(path, max_capture_delay_ms=60_000)  # on a busy computer each part is shown to the model, too
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write(tmp_path / "root", JETSON | CALM)


def parts(appliance: Appliance, count: int) -> None:
    """Let parts come one after the other, each when the one before has its verdict."""
    for _ in range(count):
        name = f"t-{appliance.ledger.last_seq() + 1}"
        appliance.station.on_trigger(TriggerRequest(name, name))
        assert eventually(lambda name=name: appliance.ledger.find(name) is not None)


def proved(config: Path, root: Path) -> tuple[Path, Path]:
    """Prove the release that judges, and a newer one; returns both."""
    older, newer = (release_file(config.parent / "releases", revision) for revision in (5, 6))
    for each in (older, newer):
        prove_release(config, each, root=root)
    return older, newer


def device(appliance: Appliance) -> dict[str, Any]:
    appliance.device_watch.look()
    status: dict[str, Any] = appliance.station.on_command("status", {})["device"]
    return status


def test_a_rollback_to_a_kept_release_on_a_changed_device_is_measured_for_itself(config: Path, root: Path) -> None:
    older, newer = proved(config, root)
    with build(config, device_root=root) as appliance:
        assert release(appliance, "spots", newer, keeps_former=True)["ok"]
        parts(appliance, 1)
        write(root, SLOWER_MODE)
        assert len(device(appliance)["changed"]) == 1
        parts(appliance, LIVE_RUNS)
        measured = device(appliance)
        assert (measured["latency"]["certificate"], measured["latency_parts_needed"]) == (appliance.certificate.id, 0)
        assert release(appliance, "spots", older, rollback=True)["ok"]
        parts(appliance, 1)
        again = device(appliance)
        assert (again["latency_parts"], again["latency_parts_needed"]) == (1, LIVE_RUNS)
        parts(appliance, LIVE_RUNS - 1)
        assert device(appliance)["latency"]["certificate"] == appliance.certificate.id


def test_what_was_measured_of_a_release_is_forgotten_when_another_one_judges(config: Path, root: Path) -> None:
    older, newer = proved(config, root)
    with build(config, device_root=root) as appliance:
        assert release(appliance, "spots", newer, keeps_former=True)["ok"]
        write(root, SLOWER_MODE)
        device(appliance)
        parts(appliance, 3)
        assert device(appliance)["latency_parts"] == 3
        assert release(appliance, "spots", older, rollback=True)["ok"]
        assert device(appliance)["latency_parts"] == 0


def test_a_recipe_with_a_shorter_deadline_is_held_to_it_when_the_device_changes(config: Path, root: Path) -> None:
    package = recipe_release(config, 2, RECIPE, deadline_ms=1000)
    prove_recipe(config, package, root=root)
    with build(config, device_root=root) as appliance:
        parts(appliance, 1)
        assert release(appliance, "spots", package)["ok"]
        write(root, SLOWER_MODE)
        device(appliance)
        parts(appliance, LIVE_RUNS)
        assert device(appliance)["latency"]["budget_ms"] == 900.0


def test_a_station_that_starts_in_the_heat_takes_releases_and_nothing_has_changed_when_it_cools(
    config: Path, root: Path
) -> None:
    newer = release_file(config.parent / "releases", 6)
    for each in (config.parent / "tiny.bundle", newer):
        prove_release(config, each, root=root)
    write(root, HOT_GPU | LOWER_CLOCK)
    with build(config, device_root=root) as appliance:
        assert device(appliance)["throttled"]
        assert release(appliance, "spots", newer)["changed"]
        write(root, COOL_GPU | {name: JETSON[name] for name in LOWER_CLOCK})
        for _ in range(FREE_LOOKS):
            told = device(appliance)
            assert told["changed"] == []
        assert told["throttled"] == []
