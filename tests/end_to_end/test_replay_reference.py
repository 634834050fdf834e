"""Parts that are compared with a reference picture, through the whole station: its recipe, model, verdicts, records."""

import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from appliance.__main__ import main
from appliance.events import Inspection, Record
from appliance.ports import TriggerRequest
from appliance.wiring import build
from tests.inspections import view_document
from tests.models import tiny_bundle
from tests.plant import RECIPE
from tests.references import board, laid_down, with_defect, write_picture

GOOD = board(1)
VARIANT = board(2)
PARTS = {
    "0 in its place": (GOOD, "complete"),
    "1 shifted and turned": (laid_down(GOOD, (8.5, -5.25), 0.5), "complete"),
    "2 the other variant": (laid_down(VARIANT, (-3, 2)), "complete"),
    "3 defective": (with_defect(GOOD, 6, 7), "defect"),
    "4 defective and shifted": (laid_down(with_defect(GOOD, 6, 7), (-7.5, 4), -0.3), "defect"),
    "5 too far off": (laid_down(GOOD, (17, 0)), "misplaced"),
    "6 out of reach": (laid_down(GOOD, (60, 0)), "misplaced"),
    "7 another product": (board(3), "misplaced"),
    "8 no part": (np.full_like(GOOD, 120), "misplaced"),
    "9 stretched": (laid_down(GOOD, (2, 3), 0.2, (1.2, -0.6)), "complete"),
    "a stretched too far": (laid_down(GOOD, (0, 0), 0.0, (0.0, 2.6)), "misplaced"),
}


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    """A folder with a picture of each part."""
    folder = tmp_path / "parts"
    folder.mkdir()
    for name, (pixels, _) in PARTS.items():
        write_picture(folder / f"{name}.png", pixels)
    return folder


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle whose model compares."""
    return tiny_bundle(tmp_path / "compares.bundle", 320, 320, channels=2)


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """A recipe with two reference pictures beside it, made by calibrate and by hand."""
    folder = tmp_path / "recipes"
    folder.mkdir()
    pictures = [write_picture(folder / f"{name}.png", pixels) for name, pixels in (("a", GOOD), ("b", VARIANT))]
    limits = {"brightness_min": 1.0, "brightness_max": 254.0, "sharpness_min": 0.0,
              "clipped_low_max_ratio": 1.0, "clipped_high_max_ratio": 1.0}  # fmt: skip
    view = view_document(width_px=320, height_px=320, image_limits=limits)
    view["reference"] = {"max_shift_px": 15, "max_rotation_deg": 1, "max_stretch_percent": 2, "pictures": pictures}
    (folder / "own.yaml").write_text(yaml.safe_dump(RECIPE | {"deadline_ms": 60_000, "views": [view]}))
    return folder / "own.yaml"


def test_each_part_gets_the_verdict_that_it_deserves(parts: Path, bundle: Path, recipe: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    words = ["replay", str(parts), "--recipe", str(recipe), "--bundle", str(bundle), "--json", str(report)]
    assert main([*words, "--max-faults", "5"]) == 0
    document = json.loads(report.read_text())
    assert document["reasons"] == {"complete": 4, "defect": 2, "misplaced": 5}
    assert document["verdicts"] == {"ACCEPT": 4, "REJECT": 2, "REVIEW": 0, "FAULT": 5}
    assert {"align", "infer", "correct"} <= set(document["latency_ms"])
    assert main(words) == 1  # five parts were not inspected


def station(folder: Path, bundle: Path, recipe: Path, parts: Path) -> Path:
    config = {
        "schema": "vi.config/1",
        "device": {"device_id": "d", "enterprise": "e", "site": "s", "area": "a", "line": "l", "station": "t"},
        "bundle": str(bundle),
        "recipe": str(recipe),
        "ledger": {"path": "ledger.db"},
        "images": {"directory": "images", "min_free_mb": 0},
        "cameras": {"top": {"type": "folder", "directory": str(parts)}},
    }
    folder.mkdir()
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder / "config.yaml"


def test_each_record_says_how_its_part_lay_and_against_which_picture(
    parts: Path, bundle: Path, recipe: Path, tmp_path: Path
) -> None:
    done = threading.Semaphore(0)
    records: dict[str, Any] = {}

    def note(inspection: Inspection, record: Record, _: int) -> None:
        document = json.loads(record.payload)
        records[Path(document["views"][0]["source"]).stem] = document
        done.release()

    with build(station(tmp_path / "station", bundle, recipe, parts), on_record=note) as appliance:
        for number in range(len(PARTS)):
            appliance.station.on_trigger(TriggerRequest(f"t{number}", f"part-{number}"))
            assert done.acquire(timeout=60)
    assert {name: record["reason"] for name, record in records.items()} == {
        name: reason for name, (_, reason) in PARTS.items()
    }
    laid = {name: record["views"][0]["alignment"] for name, record in records.items()}
    assert laid["1 shifted and turned"]["shift_px"] == pytest.approx([8.5, -5.25], abs=0.3)
    assert laid["1 shifted and turned"]["rotation_deg"] == pytest.approx(0.5, abs=0.1)
    assert laid["1 shifted and turned"]["reference"] == "a.png"
    assert laid["2 the other variant"]["reference"] == "b.png"
    assert laid["5 too far off"]["shift_px"] == pytest.approx([17, 0], abs=0.3)
    assert "lies 17.0 px off its place against a.png, over 15" in records["5 too far off"]["detail"]
    assert laid["7 another product"]["match"] < 0.5
    assert "below 0.7" in records["7 another product"]["detail"]
    assert laid["9 stretched"]["stretch_percent"] == pytest.approx([1.2, -0.6], abs=0.1)
    assert "is stretched by 2.6" in records["a stretched too far"]["detail"]
    assert "along the picture's columns against a.png, over 2" in records["a stretched too far"]["detail"]
    for name, record in records.items():
        assert ("infer" in record["stage_ms"]) == (record["reason"] != "misplaced"), name


def test_without_a_recipe_a_bundle_that_compares_is_refused_in_words(
    parts: Path, bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (["replay", str(parts)], ["demo", "--parts", "1", "--images", str(parts)]):
        assert main([*words, "--bundle", str(bundle)]) == 78
        error = capsys.readouterr().err
        assert "compares each part with a reference picture" in error
        assert "--recipe" in error


def test_check_says_what_is_wrong_with_a_reference(
    parts: Path, bundle: Path, recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = station(tmp_path / "station", bundle, recipe, parts)

    def findings() -> dict[str, dict[str, Any]]:
        main(["check", "--config", str(config), "--json"])
        return {finding["what"]: finding for finding in json.loads(capsys.readouterr().out)}

    assert findings()["runtime and proof"]["is_ok"]
    now = write_picture(recipe.parent / "b.png", GOOD)["sha256"]
    exchanged = findings()["recipe"]
    assert not exchanged["is_ok"]
    assert f"b.png has the SHA-256 {now}" in exchanged["seen"]
    assert "restore the picture" in exchanged["remedy"]
    text = yaml.safe_load(recipe.read_text())
    del text["views"][0]["reference"]
    recipe.write_text(yaml.safe_dump(text))
    lacking = findings()["recipe"]
    assert "the model compares the part with a reference picture, and the view has none" in lacking["seen"]
    assert "add `reference:`" in lacking["remedy"]
