"""A recipe at whose limits no golden image turns a verdict: its proof says less, and everybody is told."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from appliance.__main__ import main
from appliance.bundle.archive import read_bundle
from appliance.bundle.limits import Limits, bundles_limits, golden_lacks, one_sided
from appliance.certification.certificate import Certificate, read_certificate
from appliance.demo.station import SHIPPED_BUNDLE
from tests.models import tiny_bundle, tiny_manifest, tiny_model
from tests.plant import RECIPE, write_station
from tests.planted import honest_golden, int8_that_finds_more, write

LATE = {"reject_limit": 0.95}
"""Above each score of a spot of grey 230; the bundle's own limit is 0.5."""


@pytest.fixture
def station(tmp_path: Path) -> Path:
    tiny_bundle(tmp_path / "tiny.bundle")
    return write_station(tmp_path)


def proved(station: Path, limits: dict[str, float], **settings: Any) -> Certificate:
    """Prove with such limits of the recipe, and return the certificate."""
    (station.parent / "recipe.yaml").write_text(yaml.safe_dump(RECIPE | {"classes": {"spot": limits}}))
    station.write_text(yaml.safe_dump(yaml.safe_load(station.read_text()) | {"runtime": {"threads": 1, **settings}}))
    written = station.parent / "written.json"
    assert main(["prove", "--config", str(station), "--json", str(written)]) == 0
    return read_certificate(written.read_bytes(), "written")


@pytest.mark.parametrize("limits", [{}, LATE, LATE | {"accept_limit": 0.93}, LATE | {"accept_limit": 0.5}])
def test_the_gate_of_8_bits_says_something_whatever_the_recipes_limits(station: Path, limits: dict[str, float]) -> None:
    int8_that_finds_more(station.parent / "tiny.bundle", brightest=230)
    certificate = proved(station, limits, precision="int8")
    assert certificate.means.precision == "f32"
    (refused,) = certificate.refused
    assert "AP against model.onnx is " in refused


def test_limits_that_no_golden_image_reaches_are_told_by_prove_and_its_certificate(
    station: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    int8_that_finds_more(station.parent / "tiny.bundle", brightest=230)
    words = "at the recipe's limits (spot 0.95) no golden image is rejected"
    certificate = proved(station, LATE)
    assert certificate.result.golden_lacks == certificate.summary().golden_lacks
    assert str(certificate.result.golden_lacks).endswith(f"; {words}")
    remedy = "move the recipe's limits nearer to the bundle's own, or export the bundle anew"
    assert f"{words}: {remedy}" in capsys.readouterr().out
    assert words not in str(proved(station, LATE | {"accept_limit": 0.6}).result.golden_lacks)
    assert words not in str(proved(station, {}).result.golden_lacks)


def test_limits_that_every_golden_image_reaches_are_told_too(tmp_path: Path) -> None:
    bundle = read_bundle(write(tmp_path / "b.bundle", tiny_model(64, 64), honest_golden()[1:], tiny_manifest()))
    words = "at the recipe's limits (spot 0.5) no golden image is accepted"
    assert one_sided(bundle, bundles_limits(bundle)) == words
    assert golden_lacks(bundle, bundles_limits(bundle)) == f"{golden_lacks(bundle)}; {words}"


def test_check_says_what_to_do_about_such_limits(station: Path, capsys: pytest.CaptureFixture[str]) -> None:
    int8_that_finds_more(station.parent / "tiny.bundle", brightest=230)
    proved(station, LATE)
    capsys.readouterr()
    main(["check", "--config", str(station), "--json"])
    (golden,) = (each for each in json.loads(capsys.readouterr().out) if each["what"] == "golden images")
    assert "at the recipe's limits (spot 0.95) no golden image is rejected" in golden["seen"]
    assert golden["remedy"].startswith("move the recipe's limits nearer to the bundle's own, export the bundle anew")
    assert not golden["is_ok"]


def test_of_many_classes_a_few_are_named() -> None:
    bundle = read_bundle(SHIPPED_BUNDLE)
    limits = Limits({}, dict.fromkeys([f"{number:04d}-{'x' * 60}" for number in range(1000)], 1.0))
    assert one_sided(bundle, limits).endswith("and 995 more) no golden image is rejected")
    assert len(golden_lacks(bundle, limits)) < 500
