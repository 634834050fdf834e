"""Weights of 7 bits for processors that add products of 8 bits in 16."""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from trainer.graph import ContractNet, to_onnx
from trainer.model import Net
from trainer.quantise import observe, quantisable, to_int8
from trainer.score_calibration import ScoreMap
from trainer.sizes import NetShape


@pytest.mark.parametrize(("bits", "largest"), [(8, 127), (7, 64)])
def test_two_products_of_7_bits_do_not_overflow_16(bits: int, largest: int) -> None:
    model = to_onnx(ContractNet(Net(NetShape(1, 2, 8)).eval(), ScoreMap(), 96, 96), 1)
    seen = list(np.random.default_rng(0).integers(0, 255, (2, 96, 96, 1), dtype=np.uint8))
    quantised = to_int8(model, observe(model, seen, "minmax"), quantisable(model), bits)
    found = [numpy_helper.to_array(item) for item in onnx.load_from_string(quantised).graph.initializer]
    kernels = [values.astype(int) for values in found if values.dtype == np.int8 and values.ndim == 4]
    assert max(int(np.abs(values).max()) for values in kernels) == largest
    assert (2 * 255 * largest < 2**15) is (bits == 7)
