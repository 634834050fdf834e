from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from appliance.errors import ConfigError
from tests.tiny_boards import write_tiny_boards
from trainer.checkpoint import load_checkpoint, save_checkpoint
from trainer.datasets.reading import read_dataset
from trainer.datasets.split import split_by_group
from trainer.learner import make_adamw, make_optimizers
from trainer.model import Net
from trainer.muon import Muon, straightened
from trainer.plan import Plan
from trainer.sizes import NetShape
from trainer.train import train
from trainer.turned import plain


@settings(max_examples=50, deadline=None)
@given(
    rows=st.integers(1, 24),
    columns=st.integers(1, 24),
    least=st.floats(0.05, 1.0),
    size=st.sampled_from([1e-6, 1.0, 1e4]),
    seed=st.integers(0, 1000),
)
def test_a_straightened_matrix_keeps_its_directions_and_has_singular_values_near_one(
    rows: int, columns: int, least: float, size: float, seed: int
) -> None:
    rng, rank = np.random.default_rng(seed), min(rows, columns)
    left, right = (np.linalg.qr(rng.normal(size=(n, n)))[0][:, :rank] for n in (rows, columns))
    matrix = size * left @ np.diag(np.geomspace(1.0, least, rank)) @ right.T
    made = straightened(torch.from_numpy(matrix).float()[None])[0].numpy()
    seen = left.T @ made @ right
    assert np.all((np.diag(seen) > 0.6) & (np.diag(seen) < 1.3)), np.diag(seen)
    assert np.abs(made - left @ np.diag(np.diag(seen)) @ right.T).max() < 1e-3


def test_nothing_is_made_of_nothing() -> None:
    assert torch.equal(straightened(torch.zeros(2, 3, 4)), torch.zeros(2, 3, 4))


@pytest.mark.parametrize("size", [1e-5, 1.0, 1e3])
def test_a_step_is_as_large_as_one_of_adamw_however_large_the_gradient_is(size: float) -> None:
    torch.manual_seed(0)
    kernel = nn.Parameter(torch.zeros(48, 24, 3, 3))
    kernel.grad = size * torch.randn(48, 24, 3, 3)
    _step(Muon([kernel], decay=0.0), rate=0.01)
    assert 0.001 < float(kernel.detach().square().mean().sqrt()) < 0.003
    assert float((kernel.detach() * kernel.grad).sum()) < 0


def test_a_kernel_decays_by_its_rate() -> None:
    kernel = nn.Parameter(torch.ones(4, 4, 1, 1))
    kernel.grad = torch.zeros(4, 4, 1, 1)
    _step(Muon([kernel], decay=0.5), rate=0.1)
    assert kernel.detach().flatten().tolist() == pytest.approx([0.95] * 16)


def test_only_what_is_normalised_behind_decays_fast() -> None:
    net = Net(NetShape(1, 3))
    before = {name: weight.detach().clone() for name, weight in net.named_parameters()}
    for weight in net.parameters():
        weight.grad = torch.zeros_like(weight)
    for optimizer in make_optimizers(net).values():
        _step(optimizer, rate=0.1)
    left = {
        name: float(weight.detach().norm() / before[name].norm())
        for name, weight in net.named_parameters()
        if before[name].norm() > 0
    }
    heads = {"class_head.weight", "box_head.weight"}
    kernels = {name for name, weight in net.named_parameters() if weight.ndim > 1} - heads - {"stem.0.weight"}
    assert max(left[name] for name in kernels) < 0.98
    assert min(left[name] for name in left.keys() - kernels) > 0.99
    assert max(left[name] for name in heads) < 1.0


def test_a_decay_that_is_named_is_the_kernels_alone() -> None:
    torch.manual_seed(0)
    net = Net(NetShape(1, 3))
    before = {name: weight.detach().clone() for name, weight in net.named_parameters()}
    for weight in net.parameters():
        weight.grad = torch.zeros_like(weight)
    for optimizer in make_optimizers(net, kernel_decay=0.0).values():
        _step(optimizer, rate=0.1)
    changed = {name for name, weight in net.named_parameters() if not torch.equal(weight, before[name])}
    assert changed == {"stem.0.weight", "class_head.weight", "box_head.weight"}


def test_what_the_gradient_hardly_shows_is_learned_sooner_than_by_adamw() -> None:
    left = {}
    for name in ("muon", "adamw"):
        torch.manual_seed(1)
        wanted = torch.linalg.qr(torch.randn(16, 16)).Q
        strong_and_weak = torch.linalg.qr(torch.randn(16, 16)).Q * torch.logspace(0, -1.5, 16)
        kernel = nn.Parameter(torch.zeros(16, 16, 1, 1))
        optimizer = Muon([kernel], 0.0) if name == "muon" else make_adamw([kernel])
        for step in range(200):
            kernel.grad = None
            ((kernel[:, :, 0, 0] - wanted) @ strong_and_weak).square().sum().backward()  # type: ignore[no-untyped-call]
            _step(optimizer, rate=0.03 * (1 - step / 200))
        left[name] = float((kernel.detach()[:, :, 0, 0] - wanted).square().sum())
    assert left["muon"] < 0.5 * left["adamw"], left


def _step(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.step()


def test_each_weight_of_a_net_is_moved_by_exactly_one_optimizer() -> None:
    net = Net(NetShape(1, 2, 8))
    moved: dict[str, list[Tensor]] = {
        name: [p for group in optimizer.param_groups for p in group["params"]]
        for name, optimizer in make_optimizers(net).items()
    }
    assert sorted(id(p) for ps in moved.values() for p in ps) == sorted(id(p) for p in net.parameters())
    by_adamw = {id(p) for p in moved["adamw"]}
    ends = [name for name, p in net.named_parameters() if p.ndim > 1 and id(p) in by_adamw]
    assert ends == ["stem.0.weight", "class_head.weight", "box_head.weight"]
    assert all(p.ndim == 4 for p in moved["muon"])


def test_a_run_of_an_older_trainer_is_refused_in_words(tmp_path: Path) -> None:
    split = split_by_group(read_dataset(write_tiny_boards(tmp_path / "data")), ("family0",))
    plan = Plan(epochs=1, batch=4, side_px=64, width=8, threads=1, seed=3)
    train(split, plan, tmp_path / "run")
    last = load_checkpoint(tmp_path / "run" / "last.pt")
    net = Net(last.shape)
    last.optimizer = make_adamw(net.parameters()).state_dict()
    save_checkpoint(tmp_path / "run" / "last.pt", last)
    with pytest.raises(ConfigError, match="older trainer, with another optimizer"):
        train(split, plan, tmp_path / "run", resume=True)
    last.average = plain(net).state_dict()  # as before kernels were turned
    save_checkpoint(tmp_path / "run" / "last.pt", last)
    with pytest.raises(ConfigError, match="another version of the trainer; train again"):
        train(split, plan, tmp_path / "run", resume=True)
