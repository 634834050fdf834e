"""Candidates that behave on golden images and misbehave on a picture with a pixel of TRAP_GREY."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from appliance.events import Pixels
from tests.models import spot_picture, tiny_model

TRAP_GREY = 77
"""A picture with a pixel of exactly this grey springs the trap; as a background it is good."""


def trap_picture() -> Pixels:
    """Paint a good picture that springs the trap."""
    return spot_picture(64, 64, background=TRAP_GREY)


def nan_model() -> bytes:
    """Return tiny_model whose scores are no numbers where the trap is sprung."""
    return _with_trap([helper.make_node("Log", ["minus_sprung"], ["poison"])])


def greedy_model(megabytes: int) -> bytes:
    """Return tiny_model that takes so much memory more where the trap is sprung."""
    side = megabytes * 10**6 // 4
    nodes = [
        helper.make_node("Mul", ["sprung_count", "side"], ["length"]),
        helper.make_node("Add", ["length", "one_element"], ["room"]),
        helper.make_node("Expand", ["sprung", "room"], ["huge"]),
        helper.make_node("ReduceMax", ["huge"], ["full"], keepdims=0),
        helper.make_node("Sub", ["full", "full"], ["poison"]),
    ]
    return _with_trap(nodes, side=np.array([side], np.int64))


def _with_trap(nodes: list[onnx.NodeProto], **constants: np.ndarray) -> bytes:
    """Insert nodes that make `poison`, a scalar that is added to every score, of `sprung` (0.0 or 1.0)."""
    model = onnx.load_from_string(tiny_model(64, 64))
    graph, node = model.graph, helper.make_node
    values = {"trap_grey": np.float32(TRAP_GREY), "one_element": np.array([1], np.int64), **constants}
    graph.initializer.extend(numpy_helper.from_array(np.asarray(value), name) for name, value in values.items())
    sense = [
        node("Equal", ["float", "trap_grey"], ["is_trap"]),
        node("Cast", ["is_trap"], ["traps"], to=TensorProto.FLOAT),
        node("ReduceMax", ["traps"], ["sprung"], keepdims=0),
        node("Neg", ["sprung"], ["minus"]),
        node("Sub", ["one_float", "sprung"], ["calm"]),
        node("Sub", ["calm", "sprung"], ["minus_sprung"]),
        node("Reshape", ["sprung", "one_element"], ["sprung_vector"]),
        node("Cast", ["sprung_vector"], ["sprung_count"], to=TensorProto.INT64),
    ]
    graph.initializer.append(numpy_helper.from_array(np.asarray(np.float32(1.0)), "one_float"))
    work = [*sense, *nodes, node("Add", ["clean_ratio", "poison"], ["ratio"])]
    present = list(graph.node)
    place = next(index for index, item in enumerate(present) if "ratio" in item.output)
    present[place].output[0] = "clean_ratio"
    del graph.node[:]
    graph.node.extend([*present[: place + 1], *work, *present[place + 1 :]])
    return bytes(model.SerializeToString())
