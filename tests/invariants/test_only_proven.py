"""Invariant 6: only a bundle that this device proves at this start may judge; nothing else reaches a station."""

from collections.abc import Callable
from pathlib import Path

import pytest

from appliance.bundle.archive import read_bundle, write_bundle
from appliance.bundle.golden import GoldenImage
from appliance.errors import BundleError, BundleProofError, ConfigError, RuntimeFault
from appliance.ports import TriggerRequest
from appliance.wiring import build
from tests.models import Fault, spot_detection, spot_picture, tiny_bundle
from tests.plant import write_station


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return write_station(tmp_path)


def rewrite(path: Path, golden: GoldenImage) -> None:
    honest = read_bundle(tiny_bundle(path))
    parts = {"model_onnx": honest.model_onnx, "baseline": honest.baseline, "model_card": honest.model_card}
    write_bundle(path, honest.manifest, golden=[golden], **parts)  # type: ignore[arg-type]


def golden(*detections: tuple[int, int, int]) -> GoldenImage:
    picture = spot_picture(64, 64, [(1, 1, 200)])
    return GoldenImage.from_pixels(picture, tuple(spot_detection(*each) for each in detections))


def test_a_proven_bundle_judges_and_its_digest_is_in_the_record(config: Path) -> None:
    digest = read_bundle(tiny_bundle(config.parent / "tiny.bundle")).digest
    with build(config) as appliance:
        assert appliance.certificate.subject.bundle_digest == digest
        appliance.station.on_trigger(TriggerRequest("t-1", "part-1"))
    with build(config) as again:
        record = again.ledger.find("t-1")
    assert record is not None
    assert digest in record.payload


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ("missed", lambda path: rewrite(path, golden((1, 1, 200), (2, 2, 200)))),
        ("invented", lambda path: rewrite(path, golden())),
        ("elsewhere", lambda path: rewrite(path, golden((1, 2, 200)))),
        ("less sure", lambda path: rewrite(path, golden((1, 1, 140)))),
    ],
)
def test_a_bundle_that_finds_other_things_here_than_at_the_trainer_judges_nothing(
    config: Path, what: str, expected: Callable[[Path], None]
) -> None:
    expected(config.parent / "tiny.bundle")
    with pytest.raises(BundleProofError, match="golden/000"):
        build(config)
    assert not (config.parent / "ledger.db").exists(), what


@pytest.mark.parametrize("fault", ["nan", "loud", "rank", "short", "names", "float_input", "label", "opset"])
def test_a_model_outside_the_contract_judges_nothing(config: Path, fault: Fault) -> None:
    tiny_bundle(config.parent / "tiny.bundle", fault=fault)
    with pytest.raises((BundleError, RuntimeFault)):
        build(config)


def test_a_bundle_changed_by_one_bit_judges_nothing(config: Path) -> None:
    path = tiny_bundle(config.parent / "tiny.bundle")
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1
    path.write_bytes(data)
    with pytest.raises(BundleError):
        build(config)


def test_a_missing_bundle_is_said_in_words(config: Path) -> None:
    with pytest.raises((BundleError, ConfigError), match=r"tiny\.bundle"):
        build(config)
