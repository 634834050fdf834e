"""What becomes of the ranges that pictures were seen to have: once for all models, of 8 bits and of 7."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from appliance.events import Pixels
from tests.models import tiny_manifest
from trainer.graph import ContractNet, to_onnx
from trainer.model import Net
from trainer.quantise import Quantiser, observe, quantisable, to_int8
from trainer.score_calibration import ScoreMap
from trainer.sizes import NetShape

SIDE_PX = 96


def tiny_net() -> bytes:
    """Return a model; the same each time."""
    torch.manual_seed(0)
    return to_onnx(ContractNet(Net(NetShape(1, 1, 8)).eval(), ScoreMap(), SIDE_PX, SIDE_PX), 1)


def pictures() -> list[Pixels]:
    return list(np.random.default_rng(0).integers(0, 255, (2, SIDE_PX, SIDE_PX, 1), dtype=np.uint8))


class Watched(Sequence[Pixels]):
    """Pictures that count how often all of them are looked at."""

    def __init__(self) -> None:
        self.times = 0
        self._pictures = pictures()

    def __len__(self) -> int:
        return len(self._pictures)

    def __getitem__(self, at: Any) -> Any:
        return self._pictures[at]

    def __iter__(self) -> Iterator[Pixels]:
        self.times += 1
        return iter(self._pictures)


def test_ranges_are_seen_once_however_many_models_need_them() -> None:
    model, seen = tiny_net(), Watched()
    layers = quantisable(model)
    quantiser = Quantiser(model, seen, tiny_manifest(SIDE_PX, SIDE_PX))
    whole, part, fewer = (
        quantiser.model(chosen, "minmax", bits) for chosen, bits in ((layers, 8), (layers[:1], 8), (layers, 7))
    )
    assert whole == to_int8(model, observe(model, pictures(), "minmax"), layers)
    assert len({whole, part, fewer}) == 3
    assert quantiser.harmful("minmax") == quantiser.harmful("minmax")
    assert seen.times == 1
    quantiser.model(layers, "percentile", 8)
    assert seen.times == 2


@pytest.mark.parametrize(("bits", "largest"), [(8, 127), (7, 64)])
def test_two_products_of_7_bits_do_not_overflow_16(bits: int, largest: int) -> None:
    model, seen = tiny_net(), pictures()
    quantised = to_int8(model, observe(model, seen, "minmax"), quantisable(model), bits)
    found = [numpy_helper.to_array(item) for item in onnx.load_from_string(quantised).graph.initializer]
    kernels = [values.astype(int) for values in found if values.dtype == np.int8 and values.ndim == 4]
    assert max(int(np.abs(values).max()) for values in kernels) == largest
    assert (2 * 255 * largest < 2**15) is (bits == 7)
