"""One step of learning: what is averaged, what is cut short, and what is computed with fewer bits."""

import copy
import math

import pytest
import torch
from torch import Tensor

from trainer.checkpoint import Checkpoint
from trainer.learner import (
    AVERAGE_DECAY,
    AVERAGE_WARM_STEPS,
    LARGEST_GRADIENT,
    Learner,
    make_optimizers,
    move_average,
)
from trainer.model import Net
from trainer.pictures import Batch
from trainer.sizes import NetShape
from trainer.team import Team


def learner(is_bf16: bool = False) -> Learner:
    """A net that always begins with the same weights."""
    torch.manual_seed(0)
    return Learner(Checkpoint({}, NetShape(1, 2, 8, detail=4), ("a", "b")), Team(), is_bf16=is_bf16)


@pytest.fixture
def batch() -> Batch:
    """Noise with two labelled places on each picture."""
    images = torch.randint(0, 256, (2, 64, 64, 1), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    boxes = torch.tensor([[[8.0, 8.0, 24.0, 24.0], [36.0, 30.0, 60.0, 50.0]]] * 2)
    return images, boxes, torch.tensor([[0, 1], [1, 0]])


def gradients(taught: Learner) -> Tensor:
    return torch.cat([weights.grad.flatten() for weights in taught.net.parameters() if weights.grad is not None])


def test_after_each_step_the_average_has_moved_towards_the_weights_and_ever_less(batch: Batch) -> None:
    taught, weights = learner(), "stem.0.weight"
    for step in range(1, 6):
        before = copy.deepcopy(taught.average.state_dict()[weights])
        taught.learn(batch, 1e-2)
        kept = AVERAGE_DECAY * (1 - math.exp(-step / AVERAGE_WARM_STEPS))
        now, mean = taught.net.state_dict()[weights], taught.average.state_dict()[weights]
        assert torch.allclose(mean, kept * before + (1 - kept) * now, atol=1e-6)
        assert not torch.equal(mean, now)
    saved = taught.snapshot()
    assert torch.equal(saved.average[weights], mean)
    assert torch.equal(saved.weights[weights], now)


def test_a_step_follows_large_gradients_only_so_far(batch: Batch) -> None:
    taught = learner()
    with torch.no_grad():
        taught.net.class_head.weight.mul_(1e3)
    taught.find_gradients(batch)
    whole = gradients(taught)
    assert whole.norm() > 2 * LARGEST_GRADIENT
    again = learner()
    again.net.load_state_dict(taught.net.state_dict())
    again.learn(batch, 1e-3)
    assert float(gradients(again).norm()) == pytest.approx(LARGEST_GRADIENT, rel=1e-3)
    assert torch.nn.functional.cosine_similarity(gradients(again), whole, dim=0) > 0.999


def test_with_bfloat16_the_gradients_are_nearly_those_of_float32_and_the_weights_stay_float32(batch: Batch) -> None:
    exact, rough = learner(), learner(is_bf16=True)
    for each in (exact, rough):
        each.net.eval()  # two pictures are few to normalise by
    losses = exact.find_gradients(batch), rough.find_gradients(batch)
    assert losses[0] != losses[1]
    assert losses[1] == pytest.approx(losses[0], rel=0.02)
    assert torch.nn.functional.cosine_similarity(gradients(exact), gradients(rough), dim=0) > 0.95
    rough.learn(batch, 1e-3)
    assert {weights.dtype for weights in rough.net.parameters()} == {torch.float32}


@pytest.mark.parametrize("channels", [1, 2], ids=["single pictures", "beside a reference"])
def test_a_step_on_another_device_brings_in_nothing_of_the_processor(channels: int) -> None:
    shape, elsewhere = NetShape(channels, 2, 8, detail=4), torch.device("meta")  # which refuses what lies in memory
    net, average = Net(shape).to(elsewhere), Net(shape).to(elsewhere)
    optimizers = make_optimizers(net)
    logits, distances = net(torch.zeros((2, channels, 64, 64), device=elsewhere))
    (logits.sum() + distances.sum()).backward()
    for optimizer in optimizers.values():
        optimizer.step()
    move_average(average, net, AVERAGE_DECAY)
    there = [*net.parameters(), *average.parameters(), *(part.grad for part in net.parameters())]
    assert {part.device if part is not None else None for part in there} == {elsewhere}
