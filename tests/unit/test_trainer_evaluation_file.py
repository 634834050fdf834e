"""The JSON file of an evaluation: each key is on its page, and each part tells only what is known of that part."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import pytest

from tests.models import spot_picture, tiny_bundle, tiny_manifest, tiny_model
from trainer.__main__ import main

PAGE = Path(__file__).parents[2] / "docs" / "evaluation.md"
OF_THE_PROCESS = {"detect_ms_p50", "detect_ms_p99", "pictures_per_s", "peak_memory_mib"}
NAMED = {"groups", "cameras", "others", "parity", "tolerances", "recall_by_size", "recall_by_class"}
NAMED |= {"ap_classes", "ap_sizes", "ap50_classes", "ap50_95_classes"}
NAMED |= {"ap_lost", "at_limits_classes", "precision_by_class", "f_classes"}
"""Their keys are names; what lies below is alike."""
COUNTED = {"limits", "confusion", "mistakes"}
"""Their keys are names of classes or mistakes, and below lies no key."""
AGAIN = {"others", "seen", "unseen", "placed"}
"""Below them lie the keys of the file once more."""
DOTTED = {"evidence", "coco"}
"""What lies in them has a row of its own."""
BOUNDS = {"low", "high", "count", "of"}
"""The column of bounds and counts names the key that they lie below."""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A bundle with two models that learned from group a, and pictures of the groups a and b, each with a good part."""
    lineage = tiny_manifest().lineage.model_copy(update={"learned_from": ("a",)})
    tiny_bundle(tmp_path / "tiny.bundle", variants={"fp16": tiny_model(64, 64, 1)}, lineage=lineage)
    images, annotations = [], []
    for number, (group, spots) in enumerate([("a", 1), ("a", 2), ("a", 0), ("b", 1), ("b", 1), ("b", 0)]):
        marks = [(1, 1, 200), (2, 2, 230)][:spots]
        cv2.imwrite(str(tmp_path / f"{number}.png"), spot_picture(64, 64, marks))
        images.append({"id": number, "file_name": f"{number}.png", "group": group, "camera": "left"})
        for column, row, _ in marks:
            box = [16 * column, 16 * row, 16, 16]
            annotations.append({"id": len(annotations), "image_id": number, "category_id": 1, "bbox": box})
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "spot"}]}
    (tmp_path / "annotations.json").write_text(json.dumps(content))
    return tmp_path


def evaluated(place: Path, *options: str) -> dict[str, Any]:
    """Judge the bundle, and return the file."""
    words = ["evaluate", "--bundle", str(place / "tiny.bundle"), "--data", str(place), "--json", str(place / "f.json")]
    assert main([*words, *options]) == 0
    content: dict[str, Any] = json.loads((place / "f.json").read_text())
    return content


def keys(value: Any, path: str = "") -> Iterator[str]:
    """Give every key of a file, with those above it."""
    for key, inner in value.items() if isinstance(value, dict) else ():
        yield f"{path}{key}"
        if key in NAMED:
            below = list(inner.values())
        elif key in COUNTED or f"{path}{key}".endswith("evidence.boxes"):
            below = []
        else:
            below = inner if isinstance(inner, list) else [inner]
        for each in below:
            yield from keys(each, f"{path}{key}.")


def rows_of(page: str) -> Iterator[tuple[set[str], set[str]]]:
    """Give the keys that each row of the page's table tells, and all words that stand as code in it."""
    for line in page.splitlines():
        if line.startswith("| `"):
            about, words = (set(re.findall(r"`([a-z_.0-9]+)`", cells)) for cells in (line.split("|")[1], line))
            yield about | {word for word in words if "." in word}, words


def is_said(key: str, rows: list[tuple[set[str], set[str]]]) -> bool:
    """Tell whether a key has a row, or stands in the row of the one that it lies in: not where another is meant."""
    path = key.split(".")
    while path[0] in AGAIN and len(path) > 1:
        path = path[1:]
    if path[0] in DOTTED and len(path) > 1:
        path = [".".join(path[:2]), *path[2:]]
    row = next((words for names, words in rows if path[0] in names), set())
    return bool(row) and path[-1] in row | (BOUNDS if len(path) > 1 else set())


def test_every_key_of_the_json_file_is_on_its_page(place: Path) -> None:
    content = evaluated(place, "--stress")
    assert content["schema"] == "vi.evaluation/1"
    assert content["evidence"]["escapes"] == {"count": 0, "of": 4, "low": 0.0, "high": pytest.approx(0.602, abs=1e-3)}
    assert [content["groups"]["a"]["recall"][key] for key in ("count", "of")] == [3, 3]  # boxes, on two pictures
    for part in ("parity", "tolerances", "others", "seen", "unseen", "groups", "cameras"):
        assert content[part], part
    told, rows = set(keys(content)), list(rows_of(PAGE.read_text()))
    assert {"parity.ap_drop_bounds.low", "tolerances.measured_on", "seen.evidence.roc.limit"} <= told
    unsaid = {key for key in told if not is_said(key, rows)}
    assert {key.rpartition(".")[2] for key in unsaid} == {"evidence", "coco"}  # all that is in them is said


def test_memory_and_times_are_told_of_what_they_were_measured_on(place: Path) -> None:
    content = evaluated(place)
    assert content.keys() >= OF_THE_PROCESS
    other = content["others"]["fp16 onnxruntime"]
    assert other.keys() & OF_THE_PROCESS == OF_THE_PROCESS - {"peak_memory_mib"}
    assert (content["seen"]["pictures"], content["unseen"]["pictures"]) == (3, 3)
    for half in ("seen", "unseen"):  # they were judged among each other
        assert not content[half].keys() & OF_THE_PROCESS


@pytest.mark.parametrize(("group", "seen", "unseen"), [("b", None, 3), ("a", 3, None)])
def test_groups_that_are_judged_alone_are_all_seen_or_all_unseen(
    place: Path, group: str, seen: int | None, unseen: int | None
) -> None:
    content = evaluated(place, "--groups", group)
    assert (content["pictures"], content["seen_by"]) == (3, "names")
    assert [content[half] and content[half]["pictures"] for half in ("seen", "unseen")] == [seen, unseen]
    half = content["seen"] or content["unseen"]
    assert half["detect_ms_p50"] == content["detect_ms_p50"]
    assert "peak_memory_mib" not in half
