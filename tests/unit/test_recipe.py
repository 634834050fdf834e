import base64
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from appliance.documents import parse_document
from appliance.errors import ConfigError
from appliance.events import Verdict, ViewResult
from appliance.optics.placement import cut_patch
from appliance.recipe import RECIPES, BoundRecipe, Recipe, load_recipe
from appliance.simulator.line import SimulatedLine
from appliance.simulator.optics import Optics
from appliance.stages.correct import correct
from appliance.stages.decide import decide
from tests.inspections import bind, make_document, make_frame, make_manifest, view_document

DOC = Path(__file__).parents[2] / "docs" / "recipe.md"
SIX_CLASSES = [
    {"name": name, "severity": "major", "limit": 0.5}
    for name in ("open", "short", "mousebite", "spur", "spurious_copper", "pin_hole")
]
TRIANGLE = [[0, 0], [10, 0], [0, 10]]


def geometry(width: int, height: int, fit: str = "exact", channels: int = 1) -> dict[str, Any]:
    return {"width": width, "height": height, "channels": channels, "fit": fit, "pad_value": 114}


def refusal(action: Callable[[], object]) -> str:
    with pytest.raises(ConfigError) as caught:
        action()
    return str(caught.value)


def zone(**changes: Any) -> dict[str, Any]:
    return {"name": "clamp", "kind": "ignore", "points_px": TRIANGLE} | changes


@pytest.mark.parametrize("file", sorted(RECIPES.glob("*.yaml")), ids=lambda file: file.stem)
def test_a_shipped_recipe_binds_to_a_640_pixel_model(file: Path) -> None:
    recipe, document = load_recipe(file)
    bound = recipe.bind(make_manifest(classes=SIX_CLASSES, geometry=geometry(640, 640)), document)
    assert bound.name == file.stem
    assert bound.digest == document.digest
    assert set(bound.limits) == {item["name"] for item in SIX_CLASSES}


def test_the_large_board_of_the_shipped_recipes_is_cut_into_tiles() -> None:
    large = load_recipe(RECIPES / "board_5_megapixel.yaml")[0].views[0]
    assert (large.width_px, large.height_px) == (2448, 2048)
    assert large.tiles is not None


def test_good_simulated_boards_are_inside_the_demo_recipes_image_limits_and_a_failing_lamp_is_not() -> None:
    recipe, document = load_recipe(RECIPES / "demo_board.yaml")
    bound = recipe.bind(make_manifest(classes=SIX_CLASSES, geometry=geometry(640, 640)), document)

    def verdict(seed: int, optics: Optics) -> Verdict:
        pixels = SimulatedLine(seed, defect_rate=0.0, optics=optics).part(0).pixels
        frame = replace(make_frame(), pixels=pixels)
        corrected = correct(frame, bound.views[0])
        return decide([ViewResult("top", frame, corrected.statistics, ())], bound).verdict

    for seed in range(2000, 2010):
        assert verdict(seed, Optics()) is Verdict.ACCEPT
        assert verdict(seed, Optics(lamp_brightness=0.4)) is Verdict.FAULT
        assert verdict(seed, Optics(lamp_brightness=3.0)) is Verdict.FAULT


def test_the_example_in_the_documentation_loads_and_binds() -> None:
    text = DOC.read_text(encoding="utf-8")
    example = text.split("```yaml\n")[1].split("```")[0]
    board = np.random.default_rng(0).integers(0, 256, (64, 64, 1), dtype=np.uint8)
    example = example.replace("PATCH_AS_BASE64", cut_patch(board, 0, 0, 48).png)
    document = parse_document(DOC, example.encode())
    manifest = make_manifest(classes=SIX_CLASSES, geometry=geometry(640, 640))
    bound = document.into(Recipe).bind(manifest, document)
    assert bound.limits["spurious_copper"].min_area_px == 30


def test_the_documentation_names_every_key() -> None:
    text = DOC.read_text(encoding="utf-8")
    found = set(re.findall(r"`([a-z0-9_.]+)`|^\s*-? ?([a-z_]+):", text, flags=re.MULTILINE))
    words = {part for pair in found for word in pair for part in word.split(".")}
    definitions = Recipe.model_json_schema()
    keys = {
        key
        for node in (definitions, *definitions["$defs"].values())
        for key in node.get("properties", {})
    }  # fmt: skip
    assert keys - words == set()


def test_limits_come_from_the_bundle_unless_the_recipe_says_otherwise() -> None:
    bound = bind(classes={"short": {"accept_limit": 0.2, "min_area_px": 9}})
    short, scratch = bound.limits["short"], bound.limits["scratch"]
    assert (short.reject_limit, short.accept_limit, short.min_area_px, short.severity) == (0.6, 0.2, 9, "critical")
    assert (scratch.reject_limit, scratch.accept_limit, scratch.min_area_px) == (0.5, 0.5, None)


@pytest.mark.parametrize(
    ("classes", "words"),
    [
        ({"shrot": {}}, "no class `shrot`; did you mean `short`?"),
        ({"xyzzy": {}}, "its classes are short, scratch"),
        ({"short": {"accept_limit": 0.61}}, "accept_limit 0.61 is above reject_limit 0.6"),
        ({"short": {"reject_limit": 0.4, "accept_limit": 0.5}}, "accept_limit 0.5 is above reject_limit 0.4"),
        ({"short": {"accept_limit": 0.01}}, "below 0.05, the lowest score that this model reports"),
        ({"short": {"reject_limit": 0.01}}, "below 0.05"),
    ],
)
def test_limits_that_do_not_fit_the_bundle_are_refused(classes: dict[str, Any], words: str) -> None:
    message = refusal(lambda: bind(classes=classes))
    assert words in message
    assert message.startswith("board.yaml:1: classes.")


def test_an_unknown_class_is_reported_with_its_line() -> None:
    text = (RECIPES / "demo_board.yaml").read_text(encoding="utf-8") + "classes:\n  shrot:\n    reject_limit: 0.5\n"
    document = parse_document(Path("x.yaml"), text.encode())
    manifest = make_manifest(geometry=geometry(640, 640))
    message = refusal(lambda: document.into(Recipe).bind(manifest, document))
    assert message.startswith(f"x.yaml:{len(text.splitlines()) - 1}: classes.shrot: ")


CROP = {"x_px": 8, "y_px": 8, "width_px": 64, "height_px": 64}
LARGE = {"width_px": 200, "height_px": 150}


@pytest.mark.parametrize(
    ("view", "model"),
    [
        ({}, geometry(64, 64)),
        (LARGE | {"crop": CROP}, geometry(64, 64)),
        (LARGE | {"tiles": {"overlap_px": 63}}, geometry(64, 64)),
        (LARGE | {"tiles": {"overlap_px": 0}, "crop": CROP}, geometry(64, 64)),
        (LARGE, geometry(64, 64, "letterbox")),
        (LARGE | {"tiles": {"overlap_px": 8}}, geometry(64, 64, "letterbox")),
    ],
)
def test_a_view_that_the_model_can_take_binds(view: dict[str, Any], model: dict[str, Any]) -> None:
    bound = bind(view_document(**view), geometry=model)
    assert isinstance(bound, BoundRecipe)


@pytest.mark.parametrize(
    ("view", "model", "words"),
    [
        (LARGE, geometry(64, 64), "takes exactly 64x64 and the inspected part is 200x150"),
        ({}, geometry(96, 64), "takes exactly 96x64"),
        (LARGE | {"tiles": {"overlap_px": 64}}, geometry(64, 64), "cannot overlap by 64 px"),
        ({"tiles": {"overlap_px": 8}}, geometry(96, 64), "smaller than one tile of 96x64"),
        (LARGE | {"crop": CROP, "tiles": {"overlap_px": 8}}, geometry(96, 96), "smaller than one tile"),
    ],
)
def test_a_view_that_the_model_cannot_take_is_refused(view: dict[str, Any], model: dict[str, Any], words: str) -> None:
    message = refusal(lambda: bind(view_document(**view), geometry=model))
    assert words in message
    assert "views[0]" in message


@pytest.mark.parametrize(
    ("view", "words"),
    [
        ({"crop": CROP}, "the crop does not lie in the picture"),
        ({"zones": [zone(points_px=TRIANGLE[:2])]}, "at least 3 items"),
        ({"zones": [zone(points_px=[[0, 0], [65, 0], [0, 10]])]}, "corner outside the picture"),
        ({"zones": [zone(points_px=[[0, 0], [-1, 0], [0, 10]])]}, "corner outside the picture"),
        ({"zones": [zone(points_px=[[0, 0], [9, 9], [9, 0], [0, 9]])]}, "edges of zone clamp cross"),
        ({"zones": [zone(points_px=[[0, 0], [5, 5], [9, 9]])]}, "no area"),
        ({"zones": [zone(kind="exclude")]}, "'inspect' or 'ignore'"),
        ({"zones": [zone(), zone()]}, "zone name clamp is used more than once"),
        ({"channels": 2}, "expected 1 or 3"),
        ({"image_limits": {}}, "`brightness_min` is missing"),
        ({"placement": {"max_offset_px": 5, "patches": []}}, "at least 1 item"),
    ],
)
def test_a_view_that_contradicts_itself_is_refused(view: dict[str, Any], words: str) -> None:
    assert words in refusal(lambda: make_document(view_document(**view)).into(Recipe))


def test_contradictions_of_the_whole_recipe_are_refused() -> None:
    views = view_document("top"), view_document("top")
    assert "view name top is used more than once" in refusal(lambda: make_document(*views).into(Recipe))
    late = make_document(deadline_ms=50, answer_reserve_ms=50)
    assert "answer_reserve_ms must be below deadline_ms" in refusal(lambda: late.into(Recipe))
    dark = view_document(image_limits=view_document()["image_limits"] | {"brightness_min": 200})
    assert "brightness_min must be below" in refusal(lambda: make_document(dark).into(Recipe))
    both = make_document(classes={"short": {"min_area_px": 4, "min_width_px": 2}})
    assert "keep one of the two" in refusal(lambda: both.into(Recipe))


def png_of(pixels: np.ndarray[Any, Any]) -> bytes:
    return bytes(cv2.imencode(".png", pixels)[1].tobytes())


@pytest.mark.parametrize(
    ("png", "words"),
    [
        ("not base64!", "not base64"),
        ("aGVsbG8=", "not a PNG of 8 to 128 pixels"),
        (png_of(np.zeros((129, 16), np.uint8)), "not a PNG of 8 to 128 pixels"),
        (png_of(np.full((16, 16), 99, np.uint8)), "the patch is flat"),
        (png_of(np.eye(16, dtype=np.uint8) * 255)[:40], "damaged"),
    ],
)
def test_a_patch_that_cannot_be_found_is_refused(png: str | bytes, words: str) -> None:
    text = png if isinstance(png, str) else base64.b64encode(png).decode()
    placement = {"max_offset_px": 5, "patches": [{"x_px": 0, "y_px": 0, "png": text}]}
    assert words in refusal(lambda: make_document(view_document(placement=placement)).into(Recipe))


def test_a_patch_outside_the_picture_is_refused() -> None:
    board = np.random.default_rng(0).integers(0, 256, (64, 64, 1), dtype=np.uint8)
    placement = {"max_offset_px": 5, "patches": [{"x_px": 50, "y_px": 0, "png": cut_patch(board, 0, 0, 16).png}]}
    document = make_document(view_document(placement=placement))
    assert "patch does not lie in the picture" in refusal(lambda: document.into(Recipe))
    with pytest.raises(ValueError, match="does not lie in the picture"):
        cut_patch(board, 50, 0, 16)
