"""Small models and bundles for fast tests: bright 16x16 cells come out as class "spot", their grey is the score.

With 2 or 6 channels the model compares: then the score is by how much a cell differs from the reference's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import cycle, islice
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from appliance.bundle.archive import write_bundle
from appliance.bundle.baseline import Baseline, Spread
from appliance.bundle.geometry import with_reference
from appliance.bundle.golden import LEAST_GOLDEN, GoldenImage, GoldenKind
from appliance.bundle.manifest import (
    DefectClass,
    Geometry,
    Lineage,
    Manifest,
    Outputs,
    Tolerance,
    Variant,
    VariantName,
)
from appliance.events import Detection, Pixels

CELL_PX = 16
"""Side of the cells that tiny_model looks at; paint spots on multiples of it."""

QUIET_BELOW = 0.4
"""A cell whose score would be lower gets 0, so a background of grey 100 or darker is quiet."""

Fault = Literal["", "nan", "rank", "short", "names", "float_input", "label", "dynamic", "opset", "loud"]


def tiny_model(
    width: int, height: int, channels: int = 1, *, candidates: int = 100, dark: bool = False, fault: Fault = ""
) -> bytes:
    """Make a model of the appliance's contract that needs no training.

    Each 16x16 cell with mean grey g is a box of that cell, class 0, score g / 255 (dark: 1 - g / 255), or 0 below
    QUIET_BELOW; the `candidates` highest come out. With 2 or 6 channels g is the mean difference of the two halves.

    fault: "nan" NaN scores; "rank" scores of shape [N, K, 1]; "short" one row less than declared; "names" another
    output name; "float_input" float32 input; "label" label 7; "dynamic" no fixed width; "opset" opset 16;
    "loud" scores up to 2.
    """
    rows, columns = height // CELL_PX, width // CELL_PX
    cells = rows * columns
    boxes = np.zeros((cells + candidates, 4), np.float32)  # the rows behind the cells fill up small pictures
    ys, xs = np.divmod(np.arange(cells), columns)
    boxes[:cells] = np.stack((xs, ys, xs + 1, ys + 1), axis=1) * CELL_PX
    padding = np.array([0, 0, 0, candidates], np.int64)
    scale = (-1.0 if dark else 1.0) / 255.0
    constants = {
        "scale": np.float32(scale),
        "offset": np.float32(1.0 if dark else 0.0),
        "quiet": np.float32(QUIET_BELOW),
        "flat": np.array([0, -1], np.int64),
        "padding": padding,
        "k": np.array([candidates], np.int64),
        "grid": boxes,
        "zero": np.array(0, np.int64),
        "seven": np.array(7, np.int64),
        "starts": np.array([0], np.int64),
        "one": np.array([1], np.int64),
        "not_a_number": np.float32("nan"),
        "two": np.float32(2.0),
        "axis": np.array([1], np.int64),
        "last_axis": np.array([2], np.int64),
    }
    node = helper.make_node
    comparing = [
        node("Split", ["planes"], ["part", "reference"], axis=1),
        node("Sub", ["part", "reference"], ["signed"]),
        node("Abs", ["signed"], ["difference"]),
    ]
    nodes = [
        node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        node("Transpose", ["float"], ["planes"], perm=[0, 3, 1, 2]),
        *(comparing if channels in (2, 6) else []),
        node("ReduceMean", ["difference" if channels in (2, 6) else "planes"], ["grey"], axes=[1], keepdims=1),
        node("AveragePool", ["grey"], ["cells"], kernel_shape=[CELL_PX] * 2, strides=[CELL_PX] * 2),
        node("Reshape", ["cells", "flat"], ["means"]),
        node("Mul", ["means", "scale"], ["scaled"]),
        node("Add", ["scaled", "offset"], ["ratio"]),
        node("Less", ["ratio", "quiet"], ["is_quiet"]),
        node("Sub", ["ratio", "ratio"], ["nothing"]),
        node("Where", ["is_quiet", "nothing", "ratio"], ["loud"]),
        node("Pad", ["loud", "padding"], ["padded"]),
        node("TopK", ["padded", "k"], ["top", "index"], axis=1),
        node("Gather", ["grid", "index"], ["boxes"], axis=0),
        node("Mul", ["index", "zero"], ["zeros"]),
    ]
    nodes.append(node("Add", ["zeros", "seven" if fault == "label" else "zero"], ["labels"]))
    score_shape: list[str | int] = ["N", candidates]
    score_name = "confidence" if fault == "names" else "scores"
    if fault == "rank":
        nodes.append(node("Unsqueeze", ["top", "last_axis"], [score_name]))
        score_shape.append(1)
    elif fault == "short":  # the length comes from the data, so that no shape inference sees it
        nodes.append(node("Shape", ["top"], ["shape"]))
        nodes.append(node("Gather", ["shape", "axis"], ["length"], axis=0))
        nodes.append(node("Sub", ["length", "one"], ["ends"]))
        nodes.append(node("Slice", ["top", "starts", "ends", "axis"], [score_name]))
    elif fault in ("nan", "loud"):
        nodes.append(node("Mul", ["top", "not_a_number" if fault == "nan" else "two"], [score_name]))
    else:
        nodes.append(node("Identity", ["top"], [score_name]))
    image_type = TensorProto.FLOAT if fault == "float_input" else TensorProto.UINT8
    image_width: str | int = "W" if fault == "dynamic" else width
    used = {name for item in nodes for name in item.input}
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", image_type, ["N", height, image_width, channels])],
        [
            helper.make_tensor_value_info("boxes", TensorProto.FLOAT, ["N", candidates, 4]),
            helper.make_tensor_value_info(score_name, TensorProto.FLOAT, score_shape),
            helper.make_tensor_value_info("labels", TensorProto.INT64, ["N", candidates]),
        ],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items() if name in used],
    )
    opset = 16 if fault == "opset" else 17
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    return bytes(model.SerializeToString())


def tiny_manifest(width: int = 64, height: int = 64, channels: Literal[1, 2, 3, 6] = 1, **changes: object) -> Manifest:
    """Return the manifest of tiny_model; `changes` replace fields."""
    manifest = Manifest(
        schema="vi.bundle/1",
        name="tiny",
        revision=1,
        classes=(DefectClass(name="spot", severity="major", limit=0.5),),
        geometry=Geometry(width=width, height=height, channels=channels, fit="exact", pad_value=114),
        outputs=Outputs(candidates=100, nms_iou=0.5, score_floor=0.05),
        tolerance=Tolerance(min_iou=0.9, max_score_difference=0.02),
        lineage=Lineage(
            dataset_digest="0" * 64,
            source_commit="none",
            trained_at="2026-01-01T00:00:00.000Z",
            released_by="tests",
            metrics={"ap": 1.0},
        ),
        digests={},
    )
    return manifest.model_copy(update=changes)


def spot_picture(
    width: int,
    height: int,
    spots: Sequence[tuple[int, int, int]] = (),
    *,
    channels: int = 1,
    background: int = 60,
) -> Pixels:
    """Paint 16x16 spots (column, row, grey), counted in cells, on a plain background."""
    pixels = np.full((height, width, channels), background, np.uint8)
    for column, row, grey in spots:
        pixels[row * CELL_PX : (row + 1) * CELL_PX, column * CELL_PX : (column + 1) * CELL_PX] = grey
    return pixels


def spot_detection(column: int, row: int, grey: int) -> Detection:
    """Return what tiny_model finds for a spot of spot_picture."""
    x, y = float(column * CELL_PX), float(row * CELL_PX)
    return Detection("spot", grey / 255, (x, y, x + CELL_PX, y + CELL_PX))


def tiny_baseline() -> Baseline:
    """Return a baseline that fits spot_picture's background."""
    return Baseline(schema="vi.baseline/1", count=10, statistics={"brightness_mean": Spread(mean=60.0, spread=2.0)})


def tiny_bundle(
    path: Path,
    width: int = 64,
    height: int = 64,
    channels: Literal[1, 2, 3, 6] = 1,
    *,
    fault: Fault = "",
    model_onnx: bytes = b"",
    variants: Mapping[VariantName, bytes] | None = None,
    **changes: object,
) -> Path:
    """Write a bundle of tiny_model, or of a model that finds the same, with three golden images (none, one, two spots).

    With 2 or 6 channels the golden images have a reference without spots. `changes` go to the manifest, and so do
    models of other precisions.
    """
    spots: list[list[tuple[int, int, int]]] = [[], [(1, 1, 200)], [(0, 0, 150), (2, 1, 255)]]
    golden = [_golden(width, height, channels, each) for each in spots]
    write_bundle(
        path,
        tiny_manifest(width, height, channels, **changes).with_variants(
            {name: tiny_variant() for name in variants or {}}
        ),
        variants=variants,
        model_onnx=model_onnx or tiny_model(width, height, channels, fault=fault),
        golden=golden,
        baseline=tiny_baseline(),
        model_card="# tiny\n",
    )
    return path


def golden_of_all_kinds() -> list[GoldenImage]:
    """Return as many golden images of tiny_model as a proof wants, of every kind, with a spot on all but good ones."""
    kinds = islice(cycle(get_args(GoldenKind)), LEAST_GOLDEN)
    good = ("clear_good", "empty")
    return [replace(_golden(64, 64, 1, [] if kind in good else [(1, 1, 200)]), kind=kind) for kind in kinds]


def tiny_variant(**changes: object) -> Variant:
    """Return what a manifest says of a model of another precision; `changes` replace fields."""
    return Variant(
        tolerance=Tolerance(min_iou=0.8, max_score_difference=0.1),
        ap=0.99,
        ap_drop=0.001,
        parts=20,
        parts_changed=0,
        method="percentile",
        calibration=("0" * 64,),
        kept_float=(),
    ).model_copy(update=changes)


def _golden(width: int, height: int, channels: int, spots: list[tuple[int, int, int]]) -> GoldenImage:
    found = tuple(spot_detection(*spot) for spot in spots)
    if channels % 2:
        return GoldenImage.from_pixels(spot_picture(width, height, spots, channels=channels), found)
    half = channels // 2
    picture, reference = (spot_picture(width, height, each, channels=half, background=0) for each in (spots, []))
    return GoldenImage.from_pixels(with_reference(picture, reference, half), found)
