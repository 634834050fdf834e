"""What of a model file can be checked without any inference library: the head of the ONNX container."""

from collections.abc import Iterator
from dataclasses import dataclass

from appliance.errors import BundleFormatError

OPSETS = (17, 18)
"""ONNX operator sets that every supported engine takes."""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MODEL_GRAPH, _MODEL_OPSET = 7, 8
_GRAPH_INITIALIZER = 5
_TENSOR_LOCATION, _EXTERNAL = 14, 1


@dataclass(frozen=True, slots=True)
class ModelHead:
    """The operator set version of a model file."""

    opset: int


def check_model(data: bytes) -> ModelHead:
    """Check that a model file is ONNX, of a known operator set, and complete in itself.

    Args:
        data: the model file.

    Returns:
        Its head.

    Raises:
        BundleFormatError: not ONNX, another operator set, custom operators, or weights outside of the file.

    Source:
        onnx.proto, messages ModelProto, OperatorSetIdProto, TensorProto.
    """
    opsets: dict[str, int] = {}
    try:
        for number, value in _fields(data):
            if number == _MODEL_OPSET and isinstance(value, bytes):
                entry = dict(_fields(value))
                domain, version = entry.get(1, b""), entry.get(2, 0)
                if isinstance(domain, bytes) and isinstance(version, int):
                    opsets[domain.decode("utf-8", "replace")] = version
            elif number == _MODEL_GRAPH and isinstance(value, bytes):
                _refuse_external_weights(value)
    except (IndexError, ValueError) as error:
        raise BundleFormatError("model.onnx is not an ONNX file; export the bundle again") from error
    if strange := sorted(opsets.keys() - {"", "ai.onnx"}):
        raise BundleFormatError(f"model.onnx uses operators of {strange}; export it with standard operators only")
    opset = opsets.get("", opsets.get("ai.onnx", 0))
    if opset not in OPSETS:
        raise BundleFormatError(f"model.onnx has operator set {opset}; export it with {' or '.join(map(str, OPSETS))}")
    return ModelHead(opset)


def _refuse_external_weights(graph: bytes) -> None:
    for number, value in _fields(graph):
        if number == _GRAPH_INITIALIZER and isinstance(value, bytes):
            for field, content in _fields(value):
                if field == _TENSOR_LOCATION and content == _EXTERNAL:
                    raise BundleFormatError("model.onnx keeps weights in another file; export it as one file")


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        kind, size = key & 7, 0
        if kind == _VARINT:
            value, at = _varint(data, at)
            yield key >> 3, value
            continue
        if kind == _BYTES:
            size, at = _varint(data, at)
        elif kind in (_FIXED32, _FIXED64):
            size = 4 if kind == _FIXED32 else 8
        else:
            raise ValueError(f"wire type {kind}")
        if at + size > len(data):
            raise ValueError("a field goes beyond the end")
        yield key >> 3, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for place in range(10):
        byte = data[at + place]
        value |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return value, at + place + 1
    raise ValueError("a number is too long")
