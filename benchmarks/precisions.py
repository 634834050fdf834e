"""The shipped model in other precisions, as TensorRT takes them: only to try runtimes, no accuracy is promised."""

import tempfile
from pathlib import Path
from typing import Any

import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.transformers.float16 import convert_float_to_float16

from appliance.events import Pixels

LEFT_IN_F32 = ("Cast", "TopK", "Gather", "GatherElements", "Concat", "Sigmoid", "Softmax")


def as_fp16(model_onnx: bytes) -> bytes:
    """Return a model that computes with float16 but for its heads; inputs and outputs stay."""
    model = onnx.load_from_string(model_onnx)
    converted = convert_float_to_float16(model, keep_io_types=True, op_block_list=list(LEFT_IN_F32))
    return bytes(converted.SerializeToString())


class CalibrationPictures(CalibrationDataReader):  # type: ignore[misc]
    """Shows each picture once, as onnxruntime's quantiser wants them."""

    def __init__(self, pictures: list[Pixels]) -> None:
        self._left = list(pictures)

    def get_next(self) -> dict[str, Any] | None:
        """Return the next picture, or None."""
        return {"image": self._left.pop()[None]} if self._left else None


def as_int8(model_onnx: bytes, pictures: list[Pixels]) -> bytes:
    """Return a model whose convolutions have symmetric Q/DQ nodes, its ranges seen on a few pictures.

    TensorRT takes symmetric int8 only, and no quantised bias.
    """
    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder) / "f32.onnx", Path(folder) / "int8.onnx"
        before.write_bytes(model_onnx)
        quantize_static(
            str(before), str(after), CalibrationPictures(pictures), quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv"], activation_type=QuantType.QInt8, weight_type=QuantType.QInt8,
            extra_options={"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False},
        )  # fmt: skip
        return after.read_bytes()
