"""What the configuration says is what the adapters get."""

import gc
import os
from pathlib import Path

import pytest
import yaml

from appliance.bundle.archive import read_bundle
from appliance.config import MAX_THREADS, Config, RuntimeSection
from appliance.documents import parse_document
from appliance.wiring import default_threads, image_policy, make_runtime, settle
from tests.models import tiny_bundle


def config(**changes: object) -> Config:
    document = {
        "schema": "vi.config/1",
        "device": {"device_id": "d", "enterprise": "e", "site": "s", "area": "a", "line": "l", "station": "t"},
        "bundle": "tiny.bundle",
        "recipe": "recipe.yaml",
        "ledger": {"path": "ledger.db"},
        "images": {"directory": "images", "quota_mb": 20, "min_free_mb": 3},
        "cameras": {"top": {"type": "folder", "directory": "pictures"}},
    } | changes
    return parse_document(Path("config.yaml"), yaml.safe_dump(document).encode()).into(Config)


def test_a_megabyte_is_a_million_bytes() -> None:
    policy = image_policy(config())
    assert policy.quota_bytes == 20_000_000
    assert policy.min_free_bytes == 3_000_000


@pytest.mark.parametrize(("asked", "given"), [(2, 2), (64, 64)])
def test_the_runtime_gets_the_threads_that_were_asked_for(asked: int, given: int, tmp_path: Path) -> None:
    bundle = read_bundle(tiny_bundle(tmp_path / "tiny.bundle"))
    runtime = make_runtime(RuntimeSection(threads=asked), bundle)
    assert f"threads={given}" in runtime.describe()
    runtime.close()


def test_the_most_threads_that_a_configuration_may_ask_for_are_taken(tmp_path: Path) -> None:
    bundle = read_bundle(tiny_bundle(tmp_path / "tiny.bundle"))
    make_runtime(RuntimeSection(threads=MAX_THREADS), bundle).close()


@pytest.mark.parametrize(("cores", "given"), [(1, 1), (2, 1), (6, 5), (200, MAX_THREADS)])
def test_the_model_leaves_one_core_to_the_rest_of_the_station(cores: int, given: int) -> None:
    assert default_threads(cores) == given


def test_what_a_start_has_made_is_not_looked_through_for_garbage_again() -> None:
    settle()
    frozen = gc.get_freeze_count()
    gc.unfreeze()
    assert frozen > 10_000


def test_this_computer_is_asked_how_many_cores_it_has(tmp_path: Path) -> None:
    bundle = read_bundle(tiny_bundle(tmp_path / "tiny.bundle"))
    runtime = make_runtime(RuntimeSection(), bundle)
    assert f"threads={max(1, min(len(os.sched_getaffinity(0)) - 1, MAX_THREADS))}" in runtime.describe()
    runtime.close()
