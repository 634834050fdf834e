"""What the device could not do at one start is no verdict on the model: the next start tries the better one again."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from appliance.activation import Engine
from appliance.bundle.archive import Bundle, read_bundle
from appliance.certification.certificate import Computed
from appliance.check import look
from appliance.config import RuntimeSection, load_config
from appliance.engine import make_runtime
from appliance.errors import AnswerFault, BundleProofError, EngineFault, RuntimeFault
from appliance.ports import Runtime
from appliance.products import load_products
from appliance.runtime_pool import RuntimePool
from tests.activated import activated
from tests.models import tiny_bundle, tiny_model
from tests.plant import write_station

INT8 = RuntimeSection(threads=1, precision="int8")
NO_MEMORY = RuntimeFault("CUDA could not allocate 64 bytes: cudaErrorMemoryAllocation")


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return read_bundle(tiny_bundle(tmp_path / "t.bundle", variants={"int8": tiny_model(64, 64)}))


def failing(error: Exception, *precisions: str) -> Callable[..., Runtime]:
    """Return what loads models on a device where these precisions fail."""

    def make(settings: RuntimeSection, bundle: Bundle, precision: Computed, may_build: bool, copy: int) -> Runtime:
        if precision in precisions:
            raise error
        return make_runtime(settings, bundle, precision, may_build, copy)

    return make


def start(folder: Path, bundle: Bundle, make: Callable[..., Runtime] = make_runtime, **changes: Any) -> Engine:
    engine = activated(folder, INT8, bundle, pool=RuntimePool(make), **changes)
    engine.close()
    return engine


def test_a_device_without_memory_costs_one_start_and_not_the_ones_after_it(tmp_path: Path, bundle: Bundle) -> None:
    monday = start(tmp_path, bundle)
    tuesday = start(tmp_path, bundle, failing(NO_MEMORY, "int8"))
    assert (monday.precision, tuesday.precision) == ("int8", "f32")
    assert tuesday.refused == f"int8: {NO_MEMORY}"
    assert tuesday.certificate.put_aside == ("int8",)
    wednesday = start(tmp_path, bundle)
    assert (wednesday.certificate, wednesday.why_proved, wednesday.refused) == (monday.certificate, (), "")


def test_while_the_device_still_fails_the_certificate_of_the_next_model_is_enough(
    tmp_path: Path, bundle: Bundle, caplog: pytest.LogCaptureFixture
) -> None:
    start(tmp_path, bundle)
    busy = failing(NO_MEMORY, "int8")
    tuesday = start(tmp_path, bundle, busy)
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        wednesday = start(tmp_path, bundle, busy)
    assert (wednesday.certificate, wednesday.why_proved) == (tuesday.certificate, ())
    assert f"the int8 model does not run on this device just now: {NO_MEMORY}" in caplog.text
    assert start(tmp_path, bundle, busy, may_prove=False).certificate == tuesday.certificate


def test_beside_a_line_the_model_that_was_proved_last_judges_and_nothing_in_its_place(
    tmp_path: Path, bundle: Bundle
) -> None:
    start(tmp_path, bundle)
    tuesday = start(tmp_path, bundle, failing(NO_MEMORY, "int8"))
    assert start(tmp_path, bundle, may_prove=False).certificate == tuesday.certificate
    int8 = start(tmp_path, bundle, again=True)
    assert start(tmp_path, bundle, may_prove=False).certificate == int8.certificate
    with pytest.raises(BundleProofError, match="cudaErrorMemoryAllocation"):
        start(tmp_path, bundle, failing(NO_MEMORY, "int8"), may_prove=False)


@pytest.mark.parametrize("error", [EngineFault("the engine crashed"), AnswerFault("NaN"), BundleProofError("is wrong")])
def test_a_verdict_on_the_model_stays_until_a_new_proof_is_asked_for(
    tmp_path: Path, bundle: Bundle, error: Exception
) -> None:
    start(tmp_path, bundle)
    refused = start(tmp_path, bundle, failing(error, "int8"))
    assert (refused.precision, refused.certificate.put_aside) == ("f32", ())
    after = start(tmp_path, bundle)
    assert (after.certificate, after.why_proved) == (refused.certificate, ())
    assert start(tmp_path, bundle, again=True).precision == "int8"


def test_a_better_model_that_was_never_proved_is_not_proved_at_a_start_that_has_a_certificate(
    tmp_path: Path, bundle: Bundle
) -> None:
    first = start(tmp_path, bundle, failing(NO_MEMORY, "int8"))
    assert start(tmp_path, bundle).certificate == first.certificate
    assert start(tmp_path, bundle, again=True).precision == "int8"


def test_an_older_certificate_of_a_lesser_model_does_not_spare_the_better_one_its_proof(
    tmp_path: Path, bundle: Bundle
) -> None:
    start(tmp_path, bundle, failing(NO_MEMORY, "int8"))
    int8 = start(tmp_path, bundle, again=True)
    (newest,) = (path for path in (tmp_path / "certificates").iterdir() if int8.certificate.id[:16] in path.name)
    changed = start(tmp_path, bundle, with_a_newer_int8)
    assert newest.exists()
    assert changed.precision == "int8"
    assert changed.why_proved[0].startswith("the runtime was")


class Renamed:
    """The int8 model in a runtime of another version."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self.infer, self.close = runtime.infer, runtime.close

    def describe(self) -> str:
        return self._runtime.describe().replace("onnxruntime", "newer onnxruntime")


def with_a_newer_int8(
    settings: RuntimeSection, bundle: Bundle, precision: Computed, may_build: bool, copy: int
) -> Runtime:
    runtime = make_runtime(settings, bundle, precision, may_build, copy)
    return Renamed(runtime) if precision == "int8" else runtime


def test_check_says_that_the_device_failed_and_what_to_do(tmp_path: Path) -> None:
    config = write_station(tmp_path)
    document = yaml.safe_load(config.read_text()) | {"runtime": {"precision": "int8", "threads": 1}}
    config.write_text(yaml.safe_dump(document))
    tiny_bundle(tmp_path / "tiny.bundle", variants={"int8": tiny_model(64, 64)})
    loaded, known = load_config(config)
    load_products(loaded, known, "", pool=RuntimePool(failing(NO_MEMORY, "int8"))).close()
    finding = next(each for each in look(config) if each.what == "runtime and proof")
    assert not finding.is_ok
    assert f"refused int8: {NO_MEMORY}" in finding.seen
    assert "the device failed on the int8 model, give it what it lacked, then try once more" in finding.remedy
