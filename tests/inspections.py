"""Builders of recipes, pictures and view results for tests of what decides."""

from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from appliance.bundle.manifest import Manifest
from appliance.documents import Document
from appliance.events import Detection, Frame, ImageStatistics, ViewResult
from appliance.recipe import BoundRecipe, Recipe

SIDE_PX = 64
GOOD = ImageStatistics(
    brightness_mean=120.0,
    brightness_spread=30.0,
    contrast=0.25,
    sharpness=200.0,
    clipped_low_ratio=0.01,
    clipped_high_ratio=0.01,
)
IMAGE_LIMITS: dict[str, float] = {
    "brightness_min": 40.0,
    "brightness_max": 200.0,
    "sharpness_min": 50.0,
    "clipped_low_max_ratio": 0.2,
    "clipped_high_max_ratio": 0.2,
}


def make_manifest(**changes: Any) -> Manifest:
    document: dict[str, Any] = {
        "schema": "vi.bundle/1",
        "name": "boards",
        "revision": 3,
        "classes": [
            {"name": "short", "severity": "critical", "limit": 0.6},
            {"name": "scratch", "severity": "minor", "limit": 0.5},
        ],
        "geometry": {"width": SIDE_PX, "height": SIDE_PX, "channels": 1, "fit": "exact", "pad_value": 114},
        "outputs": {"candidates": 100, "nms_iou": 0.5, "score_floor": 0.05},
        "tolerance": {"min_iou": 0.9, "max_score_difference": 0.02},
        "lineage": {
            "dataset_digest": "0" * 64,
            "source_commit": "none",
            "trained_at": "2026-01-01T00:00:00Z",
            "released_by": "a test",
            "metrics": {},
        },
        "digests": {},
    }
    return Manifest.model_validate(document | changes)


def view_document(name: str = "top", **changes: Any) -> dict[str, Any]:
    view: dict[str, Any] = {
        "name": name,
        "width_px": SIDE_PX,
        "height_px": SIDE_PX,
        "channels": 1,
        "image_limits": dict(IMAGE_LIMITS),
    }
    return view | changes


def make_document(*views: dict[str, Any], classes: dict[str, Any] | None = None, **changes: Any) -> Document:
    data: dict[str, Any] = {
        "schema": "vi.recipe/1",
        "name": "board",
        "version": 1,
        "deadline_ms": 500,
        "answer_reserve_ms": 50,
        "views": list(views) or [view_document()],
        "classes": classes or {},
    }
    return Document(Path("board.yaml"), "d" * 64, data | changes, {(): 1})


def bind(*views: dict[str, Any], classes: dict[str, Any] | None = None, **manifest: Any) -> BoundRecipe:
    document = make_document(*views, classes=classes)
    return document.into(Recipe).bind(make_manifest(**manifest), document)


def make_frame(view: str = "top", width: int = SIDE_PX, height: int = SIDE_PX, channels: int = 1) -> Frame:
    pixels = np.full((height, width, channels), 120, dtype=np.uint8)
    return Frame(view, 1, pixels, datetime(2026, 1, 1, tzinfo=timezone.utc), 0)


def result(
    *detections: Detection,
    view: str = "top",
    statistics: ImageStatistics | None = GOOD,
    offset_px: tuple[float, float] | None = None,
) -> ViewResult:
    return ViewResult(view, make_frame(view), statistics, detections, offset_px)


def seen(
    label: str = "short", score: float = 0.9, box: tuple[float, float, float, float] = (10, 10, 20, 20)
) -> Detection:
    return Detection(label, score, box)
