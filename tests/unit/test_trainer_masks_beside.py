"""Masks that lie beside their pictures, under the names that public data sets give them."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from trainer.__main__ import main


def _picture(path: Path, *mask_names: str, has_defect: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((48, 64), 120, np.uint8))
    pixels = np.zeros((48, 64), np.uint8)
    pixels[10:20, 5:25] = 255 if has_defect else 0
    for name in mask_names:
        cv2.imwrite(str(path.with_name(name)), pixels)


def _imported(source: Path, *words: str) -> dict[str, list[tuple[str, list[float]]]]:
    out = source.parent / "out"
    assert main(["data", "import", "--from", "masks", str(source), "--out", str(out), *words]) == 0
    content = json.loads((out / "annotations.json").read_text())
    names = {item["id"]: item["name"] for item in content["categories"]}
    assert len(names) == 1
    found: dict[int, list[tuple[str, list[float]]]] = {item["id"]: [] for item in content["images"]}
    for item in content["annotations"]:
        found[item["image_id"]].append((names[item["category_id"]], item["bbox"]))
    return {Path(item["file_name"]).name: found[item["id"]] for item in content["images"]}


def test_a_mask_called_gt_belongs_to_the_picture_beside(tmp_path: Path) -> None:
    for number, has_defect in ((10000, True), (10001, False)):
        _picture(tmp_path / f"data/train/{number}.png", f"{number}_GT.png", has_defect=has_defect)
    assert _imported(tmp_path / "data", "--classes", "flaw") == {
        "10000.png": [("flaw", [5, 10, 20, 10])], "10001.png": [],
    }  # fmt: skip


def test_a_png_beside_a_jpeg_of_its_name_is_the_mask_and_that_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for kind, has_defect in (("MT_Crack", True), ("MT_Free", False)):
        _picture(tmp_path / f"data/{kind}/Imgs/{kind}1.jpg", f"{kind}1.png", has_defect=has_defect)
    found = _imported(tmp_path / "data")
    assert found == {"MT_Crack1.jpg": [("MT_Crack", [5, 10, 20, 10])], "MT_Free1.jpg": []}
    assert "2 PNG files are taken as the masks of JPEGs beside" in " ".join(capsys.readouterr().err.split())
