"""The convolutions of an exported graph: those of the body, and the heads that decide."""

from __future__ import annotations

from collections import defaultdict

import onnx


def convolutions(model: onnx.ModelProto) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Name the convolutions of a graph.

    A head is a convolution that no other one comes behind: what it says is decoded into scores and boxes, and stays
    float in every precision.

    Args:
        model: as trainer.graph.to_onnx writes it.

    Returns:
        Names of the body's convolutions in the order of the graph, and of the heads.
    """
    readers = defaultdict(list)
    for node in model.graph.node:
        for name in node.input:
            readers[name].append(node)
    has_convolution_behind: dict[str, bool] = {}
    for node in reversed(model.graph.node):  # a graph is sorted: what reads a node stands behind it
        behind = [reader for name in node.output for reader in readers[name]]
        found = any(it.op_type == "Conv" or has_convolution_behind[it.name] for it in behind)
        has_convolution_behind[node.name] = found
    names = [node.name for node in model.graph.node if node.op_type == "Conv"]
    body = tuple(name for name in names if has_convolution_behind[name])
    return body, tuple(name for name in names if not has_convolution_behind[name])


def between(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """Return the nodes from the first convolution to the heads, without these, in the order of the graph.

    Args:
        model: as trainer.graph.to_onnx writes it.
    """
    body, heads = convolutions(model)
    wanted = {name for node in model.graph.node if node.name in heads for name in node.input[:1]}
    leading: set[str] = set()
    for node in reversed(model.graph.node):
        if node.name not in heads and wanted.intersection(node.output):
            leading.add(node.name)
            wanted.update(node.input)
    reached: set[str] = set()
    chosen = []
    for node in model.graph.node:
        is_behind = node.name in body or reached.intersection(node.input)
        if node.name in leading and is_behind:
            chosen.append(node)
            reached.update(node.output)
    return chosen


def behind_concatenation(model: onnx.ModelProto) -> tuple[str, ...]:
    """Name the convolutions that read a concatenation.

    Args:
        model: as trainer.graph.to_onnx writes it.

    Returns:
        The names, in the order of the graph.
    """
    joined = {name for node in model.graph.node if node.op_type == "Concat" for name in node.output}
    return tuple(node.name for node in model.graph.node if node.op_type == "Conv" and node.input[0] in joined)
