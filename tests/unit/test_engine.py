"""The engine that judges: which of the bundle's models it takes, and that none is replaced in silence."""

import json
import logging
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from appliance.bundle.archive import Bundle, read_bundle
from appliance.bundle.manifest import VariantName
from appliance.check import look
from appliance.config import RuntimeSection
from appliance.engine import choose, instances
from appliance.errors import BundleProofError, ConfigError, RuntimeFault
from appliance.processor import multiplies_int8
from appliance.wiring import build
from tests.accelerator import why_no_driver, why_no_rtx
from tests.activated import activated
from tests.models import tiny_bundle, tiny_model
from tests.plant import write_station


def tensorrt(path: Path, **keys: object) -> RuntimeSection:
    """A runtime section for TensorRT, which has no threads."""
    return RuntimeSection.model_validate({"kind": "tensorrt", "engines": path / "engines", **keys})


def holding(path: Path, *names: VariantName) -> Bundle:
    variants = {name: tiny_model(64, 64) for name in names}
    return read_bundle(tiny_bundle(path / f"{'_'.join(names)}.bundle", variants=variants))


def bundle_of(path: Path, *, int8_is_right: bool = True) -> Bundle:
    return read_bundle(tiny_bundle(path / "tiny.bundle", variants={"int8": tiny_model(64, 64, dark=not int8_is_right)}))


def section(**keys: object) -> RuntimeSection:
    return RuntimeSection.model_validate({"threads": 1, **keys})


def test_onnx_runtime_stays_with_f32_and_openvino_takes_int8_where_the_processor_multiplies_it(tmp_path: Path) -> None:
    bundle, plain = bundle_of(tmp_path), read_bundle(tiny_bundle(tmp_path / "plain.bundle"))
    assert choose(section(), bundle) == "f32"
    assert choose(section(kind="openvino"), bundle) == ("int8" if multiplies_int8() else "f32")
    assert choose(section(kind="openvino"), plain) == "f32"
    assert choose(section(kind="openvino", precision="f32"), bundle) == "f32"
    assert choose(section(kind="openvino", precision="bf16"), bundle) == "bf16"
    assert choose(section(precision="int8"), bundle) == "int8"


@pytest.mark.parametrize(
    ("keys", "cores", "parts"),
    [
        ({}, 1, 1),
        ({}, 2, 2),  # a thread each
        ({}, 4, 1),  # one inference takes three of them
        ({"threads": 1}, 8, 2),
        ({"threads": 2}, 2, 1),
        ({"threads": 8}, 2, 1),
        ({"threads": 1, "instances": 5}, 2, 5),
        ({"providers": ("CUDAExecutionProvider",)}, 2, 1),
        ({"kind": "openvino"}, 2, 2),
        ({"kind": "tensorrt", "engines": Path("/engines")}, 2, 1),
    ],
)
def test_as_many_parts_at_once_as_the_cores_have_room_for(keys: dict[str, object], cores: int, parts: int) -> None:
    assert instances(RuntimeSection.model_validate(keys), cores) == parts


def test_tensorrt_takes_fp16_by_itself_and_int8_only_where_it_is_asked_to(tmp_path: Path) -> None:
    both = holding(tmp_path, "fp16", "int8")
    assert choose(tensorrt(tmp_path), both) == "fp16"
    assert choose(tensorrt(tmp_path), holding(tmp_path, "int8")) == "f32"
    assert choose(tensorrt(tmp_path), holding(tmp_path)) == "f32"
    assert choose(tensorrt(tmp_path, precision="int8"), both) == "int8"
    assert choose(tensorrt(tmp_path, precision="f32"), both) == "f32"


def test_a_dla_is_refused_where_the_f32_model_would_judge(tmp_path: Path) -> None:
    assert choose(tensorrt(tmp_path, dla_core=0), holding(tmp_path, "fp16")) == "fp16"
    with pytest.raises(ConfigError, match=r"runtime.dla_core: a DLA computes with 16 or 8 bits, and bundle tiny"):
        choose(tensorrt(tmp_path, dla_core=1), holding(tmp_path))


@pytest.mark.parametrize("keys", [{"dla_core": 2}, {"dla_core": -1}, {"kind": "onnx", "engines": None, "dla_core": 0}])
def test_a_dla_is_one_of_two_and_tensorrts_alone(tmp_path: Path, keys: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match="dla_core"):
        tensorrt(tmp_path, **keys)


def test_openvino_and_onnx_runtime_leave_fp16_alone_unless_they_are_asked(tmp_path: Path) -> None:
    bundle = holding(tmp_path, "fp16")
    assert choose(section(), bundle) == choose(section(kind="openvino"), bundle) == "f32"
    assert choose(section(precision="fp16"), bundle) == "fp16"


def test_tensorrt_is_not_asked_for_a_model_that_the_bundle_does_not_hold(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"fp16 is not in bundle tiny revision 1, which holds f32, int8"):
        choose(tensorrt(tmp_path, precision="fp16"), holding(tmp_path, "int8"))


@pytest.mark.skipif(not why_no_driver(), reason="this computer has an accelerator")
@pytest.mark.skipif(bool(why_no_rtx()), reason=f"TensorRT for RTX is absent: {why_no_rtx()}")
def test_an_accelerator_that_refuses_the_fp16_model_is_asked_for_the_f32_model_and_both_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(RuntimeFault, match="no NVIDIA driver"):
        activated(tmp_path, tensorrt(tmp_path), holding(tmp_path, "fp16"))
    assert "the fp16 model may not judge here, the f32 model is tried instead: this computer has no" in caplog.text


def test_a_model_that_the_bundle_does_not_hold_is_a_matter_of_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"int8 is not in bundle tiny revision 1, which holds f32; configure auto"):
        choose(section(precision="int8"), read_bundle(tiny_bundle(tmp_path / "plain.bundle")))


@pytest.mark.parametrize("keys", [{"kind": "openvino", "precision": "fp16"}, {"precision": "bf16"}])
def test_a_precision_of_another_runtime_is_refused(keys: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match="is not for the runtime"):
        section(**keys)


def test_bf16_is_nothing_to_tensorrt(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="bf16 is not for the runtime tensorrt; configure auto"):
        tensorrt(tmp_path, precision="bf16")


@pytest.mark.parametrize(
    ("flags", "is_able"), [("fpu avx2", False), ("fpu avx512_vnni", True), ("avx_vnni", True), ("amx_int8 sse", True)]
)
def test_the_processor_tells_whether_it_multiplies_int8(tmp_path: Path, flags: str, is_able: bool) -> None:
    told = tmp_path / "cpuinfo"
    told.write_text(f"processor\t: 0\nmodel name\t: avx512_vnni\nflags\t\t: {flags}\n\nprocessor\t: 1\n")
    assert multiplies_int8(told) is is_able
    assert multiplies_int8(tmp_path / "none") is False


def test_the_model_that_was_asked_for_judges_if_it_proves_itself(tmp_path: Path) -> None:
    engine = activated(tmp_path, section(precision="int8"), bundle_of(tmp_path))
    assert (engine.precision, engine.refused) == ("int8", "")
    assert " int8 " in engine.describe()
    assert engine.certificate.result.detections == 3


def test_a_model_that_fails_its_proof_is_replaced_by_the_f32_model_and_everybody_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = write_station(tmp_path)
    document = yaml.safe_load(config.read_text()) | {"runtime": {"precision": "int8", "threads": 1}}
    config.write_text(yaml.safe_dump(document))
    bundle_of(tmp_path, int8_is_right=False)
    with caplog.at_level(logging.WARNING), build(config) as appliance:
        told = appliance.station.on_command("status", {})
        in_records = appliance.versions.runtime
    assert in_records.endswith(" CPU f32 threads=1 instead of a faster model that was refused")
    assert "int8: bundle tiny revision 1 does not do here what it did at the trainer" in json.dumps(told)
    assert "the int8 model may not judge here, the f32 model is tried instead" in caplog.text
    finding = next(each for each in look(config) if each.what == "runtime and proof")
    assert not finding.is_ok
    assert "refused int8: " in finding.seen
    assert "configure precision: f32" in finding.remedy


def test_where_the_f32_model_fails_too_nothing_judges(tmp_path: Path) -> None:
    wrong = tiny_model(64, 64, dark=True)
    bundle = read_bundle(tiny_bundle(tmp_path / "t.bundle", model_onnx=wrong, variants={"int8": wrong}))
    with pytest.raises(BundleProofError):
        activated(tmp_path, section(precision="int8"), bundle)
