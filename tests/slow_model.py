"""A model whose time depends on the picture: proved in time on its golden images, seconds too late on others."""

import math
import time
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from appliance.bundle.manifest import Manifest
from appliance.events import Pixels
from appliance.runtimes.onnx import OnnxRuntime
from tests.models import spot_picture, tiny_bundle, tiny_manifest, tiny_model

SLOW_GREY = 80
"""A picture with a pixel of exactly this grey takes long; as a background it is good."""

SIDE = 256
MEASURED_ROUNDS = 400


def one_round() -> onnx.GraphProto:
    """Return the body of an ONNX Loop: one multiplication of matrices by the initializer `weights`."""
    matrix = [SIDE, SIDE]
    return helper.make_graph(
        [
            helper.make_node("MatMul", ["before", "weights"], ["after"]),
            helper.make_node("Identity", ["goes_on"], ["goes_on_still"]),
        ],
        "round",
        [
            helper.make_tensor_value_info("round_number", TensorProto.INT64, []),
            helper.make_tensor_value_info("goes_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("before", TensorProto.FLOAT, matrix),
        ],
        [
            helper.make_tensor_value_info("goes_on_still", TensorProto.BOOL, []),
            helper.make_tensor_value_info("after", TensorProto.FLOAT, matrix),
        ],
    )


def slow_model(rounds: int) -> bytes:
    """Return tiny_model with so many multiplications of matrices before its answer where a pixel is SLOW_GREY."""
    model = onnx.load_from_string(tiny_model(64, 64))
    graph, node = model.graph, helper.make_node
    weights = np.random.default_rng(11).standard_normal((SIDE, SIDE)).astype(np.float32)
    constants = {
        "slow_grey": np.float32(SLOW_GREY),
        "rounds": np.array(rounds, np.int64),
        "weights": weights,
        "blank": np.zeros((SIDE, SIDE), np.float32),
    }
    graph.initializer.extend(numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items())
    work = [
        node("Equal", ["float", "slow_grey"], ["is_slow_here"]),
        node("Cast", ["is_slow_here"], ["slow_here"], to=TensorProto.INT64),
        node("ReduceMax", ["slow_here"], ["is_slow"], keepdims=0),
        node("Mul", ["is_slow", "rounds"], ["rounds_to_go"]),
        node("Loop", ["rounds_to_go", "", "blank"], ["worked"], body=one_round()),
        node("ReduceMax", ["worked"], ["zero_in_the_end"], keepdims=0),
        node("Add", ["quick_ratio", "zero_in_the_end"], ["ratio"]),
    ]
    nodes = list(graph.node)
    place = next(index for index, item in enumerate(nodes) if "ratio" in item.output)
    nodes[place].output[0] = "quick_ratio"
    del graph.node[:]
    graph.node.extend([*nodes[: place + 1], *work, *nodes[place + 1 :]])
    return bytes(model.SerializeToString())


def slow_picture(spots: list[tuple[int, int, int]] | None = None) -> Pixels:
    """Paint a picture that takes long, good without spots."""
    return spot_picture(64, 64, spots or [], background=SLOW_GREY)


def slow_bundle(path: Path, lasts_s: float, **changes: object) -> Path:
    """Write a bundle whose model takes at least about so long on this computer for a slow picture."""
    return tiny_bundle(path, model_onnx=slow_model(rounds_for(lasts_s)), **changes)


def rounds_for(lasts_s: float) -> int:
    """Return how many multiplications take at least about so long on this computer."""
    quickest_s = min(_duration_s(MEASURED_ROUNDS, tiny_manifest()) for _ in range(3))
    return math.ceil(MEASURED_ROUNDS * lasts_s / quickest_s)


def _duration_s(rounds: int, manifest: Manifest) -> float:
    runtime = OnnxRuntime(slow_model(rounds), manifest, threads=1, providers=["CPUExecutionProvider"])
    started_ns = time.monotonic_ns()
    runtime.infer(slow_picture()[None])
    runtime.close()
    return (time.monotonic_ns() - started_ns) / 1e9
