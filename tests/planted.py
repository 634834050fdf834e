"""Bundles with one planted defect: their golden images say what an honest trainer found, their model does otherwise."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from appliance.bundle.archive import write_bundle
from appliance.bundle.geometry import to_model_input
from appliance.bundle.golden import GoldenImage
from appliance.bundle.manifest import Geometry, Manifest, Outputs, Tolerance, VariantName
from appliance.bundle.tolerance import LOOSEST
from appliance.events import Detection, Pixels
from appliance.optics.detector import Detector
from appliance.runtimes.onnx import OnnxRuntime
from tests.models import spot_detection, spot_picture, tiny_baseline, tiny_manifest, tiny_model, tiny_variant
from tests.slow_model import slow_model, slow_picture

LARGE_PX = (128, 96)


def write(
    path: Path,
    model_onnx: bytes,
    golden: list[GoldenImage],
    manifest: Manifest,
    variants: dict[VariantName, bytes] | None = None,
) -> Path:
    """Write a bundle of these golden images, whatever its model does with them."""
    write_bundle(
        path, manifest, model_onnx=model_onnx, golden=golden, baseline=tiny_baseline(), model_card="# planted\n",
        variants=variants,
    )  # fmt: skip
    return path


def wrong_normalisation(path: Path) -> Path:
    """Divide by 275 on the device where the trainer divided by 255."""
    model = onnx.load_from_string(tiny_model(64, 64))
    scale = next(item for item in model.graph.initializer if item.name == "scale")
    scale.CopyFrom(numpy_helper.from_array(np.asarray(np.float32(1 / 275)), "scale"))
    return write(path, bytes(model.SerializeToString()), honest_golden(), tiny_manifest())


def swapped_channels(path: Path, *, is_swapped: bool = True) -> Path:
    """Look at blue on the device where the trainer looked at red."""
    picture = spot_picture(64, 64, [(1, 1, 60)], channels=3)
    picture[16:32, 16:32, 0] = 200
    manifest = tiny_manifest(64, 64, 3)
    golden = [
        GoldenImage.from_pixels(picture, found(picture, _one_channel(0), manifest)),
        GoldenImage.from_pixels(spot_picture(64, 64, channels=3), ()),
    ]
    assert golden[0].detections, "the honest model sees nothing, so the test shows nothing"
    return write(path, _one_channel(2 if is_swapped else 0), golden, manifest)


def another_resize(path: Path, *, is_another: bool = True) -> Path:
    """Fit pictures with bars on the device where the trainer stretched them."""
    width, height = LARGE_PX
    picture = spot_picture(width, height, [(2, 2, 200), (3, 2, 200), (2, 3, 200), (3, 3, 200)])
    geometry = Geometry(width=64, height=64, channels=1, fit="letterbox", pad_value=60)
    manifest, model = tiny_manifest(geometry=geometry), tiny_model(64, 64)
    honest = found(picture, model, manifest)
    stretched = np.ascontiguousarray(cv2.resize(picture, (64, 64), interpolation=cv2.INTER_LINEAR)[:, :, None])
    assert to_model_input(stretched, geometry)[0].shape == (64, 64, 1)
    boxes = found(stretched, model, manifest)
    scaled = tuple(replace(it, box=(it.box[0] * 2, it.box[1] * 1.5, it.box[2] * 2, it.box[3] * 1.5)) for it in boxes)
    assert honest
    assert scaled
    empty = GoldenImage.from_pixels(spot_picture(width, height), ())
    return write(path, model, [GoldenImage.from_pixels(picture, scaled if is_another else honest), empty], manifest)


def blind_to_several(path: Path) -> Path:
    """See nothing as soon as the model is asked about more than one picture at once."""
    model = onnx.load_from_string(tiny_model(64, 64))
    graph = model.graph
    scores = next(node for node in graph.node if "scores" in node.output)
    scores.output[list(scores.output).index("scores")] = "seen"
    graph.initializer.append(numpy_helper.from_array(np.array(0, np.int64), "first"))
    graph.initializer.append(numpy_helper.from_array(np.array(1, np.int64), "alone"))
    graph.node.extend(
        [
            helper.make_node("Shape", ["seen"], ["sides"]),
            helper.make_node("Gather", ["sides", "first"], ["pictures"], axis=0),
            helper.make_node("Equal", ["pictures", "alone"], ["is_alone"]),
            helper.make_node("Cast", ["is_alone"], ["seeing"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["seen", "seeing"], ["scores"]),
        ]
    )
    return write(path, bytes(model.SerializeToString()), honest_golden(), tiny_manifest())


def fails_when_bright(path: Path) -> Path:
    """Let the engine fail at a picture that has no pixel darker than 130, as no golden image is."""
    model = onnx.load_from_string(tiny_model(64, 64))
    graph = model.graph
    scores = next(node for node in graph.node if "scores" in node.output)
    scores.output[list(scores.output).index("scores")] = "seen"
    nothing, bound = np.zeros(1, np.float32), np.array(130, np.float32)
    graph.initializer.extend([numpy_helper.from_array(nothing, "extra"), numpy_helper.from_array(bound, "bound")])
    graph.node.extend(
        [
            helper.make_node("ReduceMin", ["planes"], ["darkest"], keepdims=0),
            helper.make_node("Greater", ["darkest", "bound"], ["is_bright"]),
            helper.make_node("Cast", ["is_bright"], ["where"], to=TensorProto.INT64),
            helper.make_node("Gather", ["extra", "where"], ["more"]),  # of one number the second
            helper.make_node("Add", ["seen", "more"], ["scores"]),
        ]
    )
    return write(path, bytes(model.SerializeToString()), honest_golden(), tiny_manifest())


def mixes_up_several(path: Path) -> Path:
    """Answer for another picture of those that the model is asked about at once."""
    model = onnx.load_from_string(tiny_model(64, 64))
    for node in model.graph.node:
        node.input[:] = ["turned" if name == "image" else name for name in node.input]
    axis, steps = np.array([0], np.int64), np.array([-1], np.int64)
    begin, end = np.array([-1], np.int64), np.array([np.iinfo(np.int64).min], np.int64)
    for name, values in {"turn_begin": begin, "turn_end": end, "turn_axis": axis, "turn_steps": steps}.items():
        model.graph.initializer.append(numpy_helper.from_array(values, name))
    turn = helper.make_node("Slice", ["image", "turn_begin", "turn_end", "turn_axis", "turn_steps"], ["turned"])
    model.graph.node.insert(0, turn)
    return write(path, bytes(model.SerializeToString()), honest_golden(), tiny_manifest())


def int8_gone_bad(path: Path, *, also_fp16: bool = False) -> Path:
    """See nothing bright with 8 bits, and, if asked to, with 16 neither."""
    bad = tiny_model(64, 64, dark=True)
    variants: dict[VariantName, bytes] = {"int8": bad, "fp16": bad if also_fp16 else tiny_model(64, 64)}
    manifest = tiny_manifest().with_variants({name: tiny_variant() for name in variants})
    return write(path, tiny_model(64, 64), honest_golden(), manifest, variants)


def int8_that_answers_nan(path: Path) -> Path:
    """Answer NaN with 8 bits."""
    return _with_int8(path, tiny_model(64, 64, fault="nan"), honest_golden(), tiny_manifest())


def int8_that_finds_more(path: Path, brightest: int = 255) -> Path:
    """Find with 8 bits what decides nothing, in every picture, and be surer of it than of a defect in one.

    All of that is within the tolerances, and no verdict is another one; only the average precision falls. The surest
    defect's score is brightest / 255.
    """
    manifest = tiny_manifest(outputs=Outputs(candidates=100, nms_iou=0.5, score_floor=0.2))
    model = onnx.load_from_string(tiny_model(64, 64))
    offset = next(item for item in model.graph.initializer if item.name == "offset")
    cells = np.zeros(16, np.float32)
    cells[5], cells[15] = -0.03, 0.49 - 60 / 255  # less of the second spot; nearly enough of the background
    offset.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(offset) + cells, "offset"))
    pictures = [spot_picture(64, 64, spots) for spots in ([], [(0, 0, brightest)], [(0, 0, brightest), (1, 1, 130)])]
    golden = [GoldenImage.from_pixels(each, found(each, tiny_model(64, 64), manifest)) for each in pictures]
    return _with_int8(path, bytes(model.SerializeToString()), golden, manifest)


def _with_int8(path: Path, int8: bytes, golden: list[GoldenImage], manifest: Manifest) -> Path:
    wide = tiny_variant(tolerance=LOOSEST["int8"])
    return write(path, tiny_model(64, 64), golden, manifest.with_variants({"int8": wide}), {"int8": int8})


def tolerates(path: Path, f32: Tolerance, int8: Tolerance | None = None) -> Path:
    """Let a device be so far off, with 32 bits and, if there is such a model, with 8."""
    variants: dict[VariantName, bytes] = {"int8": tiny_model(64, 64)} if int8 else {}
    told = {name: tiny_variant(tolerance=int8) for name in variants}
    manifest = tiny_manifest(tolerance=f32).with_variants(told)
    return write(path, tiny_model(64, 64), honest_golden(), manifest, variants)


def slow_everywhere(path: Path, rounds: int) -> Path:
    """Take long for each golden picture."""
    bad = GoldenImage.from_pixels(slow_picture([(1, 1, 200)]), (spot_detection(1, 1, 200),))
    return write(path, slow_model(rounds), [GoldenImage.from_pixels(slow_picture(), ()), bad], tiny_manifest())


def honest_golden() -> list[GoldenImage]:
    """Return pictures with what tiny_model finds on them."""
    pictures = [spot_picture(64, 64, spots) for spots in ([], [(1, 1, 200)], [(0, 0, 150), (2, 1, 255)])]
    manifest = tiny_manifest()
    return [GoldenImage.from_pixels(each, found(each, tiny_model(64, 64), manifest)) for each in pictures]


def found(pixels: Pixels, model_onnx: bytes, manifest: Manifest) -> tuple[Detection, ...]:
    """Return what a model finds, by the way that the device goes."""
    runtime = OnnxRuntime(model_onnx, manifest)
    try:
        return Detector(runtime, manifest).detect(pixels)
    finally:
        runtime.close()


def _one_channel(channel: int) -> bytes:
    """Return tiny_model that looks at one channel of a colour picture only."""
    model = onnx.load_from_string(tiny_model(64, 64, 3))
    graph = model.graph
    place = next(index for index, node in enumerate(graph.node) if node.op_type == "ReduceMean")
    nodes = list(graph.node)
    nodes[place] = helper.make_node("Gather", ["planes", "channel"], ["grey"], axis=1)
    graph.initializer.append(helper.make_tensor("channel", TensorProto.INT64, [1], [channel]))
    del graph.node[:]
    graph.node.extend(nodes)
    return bytes(model.SerializeToString())
