import onnx
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.nets import learned_net
from trainer.graph import ContractNet, to_onnx
from trainer.look_around import LookAround
from trainer.model import Net, cell_centres, decode_boxes
from trainer.score_calibration import ScoreMap
from trainer.sizes import SIZES, TABLE, NetShape, SizeName
from trainer.turned import TurnedConv, TurnedNorm, plain


def _boxes(distances: Tensor, height: int, width: int) -> Tensor:
    return decode_boxes(distances.flatten(2).transpose(1, 2), cell_centres(height, width))[0]


def _turned(boxes: Tensor, width: int) -> Tensor:
    """Turn boxes in a picture by a quarter against the clock: a point (x, y) goes to (y, width - x)."""
    x1, y1, x2, y2 = boxes.unbind(dim=1)
    return torch.stack((y1, width - x2, y2, width - x1), dim=1)


@settings(max_examples=25, deadline=None)
@given(
    channels=st.sampled_from([1, 2, 3, 6]),
    width=st.sampled_from([8, 16, 40, 64]),
    depth=st.integers(1, 2),
    detail=st.sampled_from([8, 16]),
    rows=st.integers(2, 5),
    columns=st.integers(2, 5),
    seed=st.integers(0, 1000),
)
@torch.no_grad()
@example(channels=1, width=8, depth=1, detail=8, rows=20, columns=21, seed=0)  # too large to look at each place
def test_a_turned_picture_gets_the_turned_answer(
    channels: int, width: int, depth: int, detail: int, rows: int, columns: int, seed: int
) -> None:
    net = learned_net(NetShape(channels, 3, width, depth, detail), seed)
    picture = torch.rand(1, channels, 32 * rows, 32 * columns)
    height, length = picture.shape[2:]
    logits, distances = net(picture)
    turned_logits, turned_distances = net(torch.rot90(picture, 1, (2, 3)))
    assert logits.std() > 1e-3  # it does tell places apart
    assert torch.allclose(torch.rot90(logits, 1, (2, 3)), turned_logits, rtol=1e-3, atol=1e-3)
    cells = torch.rot90(torch.arange(height * length // 64).reshape(height // 8, length // 8), 1).flatten()
    expected = _turned(_boxes(distances, height, length), length)[cells]
    assert torch.allclose(expected, _boxes(turned_distances, length, height), rtol=1e-3, atol=0.05)


@pytest.mark.parametrize("size", SIZES)
@torch.no_grad()
def test_what_a_device_gets_is_plain_and_answers_the_same(size: SizeName) -> None:
    dials = TABLE[size]
    net = learned_net(NetShape(1, 3, dials.width, dials.depth, dials.detail))
    made = plain(net)
    kinds = {type(layer) for layer in made.modules() if not list(layer.children())}
    assert kinds == {nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.Upsample}
    picture = torch.rand(2, 1, 96, 128)
    for found, expected in zip(made(picture), net(picture), strict=True):
        assert torch.allclose(found, expected, rtol=1e-4, atol=1e-4)


_OF_ALL = {"Conv", "Relu", "Add", "Concat", "Resize", "Constant"}
_OF_LOOKING_AROUND = {"MatMul", "Where", "Softmax", "Transpose", "Reshape"}
_OF_ITS_COSINE = {"Mul", "ReduceMean", "Sqrt", "Div", "Exp"}


@pytest.mark.parametrize(
    ("channels", "kinds"), [(1, _OF_ALL | _OF_LOOKING_AROUND | _OF_ITS_COSINE), (2, _OF_ALL)], ids=["single", "beside"]
)
def test_no_kernel_in_the_exported_graph_is_turned(channels: int, kinds: set[str]) -> None:
    shape = NetShape(channels, 2, 16, detail=8)
    graph = onnx.load_from_string(to_onnx(ContractNet(learned_net(shape), ScoreMap(), 96, 96), channels)).graph
    first = next(number for number, node in enumerate(graph.node) if node.op_type == "Conv")
    last = max(number for number, node in enumerate(graph.node) if node.op_type == "Conv")
    assert {node.op_type for node in graph.node[first : last + 1]} == kinds


@pytest.mark.parametrize("channels", [1, 2])
@torch.no_grad()
def test_a_net_without_a_reference_looks_in_the_whole_picture_for_what_is_alike(channels: int) -> None:
    net = learned_net(NetShape(channels, 2, 16, detail=8))
    picture = torch.rand(1, channels, 64, 1280)
    elsewhere = picture.clone()
    elsewhere[..., 1216:] = 0.5  # further away than any convolution reaches
    here, still_here = (net(each)[0][..., :8] for each in (picture, elsewhere))
    assert torch.equal(here, still_here) == (channels == 2)


@pytest.mark.parametrize(
    ("side", "is_learning", "do_they_tell"), [(6, False, False), (6, True, False), (40, True, False), (40, False, True)]
)
@torch.no_grad()
def test_places_that_touch_tell_nothing_to_each_other_but_where_many_are_looked_at_on_a_device(
    side: int, is_learning: bool, do_they_tell: bool
) -> None:
    torch.manual_seed(0)
    around = LookAround(16).train(is_learning)
    for layer in around.modules():
        if isinstance(layer, TurnedNorm):
            layer.training = False  # or each place would move all others by the statistics of the batch
    nn.init.normal_(around.scale.weight)
    before = torch.rand(1, 16, side, side)
    after = before.clone()
    after[..., 2, 3] = torch.rand(16)
    is_same = (around(before) == around(after)).all(dim=1)[0]
    assert is_same[2, 2] == (not do_they_tell)
    assert is_same[3, 4] == (not do_they_tell)
    assert not is_same[-2:, -2:].any()


def test_a_net_goes_on_learning_after_it_was_exported() -> None:
    net = learned_net(NetShape(1, 2, 8))
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    to_onnx(ContractNet(net, ScoreMap(), 96, 96), 1)
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    net.train()(torch.rand(2, 1, 64, 64))[0].sum().backward()
    assert all(weight.grad is not None for name, weight in net.named_parameters() if not name.startswith("box_head"))


def test_a_normalisation_learns_as_torchs_own_and_settles_on_what_all_directions_show() -> None:
    ours, torchs = TurnedNorm(8).train(), nn.BatchNorm2d(8, 1e-3).train()
    for own, plain_one in ((ours.weight, torchs.weight), (ours.bias, torchs.bias)):
        own.data.normal_()
        plain_one.data = own.data.repeat_interleave(4)
    seen = torch.randn(2, 8, 6, 6) * torch.arange(1.0, 9.0)[:, None, None] + torch.arange(8.0)[:, None, None]
    assert torch.allclose(ours(seen), torchs(seen), atol=1e-5)
    assert torchs.running_mean is not None
    assert torchs.running_var is not None
    settled = ours.eval().plain()
    for found, kept in ((settled.running_mean, torchs.running_mean), (settled.running_var, torchs.running_var)):
        assert found is not None
        assert torch.allclose(found, kept.reshape(2, 4).mean(dim=1).repeat_interleave(4), atol=1e-5)


def test_a_stride_that_reads_a_turned_picture_elsewhere_is_refused() -> None:
    with pytest.raises(RuntimeError, match="3 pixels with stride 2"):
        TurnedConv(8, 8, 3, 2)


def test_a_net_learns_after_one_of_its_kind_has_judged_in_inference_mode() -> None:
    shape = NetShape(1, 2, 24)  # of a width that no other test has
    with torch.inference_mode():
        Net(shape).eval()(torch.zeros(1, 1, 64, 64))
    net = Net(shape).train()
    net(torch.rand(2, 1, 64, 64))[0].sum().backward()
    assert net.class_head.weight.grad is not None
