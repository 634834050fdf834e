"""A recipe's reference pictures: which are taken, which are refused in words, and how a part lies against them."""

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from appliance.bundle.picture import own_channels
from appliance.errors import ConfigError
from appliance.events import PartAlignment, Pixels
from appliance.optics.reference import ReferenceCheck, misplacements
from appliance.recipe import BoundRecipe, Recipe, load_recipe
from appliance.stages.correct import lay_reference, may_be_shown
from tests.inspections import bind, make_document, make_frame, make_manifest, view_document
from tests.references import board, laid_down, reference_section, write_picture

SIDE_PX = 320
SHA = "0" * 64


def geometry(channels: int) -> dict[str, Any]:
    return {"width": SIDE_PX, "height": SIDE_PX, "channels": channels, "fit": "exact", "pad_value": 114}


def bound(reference: dict[str, Any] | None, channels: int = 2, **changes: Any) -> BoundRecipe:
    sized = {"width_px": SIDE_PX, "height_px": SIDE_PX} | changes
    if reference is not None:
        sized["reference"] = reference
    return bind(view_document(**sized), geometry=geometry(channels))


def refusal(action: Callable[[], object]) -> str:
    with pytest.raises(ConfigError) as caught:
        action()
    return str(caught.value)


def write_recipe(path: Path, reference: dict[str, Any]) -> Path:
    view = view_document(width_px=SIDE_PX, height_px=SIDE_PX, reference=reference)
    path.write_text(json.dumps(make_document(view).data, indent=1))
    return path


def test_a_bound_recipe_carries_its_reference_pictures_decoded(tmp_path: Path) -> None:
    first, second = board(1), board(2)
    (tmp_path / "good").mkdir()
    pictures = [write_picture(tmp_path / "good" / f"{name}.png", each) for name, each in (("a", first), ("b", second))]
    pictures = [entry | {"file": f"good/{entry['file']}"} for entry in pictures]
    path = write_recipe(tmp_path / "r.yaml", {"max_shift_px": 8, "max_rotation_deg": 0.5, "pictures": pictures})
    recipe, document = load_recipe(path)
    found = recipe.bind(make_manifest(geometry=geometry(2)), document).references["top"]
    assert [item.file for item in found] == ["good/a.png", "good/b.png"]
    assert np.array_equal(found[0].pixels, first)
    assert np.array_equal(found[1].pixels, second)
    assert recipe.views[0].reference is not None
    assert recipe.views[0].reference.min_match == 0.7


def test_a_colour_reference_is_red_green_blue_as_the_camera(tmp_path: Path) -> None:
    colour = board(1, channels=3)
    view = view_document(width_px=SIDE_PX, height_px=SIDE_PX, channels=3, reference=reference_section(tmp_path, colour))
    found = bind(view, geometry=geometry(6))
    assert np.array_equal(found.references["top"][0].pixels, colour)


def test_a_recipe_without_a_reference_has_none_and_does_not_fit_a_bundle_that_compares() -> None:
    assert bound(None, channels=1).references == {}
    message = refusal(lambda: bound(None))
    assert message.startswith("board.yaml:1: views[0]: the model compares the part with a reference picture")
    assert "add `reference:`" in message


def test_a_reference_does_not_fit_a_bundle_that_does_not_compare(tmp_path: Path) -> None:
    message = refusal(lambda: bound(reference_section(tmp_path, board()), channels=1))
    assert "the view has a reference picture, and the model does not compare" in message
    assert "delete `reference:`" in message


def damaged(path: Path, how: str) -> None:
    """Put another file in the place of a reference picture."""
    if how == "missing":
        path.unlink()
    elif how == "no picture":
        path.write_bytes(b"not a picture")
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "size":
        write_picture(path, board(side_px=300))
    elif how == "colour":
        write_picture(path, board(channels=3))
    elif how == "flat":
        write_picture(path, np.full((SIDE_PX, SIDE_PX, 1), 90, np.uint8))


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("missing", "cannot be read (No such file or directory); correct the path"),
        ("no picture", "cannot be decoded; record a good part again"),
        ("empty", "cannot be decoded"),
        ("size", "has 300x300 px and 1 channel(s) and the view 320x320 px and 1 channel(s); record"),
        ("colour", "has 320x320 px and 3 channel(s) and the view 320x320 px and 1 channel(s)"),
        ("flat", "is flat, so no part has a place in it"),
    ],
)
def test_a_picture_that_no_part_can_be_compared_with_is_refused_with_its_line(
    how: str, words: str, tmp_path: Path
) -> None:
    section = reference_section(tmp_path, board(1), board(2))
    second = tmp_path / "good_1.png"
    damaged(second, how)
    if second.exists():  # the person who exchanged it wrote its SHA-256, too
        section["pictures"][1]["sha256"] = hashlib.sha256(second.read_bytes()).hexdigest()
    path = write_recipe(tmp_path / "r.yaml", section)
    recipe, document = load_recipe(path)
    message = refusal(lambda: recipe.bind(make_manifest(geometry=geometry(2)), document))
    line = 1 + [number for number, text in enumerate(path.read_text().splitlines()) if '"file"' in text][1]
    assert message.startswith(f"{path}:{line}: views[0].reference.pictures[1].file: {second} ")
    assert words in message


def test_another_picture_than_the_recipe_says_is_refused_with_its_own_sha256(tmp_path: Path) -> None:
    section = reference_section(tmp_path, board(1))
    now = write_picture(tmp_path / "good_0.png", board(2))["sha256"]
    path = write_recipe(tmp_path / "r.yaml", section)
    recipe, document = load_recipe(path)
    message = refusal(lambda: recipe.bind(make_manifest(geometry=geometry(2)), document))
    line = 1 + next(number for number, text in enumerate(path.read_text().splitlines()) if '"sha256"' in text)
    assert message.startswith(f"{path}:{line}: views[0].reference.pictures[0].sha256: ")
    assert f"has the SHA-256 {now}; restore the picture, or" in message


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"pictures": []}, "at least 1 item"),
        ({"pictures": [{"file": f"{n}.png", "sha256": SHA} for n in range(9)]}, "at most 8 items"),
        ({"pictures": [{"file": "a.png", "sha256": SHA}] * 2}, "a.png is named more than once"),
        ({"pictures": [{"file": "a.png", "sha256": "abc"}]}, "sha256"),
        ({"pictures": [{"file": "", "sha256": SHA}]}, "file"),
        ({"pictures": [{"file": "a.png"}]}, "`sha256` is missing"),
        ({"max_shift_px": 0}, "max_shift_px"),
        ({"max_shift_px": 64.5}, "max_shift_px"),
        ({"max_rotation_deg": 0}, "max_rotation_deg"),
        ({"max_rotation_deg": 5.1}, "max_rotation_deg"),
        ({"max_stretch_percent": 0}, "max_stretch_percent"),
        ({"max_stretch_percent": 3.1}, "max_stretch_percent"),
        ({"min_match": 0.29}, "min_match"),
        ({"min_match": 1.01}, "min_match"),
        ({"max_shift": 5}, "did you mean `max_shift_px`"),
    ],
)
def test_a_section_outside_its_limits_is_refused(changes: dict[str, Any], words: str) -> None:
    section = {"max_shift_px": 8, "max_rotation_deg": 1, "pictures": [{"file": "a.png", "sha256": SHA}]} | changes
    assert words in refusal(lambda: make_document(view_document(reference=section)).into(Recipe))


def laid(recipe: BoundRecipe, pixels: Pixels) -> PartAlignment | None:
    view, frame = recipe.views[0], replace(make_frame(), pixels=pixels)
    found = lay_reference(frame, view, recipe.references.get("top", ()))
    return found.alignment if found else None


def test_the_place_of_a_part_is_measured_and_the_reference_moved_there(tmp_path: Path) -> None:
    recipe = bound(reference_section(tmp_path, board(1)))
    part = laid_down(board(1), (6.5, -9.25), 0.4)
    found = lay_reference(replace(make_frame(), pixels=part), recipe.views[0], recipe.references["top"])
    assert found is not None
    assert found.alignment.shift_px == pytest.approx((6.5, -9.25), abs=0.3)
    assert found.alignment.rotation_deg == pytest.approx(0.4, abs=0.1)
    assert found.alignment.match > 0.95
    inner = (slice(40, -40), slice(40, -40))
    assert np.abs(found.pixels[inner].astype(int) - part[inner]).mean() < 4
    assert may_be_shown(replace(make_frame(), pixels=part), recipe.views[0], found)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_of_several_variants_the_one_that_matches_best_is_taken(seed: int, tmp_path: Path) -> None:
    recipe = bound(reference_section(tmp_path, board(1), board(2), board(3)))
    found = laid(recipe, laid_down(board(seed), (3, 2)))
    assert found is not None
    assert found.reference == str(tmp_path / f"good_{seed - 1}.png")
    assert found.match > 0.95


def test_what_is_not_as_agreed_is_not_compared(tmp_path: Path) -> None:
    recipe = bound(reference_section(tmp_path, board(1)))
    assert laid(recipe, board(1, side_px=300)) is None
    assert laid(recipe, board(1, channels=3)) is None
    assert laid(bound(None, channels=1), board(1)) is None


CHECK = ReferenceCheck.model_validate(
    {
        "max_shift_px": 5,
        "max_rotation_deg": 1,
        "max_stretch_percent": 2,
        "pictures": [{"file": "a.png", "sha256": SHA}],
    },
    strict=False,
)
NAN = math.nan


@pytest.mark.parametrize(
    ("shift_px", "rotation_deg", "stretch_percent", "match", "words"),
    [
        ((0.0, 0.0), 0.0, (0.0, 0.0), 1.0, ""),
        ((3.0, -4.0), -1.0, (2.0, -2.0), 0.7, ""),
        ((3.1, 4.0), 0.0, (0.0, 0.0), 0.9, "lies 5.1 px off its place against a.png, over 5"),
        ((0.0, 0.0), -1.01, (0.0, 0.0), 0.9, "turned by 1.01 degrees against a.png, over 1"),
        ((0.0, 0.0), 0.0, (-2.01, 0.0), 0.9, "stretched by -2.01 % along the picture's rows against a.png, over 2"),
        ((0.0, 0.0), 0.0, (0.0, 2.5), 0.9, "stretched by 2.50 % along the picture's columns against a.png, over 2"),
        ((0.0, 0.0), 0.0, (0.0, 0.0), 0.699, "matches a.png by 0.699, below 0.7"),
        ((NAN, 0.0), 0.0, (0.0, 0.0), 0.9, "lies nan px off"),
        ((0.0, NAN), 0.0, (0.0, 0.0), 0.9, "lies nan px off"),
        ((0.0, 0.0), NAN, (0.0, 0.0), 0.9, "turned by nan degrees"),
        ((0.0, 0.0), 0.0, (NAN, 0.0), 0.9, "stretched by nan % along the picture's rows"),
        ((0.0, 0.0), 0.0, (0.0, NAN), 0.9, "stretched by nan % along the picture's columns"),
        ((0.0, 0.0), 0.0, (0.0, 0.0), NAN, "matches a.png by nan"),
    ],
)
def test_a_limit_that_is_broken_is_named_and_one_that_is_met_is_not(
    shift_px: tuple[float, float], rotation_deg: float, stretch_percent: tuple[float, float], match: float, words: str
) -> None:
    found = list(misplacements(PartAlignment("a.png", shift_px, rotation_deg, stretch_percent, match), CHECK))
    assert len(found) == bool(words)
    assert words in "".join(found)


def test_a_part_that_was_not_compared_is_misplaced() -> None:
    assert list(misplacements(None, CHECK)) == ["the part was not compared with its reference"]


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tif"])
def test_a_file_tells_how_many_channels_it_was_saved_with(suffix: str) -> None:
    grey, colour = (cv2.imencode(suffix, board(1, channels=channels))[1].tobytes() for channels in (1, 3))
    assert (own_channels(grey), own_channels(colour)) == (1, 3)
    assert own_channels(grey[:20]) is None
    assert own_channels(b"") is None
