"""What the configuration says is what the adapters get."""

import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from appliance.bundle.archive import read_bundle
from appliance.bundle.proof import prove
from appliance.config import MAX_THREADS, Config, RuntimeSection
from appliance.documents import parse_document
from appliance.engine import default_threads, make_runtime
from appliance.errors import BundleSlowError
from appliance.events import Pixels
from appliance.optics.alignment import Aligner, Alignment
from appliance.optics.detector import Detector
from appliance.products import latency_budget_ms
from appliance.recipe import BoundRecipe, Recipe
from appliance.stages.infer import Inference
from appliance.wiring import image_policy
from tests.inspections import make_document, view_document
from tests.models import tiny_bundle
from tests.references import board, reference_section


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
    code = "import gc; from appliance.wiring import settle; settle(); print(gc.get_freeze_count())"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(told.stdout) > 10_000


def test_this_computer_is_asked_how_many_cores_it_has(tmp_path: Path) -> None:
    bundle = read_bundle(tiny_bundle(tmp_path / "tiny.bundle"))
    runtime = make_runtime(RuntimeSection(), bundle)
    assert f"threads={max(1, min(len(os.sched_getaffinity(0)) - 1, MAX_THREADS))}" in runtime.describe()
    runtime.close()


class SlowAligner(Aligner):
    """Takes its time, as on a weak device."""

    def __call__(self, picture: Pixels) -> Alignment:
        threading.Event().wait(0.03)
        return super().__call__(picture)


def slowed(recipe: BoundRecipe) -> BoundRecipe:
    slow = {
        view: tuple(replace(each, aligner=SlowAligner(each.pixels)) for each in references)
        for view, references in recipe.references.items()
    }
    return replace(recipe, references=slow)


def test_the_time_that_laying_references_takes_is_not_the_models(tmp_path: Path) -> None:
    bundle = read_bundle(tiny_bundle(tmp_path / "tiny.bundle", 320, 320, channels=2))
    section = reference_section(tmp_path, board(1), board(2))
    document = make_document(view_document(width_px=320, height_px=320, reference=section))
    recipe = document.into(Recipe).bind(bundle.manifest, document)
    runtime = make_runtime(RuntimeSection(threads=1), bundle)
    inference = Inference(recipe, bundle.manifest, runtime)
    whole_ms = recipe.deadline_ms - recipe.answer_reserve_ms
    assert latency_budget_ms(replace(recipe, references={}), inference) == whole_ms
    assert 0 < latency_budget_ms(recipe, inference) < whole_ms
    assert latency_budget_ms(slowed(recipe), inference) <= whole_ms - 2 * 30
    hurried = replace(slowed(recipe), deadline_ms=recipe.answer_reserve_ms + 50)
    budget_ms = latency_budget_ms(hurried, inference)
    assert budget_ms == 0
    with pytest.raises(BundleSlowError, match="use a smaller model, or take work off this device"):
        prove(bundle, Detector(runtime, bundle.manifest).detect, latency_budget_ms=budget_ms)
    runtime.close()
