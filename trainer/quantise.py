"""The model with 8 bits: post-training static quantisation to explicit symmetric Q/DQ pairs.

Signed 8 bits for weights (one scale per channel) and activations (one scale each), zero point 0, no quantised bias:
what TensorRT and OpenVINO both take. Batch normalisation is folded already, by the exporter. Only inputs of
convolutions are quantised, never their outputs: behind the ReLU nothing is below zero, and half of the steps would
be wasted on what is not there.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx

from appliance.bundle.manifest import Manifest
from appliance.events import Pixels
from appliance.runtimes.onnx import OnnxRuntime
from trainer.layers import behind_concatenation, convolutions

Method = Literal["percentile", "minmax"]
WEIGHT_BITS = 8
FEWER_BITS = 7
"""Of weights, where products of 8 bits overflow: a processor without VNNI adds them in pairs, in 16 bits."""

WAYS: tuple[tuple[Method, int], ...] = (
    ("percentile", WEIGHT_BITS),
    ("percentile", FEWER_BITS),
    ("minmax", WEIGHT_BITS),
)
"""Ways to choose the ranges, and bits of the weights, the best first: on DeepPCB 8 bits lose 0.0 points of AP with the
first, and 2.4 with the last."""

RANKING_PICTURES = 8
"""Of those that the ranges are seen on, so many tell how much each layer harms."""

PERCENTILE = 99.999
"""So much of each activation is inside its range; 99.99 cuts off peaks that decide (0.2 points of AP more)."""

_KINDS = {"percentile": "Percentile", "minmax": "MinMax"}
_OPTIONS = {
    "ActivationSymmetric": True,
    "WeightSymmetric": True,
    "QuantizeBias": False,
    "OpTypesToExcludeOutputQuantization": ["Conv"],
}


class _Once:
    """One picture, as ONNX Runtime's calibrators read it: all at once would have to lie in memory together."""

    def __init__(self, picture: Pixels) -> None:
        self._left = [{"image": picture[None]}]

    def get_next(self) -> dict[str, Any] | None:
        return self._left.pop() if self._left else None


def observe(model_onnx: bytes, pictures: Sequence[Pixels], method: Method) -> Any:
    """Run the model on pictures and choose the range of each activation.

    Args:
        model_onnx: as trainer.graph.to_onnx writes it.
        pictures: uint8 [height, width, channels] of the model's size.
        method: how a range is chosen.

    Returns:
        ONNX Runtime's ranges, for `to_int8`.
    """
    from onnxruntime.quantization import CalibrationMethod, create_calibrator  # after appliance.runtimes.onnx

    extra: dict[str, Any] = {"symmetric": True} | ({"percentile": PERCENTILE} if method == "percentile" else {})
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):  # it talks a lot
        file = Path(folder) / "model.onnx"
        file.write_bytes(model_onnx)
        calibrator = create_calibrator(
            file,
            ["Conv"],
            augmented_model_path=str(file.with_name("augmented.onnx")),
            calibrate_method=getattr(CalibrationMethod, _KINDS[method]),
            extra_options=extra,
        )
        for picture in pictures:
            calibrator.collect_data(_Once(picture))
        return calibrator.compute_data()


def quantisable(model_onnx: bytes) -> tuple[str, ...]:
    """Name the layers that `to_int8` may quantise, in the order of the graph.

    The heads stay float, and so do convolutions behind a concatenation: OpenVINO 2026.4 rounds otherwise there than
    the file says (a tenth of the logits' size), and they are a twentieth of the arithmetic.

    Args:
        model_onnx: as trainer.graph.to_onnx writes it.

    Returns:
        Their names.
    """
    model = onnx.load_from_string(model_onnx)
    left_out = behind_concatenation(model)
    return tuple(name for name in convolutions(model)[0] if name not in left_out)


def to_int8(model_onnx: bytes, ranges: Any, layers: Sequence[str], weight_bits: int = WEIGHT_BITS) -> bytes:
    """Quantise some layers of a model.

    Args:
        model_onnx: as trainer.graph.to_onnx writes it.
        ranges: what `observe` returned.
        layers: names, of those that are `quantisable`.
        weight_bits: how many of its 8 bits a weight uses, 8 or 7.

    Returns:
        The ONNX file of the same operator set, checked by onnx's own checker.
    """
    from onnxruntime.quantization import QDQQuantizer, QuantType

    quantizer = QDQQuantizer(
        onnx.load_from_string(model_onnx),
        per_channel=True,
        reduce_range=weight_bits == FEWER_BITS,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QInt8,
        tensors_range=ranges,
        nodes_to_quantize=list(layers),
        nodes_to_exclude=[],
        op_types_to_quantize=["Conv"],
        extra_options=dict(_OPTIONS),
    )
    if layers:  # it takes an empty list for all
        quantizer.quantize_model()
        quantizer.model.topological_sort()
    model = quantizer.model.model
    onnx.checker.check_model(model, full_check=True)
    content: bytes = model.SerializeToString()
    return content


def rank_layers(model_onnx: bytes, ranges: Any, pictures: Sequence[Pixels], manifest: Manifest) -> list[str]:
    """Sort the layers by how much the scores move if this layer alone is quantised, the most harmful first.

    Args:
        model_onnx: as trainer.graph.to_onnx writes it.
        ranges: what `observe` returned.
        pictures: uint8 [height, width, channels] of the model's size.
        manifest: of the model.

    Returns:
        Their names.
    """
    batches = [picture[None] for picture in pictures]
    runtime = OnnxRuntime(model_onnx, manifest)
    exact = [runtime.infer(batch).scores for batch in batches]
    harm: dict[str, float] = {}
    for layer in quantisable(model_onnx):
        runtime = OnnxRuntime(to_int8(model_onnx, ranges, [layer]), manifest, precision="int8")
        found = [runtime.infer(batch).scores for batch in batches]
        harm[layer] = float(np.mean([np.abs(one - other).mean() for one, other in zip(exact, found, strict=True)]))
        runtime.close()
    return sorted(harm, key=lambda layer: -harm[layer])


class Quantiser:
    """Makes models with 8 bits of one model; what several of them need is found out once.

    Args:
        model_onnx: as trainer.graph.to_onnx writes it.
        pictures: that the ranges are seen on, uint8 [height, width, channels] of the model's size.
        manifest: of the model.
    """

    def __init__(self, model_onnx: bytes, pictures: Sequence[Pixels], manifest: Manifest) -> None:
        self._model_onnx = model_onnx
        self._pictures = pictures
        self._manifest = manifest
        self._ranges: dict[Method, Any] = {}

    def model(self, layers: Sequence[str], method: Method, bits: int) -> bytes:
        """Return the model with some layers quantised.

        Args:
            layers: of `quantisable`.
            method: how the ranges are chosen.
            bits: of the weights.
        """
        return to_int8(self._model_onnx, self._observed(method), layers, bits)

    def harmful(self, method: Method) -> list[str]:
        """Return the names of the layers, the most harmful first.

        Args:
            method: how the ranges are chosen.

        Raises:
            BundleError, RuntimeFault, ConfigError: A model with one layer quantised does not run here.
        """
        few = self._pictures[:RANKING_PICTURES]
        return rank_layers(self._model_onnx, self._observed(method), few, self._manifest)

    def _observed(self, method: Method) -> Any:
        if method not in self._ranges:
            self._ranges[method] = observe(self._model_onnx, self._pictures, method)
        return self._ranges[method]
