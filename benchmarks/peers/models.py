"""The same network in the form that a peer takes: pictures as float, answers in one tensor.

Nothing between is changed: the same convolutions, the same decoding, the same choice of the best 100 boxes.
"""

from enum import Enum

import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper

HEAD = ("Cast", "Transpose", "Mul")
"""What the contract's graph does with the picture's bytes, and a peer outside of the graph."""


class Answer(Enum):
    """What leaves the graph.

    ROWS: float32 [1, 100, 6], each x1 y1 x2 y2 score class, as of detectors that suppress in the graph; no row is
    suppressed here, and the peers' own suppression is not asked for: it is less work for them than for us.
    SCORE: the best score [1], and whether it reaches one half, for a peer that judges whole pictures.
    """

    ROWS = "rows"
    SCORE = "score"


def rewrap(model_onnx: bytes, answer: Answer, channels: int) -> ModelProto:
    """Give a model of the appliance's contract the peers' input and output.

    Args:
        model_onnx: the contract's model of a single picture, not compared with a reference.
        answer: what leaves the graph.
        channels: of the float32 input [1, channels, H, W] with values 0..1: the model's own number, or 3 for a grey
            model, which then looks at the first.

    Returns:
        The model, checked by onnx's own checker.
    """
    model = onnx.load_from_string(model_onnx)
    graph = model.graph
    _, height, width, own_channels = (size.dim_value for size in graph.input[0].type.tensor_type.shape.dim)
    entry = _cut_head(model)
    before: list[NodeProto] = []
    if channels == own_channels:
        before.append(helper.make_node("Identity", ["images"], [entry]))
    else:
        for name, value in (("first", 0), ("last", own_channels), ("axis", 1)):
            graph.initializer.append(helper.make_tensor(f"peer_{name}", TensorProto.INT64, [1], [value]))
        before.append(helper.make_node("Slice", ["images", "peer_first", "peer_last", "peer_axis"], [entry]))
    nodes = [*before, *graph.node, *(_rows(model) if answer is Answer.ROWS else _score(model))]
    del graph.node[:], graph.input[:]
    graph.node.extend(nodes)
    graph.input.append(helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, channels, height, width]))
    del graph.value_info[:]
    onnx.checker.check_model(model, full_check=True)
    return model


def tell_ultralytics(model: ModelProto, classes: list[str], channels: int) -> None:
    """Write into the file what Ultralytics' own export does, so that its predict loop knows the model."""
    side = model.graph.input[0].type.tensor_type.shape.dim
    told = {
        "task": "detect", "stride": "32", "batch": "1", "imgsz": str([side[2].dim_value, side[3].dim_value]),
        "names": str(dict(enumerate(classes))), "channels": str(channels), "end2end": "True",
    }  # fmt: skip
    helper.set_model_props(model, told)


def _cut_head(model: ModelProto) -> str:
    """Take off what prepares the picture; returns the name of the tensor that comes after it."""
    graph, name = model.graph, "image"
    for kind in HEAD:
        (node,) = (each for each in graph.node if name in each.input)
        if node.op_type != kind:
            raise ValueError(f"the graph begins with {node.op_type} where {kind} was expected; it is of another export")
        name = node.output[0]
        graph.node.remove(node)
        for factor in [each for each in graph.node if each.op_type == "Constant" and each.output[0] in node.input]:
            graph.node.remove(factor)
    return str(name)


def _rows(model: ModelProto) -> list[NodeProto]:
    graph = model.graph
    candidates = graph.output[1].type.tensor_type.shape.dim[1].dim_value
    graph.initializer.append(helper.make_tensor("peer_last_axis", TensorProto.INT64, [1], [2]))
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info("output0", TensorProto.FLOAT, [1, candidates, 6]))
    return [
        helper.make_node("Cast", ["labels"], ["peer_classes"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["scores", "peer_last_axis"], ["peer_scores_column"]),
        helper.make_node("Unsqueeze", ["peer_classes", "peer_last_axis"], ["peer_classes_column"]),
        helper.make_node("Concat", ["boxes", "peer_scores_column", "peer_classes_column"], ["output0"], axis=2),
    ]


def _score(model: ModelProto) -> list[NodeProto]:
    graph = model.graph
    graph.initializer.append(helper.make_tensor("peer_half", TensorProto.FLOAT, [], [0.5]))
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info("pred_score", TensorProto.FLOAT, [1]))
    graph.output.append(helper.make_tensor_value_info("pred_label", TensorProto.BOOL, [1]))
    return [
        helper.make_node("ReduceMax", ["scores"], ["pred_score"], axes=[1], keepdims=0),
        helper.make_node("GreaterOrEqual", ["pred_score", "peer_half"], ["pred_label"]),
    ]
