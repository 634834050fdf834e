"""The model with 16 bits: every type stands in the file, so that a strongly typed engine has nothing to choose."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from trainer.layers import between

_STAY_FLOAT = {"Resize": (1, 2)}
"""Inputs that the operator's definition keeps with 32 bits: Resize's region and scales."""


def to_fp16(model_onnx: bytes) -> bytes:
    """Convert the net to float16 but for its heads; inputs, outputs, decoding and top-K stay.

    Args:
        model_onnx: as trainer.graph.to_onnx writes it.

    Returns:
        The ONNX file of the same operator set, checked by onnx's own checker.
    """
    model = onnx.load_from_string(model_onnx)
    graph = model.graph
    inside = between(model)
    names = {node.name for node in inside}
    made = {name for node in inside for name in node.output}
    weights = {item.name: item for item in graph.initializer if item.data_type == TensorProto.FLOAT}
    read_from_outside = _floats(model) - made
    casts: dict[str, onnx.NodeProto] = {}
    for node in graph.node:
        for place, name in enumerate(node.input):
            if node.name not in names and name in made:
                node.input[place] = _cast(casts, name, TensorProto.FLOAT)
            elif node.name in names and name in read_from_outside and place not in _STAY_FLOAT.get(node.op_type, ()):
                if name not in weights:
                    node.input[place] = _cast(casts, name, TensorProto.FLOAT16)
                elif weights[name].data_type == TensorProto.FLOAT:
                    _halve(weights[name])
    nodes = [each for node in graph.node for each in (node, *(casts[name] for name in node.output if name in casts))]
    del graph.node[:], graph.value_info[:]
    graph.node.extend(nodes)
    onnx.checker.check_model(model, full_check=True)
    content: bytes = model.SerializeToString()
    return content


def _floats(model: onnx.ModelProto) -> frozenset[str]:
    """Name what has 32 bits: sizes and places, as of Reshape, are whole numbers and stay."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    told = [(item.name, item.type.tensor_type.elem_type) for item in (*graph.input, *graph.value_info, *graph.output)]
    held = [(item.name, item.data_type) for item in graph.initializer]
    return frozenset(name for name, kind in told + held if kind == TensorProto.FLOAT)


def _cast(casts: dict[str, onnx.NodeProto], name: str, kind: int) -> str:
    after = f"{name}_{'f32' if kind == TensorProto.FLOAT else 'fp16'}"
    casts[name] = helper.make_node("Cast", [name], [after], f"{after}_Cast", to=kind)
    return after


def _halve(weight: TensorProto) -> None:
    most = float(np.finfo(np.float16).max)
    values = np.clip(numpy_helper.to_array(weight), -most, most).astype(np.float16)
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))
