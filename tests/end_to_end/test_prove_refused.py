"""appliance prove --json: a program reads why there is no certificate, and never an older one in its place."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from appliance.__main__ import main
from appliance.bundle.archive import read_bundle
from appliance.bundle.golden import GoldenImage
from appliance.bundle.manifest import Tolerance
from appliance.certification.refusal import Refusal
from tests.models import spot_detection, spot_picture, tiny_bundle, tiny_manifest, tiny_model
from tests.plant import write_station
from tests.planted import int8_gone_bad, tolerates, write, wrong_normalisation
from tests.products import with_products, write_products
from tests.shadow_models import nan_model, trap_picture

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def station(tmp_path: Path) -> Path:
    tiny_bundle(tmp_path / "tiny.bundle")
    return write_station(tmp_path)


@pytest.fixture
def written(station: Path) -> Path:
    """A file in which an earlier `prove` left a certificate."""
    path = station.parent / "written.json"
    assert main(["prove", "--config", str(station), "--json", str(path)]) == 0
    assert json.loads(path.read_text())["schema"] == "vi.certificate/1"
    return path


def refused(station: Path, written: Path, *words: str) -> dict[str, Any]:
    """Prove, and return what the file says, which obeys its published schema."""
    code = main(["prove", "--config", str(station), "--json", str(written), *words])
    document: dict[str, Any] = json.loads(written.read_text())
    schema = json.loads((DOCS / "schemas" / "refusal.json").read_text())
    Draft202012Validator(schema).validate(document)
    for key in document:
        lacking = {name: value for name, value in document.items() if name != key}
        assert not Draft202012Validator(schema).is_valid(lacking), key
    assert (document["schema"], document["exit_code"]) == ("vi.refusal/1", code)
    return document


def test_a_model_that_answers_no_numbers_is_refused_as_such_where_nothing_was_in_force_that_could_come_back(
    station: Path, written: Path
) -> None:
    spot = spot_picture(64, 64, [(1, 1, 200)])
    golden = [GoldenImage.from_pixels(spot, (spot_detection(1, 1, 200),)), GoldenImage.from_pixels(trap_picture(), ())]
    write(station.parent / "tiny.bundle", nan_model(), golden, tiny_manifest())
    told = refused(station, written)
    assert (told["exit_code"], told["reason"]) == (
        65,
        "bundle tiny revision 1 may not judge: for golden/001.png the model answered with scores that are NaN or not "
        "within 0..1; it is refused. The running bundle stays; export it again",
    )


def test_a_refusal_names_bundle_precision_reason_and_differences(
    station: Path, written: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = read_bundle(wrong_normalisation(station.parent / "tiny.bundle"))
    told = refused(station, written)
    assert (told["bundle"], told["bundle_revision"], told["bundle_digest"]) == ("tiny", 1, bundle.digest)
    assert (told["precision"], told["exit_code"], told["product"], told["refused"]) == ("f32", 65, "", [])
    assert told["reason"] in capsys.readouterr().err, "what a person reads"
    assert "golden/001.png: spot 0.784 at (16.0, 16.0, 32.0, 32.0) is found with score 0.727" in told["differences"][0]


def test_models_that_were_tried_before_are_named_and_every_difference_of_the_last(station: Path, written: Path) -> None:
    honest = read_bundle(int8_gone_bad(station.parent / "tiny.bundle", also_fp16=True))
    blind = tiny_model(64, 64, dark=True)
    write(station.parent / "tiny.bundle", blind, list(honest.golden), honest.manifest, dict(honest.variants))
    station.write_text(yaml.safe_dump(yaml.safe_load(station.read_text()) | {"runtime": {"precision": "int8"}}))
    told = refused(station, written)
    assert told["precision"] == "f32"
    assert [each.partition(":")[0] for each in told["refused"]] == ["int8", "fp16"]
    assert all("does not do here what it did at the trainer" in each for each in told["refused"])
    assert f"; and {len(told['differences']) - 3} more." in told["reason"]
    assert {each.partition(":")[0] for each in told["differences"]} == {f"golden/00{at}.png" for at in range(3)}


def decides_nothing(path: Path) -> Path:
    return write(path, tiny_model(64, 64), [GoldenImage.from_pixels(spot_picture(64, 64), ())], tiny_manifest())


def tolerates_anything(path: Path) -> Path:
    return tolerates(path, Tolerance(min_iou=0.0, max_score_difference=0.02))


@pytest.mark.parametrize(
    ("plant", "bundle", "precision", "differences"),
    [
        (lambda path: path.write_bytes(b"no bundle"), None, None, []),
        (decides_nothing, "tiny", None, []),
        (tolerates_anything, "tiny", "f32", ["boxes that overlap by 0 (at least 0.9 is asked for)"]),
    ],
)
def test_whatever_the_reason_no_older_certificate_is_left_in_the_file(
    station: Path,
    written: Path,
    plant: Callable[[Path], object],
    bundle: str | None,
    precision: str | None,
    differences: list[str],
) -> None:
    plant(station.parent / "tiny.bundle")
    told = refused(station, written)
    assert (told["exit_code"], told["bundle"], told["precision"]) == (65, bundle, precision)
    assert told["differences"] == differences


def test_a_mistake_in_the_configuration_is_written_too(station: Path, written: Path) -> None:
    products = with_products(yaml.safe_load(station.read_text()), write_products(station.parent))
    station.write_text(yaml.safe_dump(products))
    (station.parent / "plain.yaml").unlink()
    assert refused(station, written, "--product", "plain")["product"] == "plain"
    assert "no such product" in refused(station, written, "--product", "odd")["reason"]
    assert "name a --product" in refused(station, written)["reason"]
    station.write_text("queue_sise: 3\n")
    assert refused(station, written)["exit_code"] == 78


def test_the_documentation_names_every_key() -> None:
    words = (DOCS / "certificate.md").read_text(encoding="utf-8")
    section = words[words.index("## A refusal") :]
    assert not [name for name in Refusal.model_fields if f"`{name.rstrip('_')}`" not in section]
