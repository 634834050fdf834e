"""What learns: a net, the average of its weights, and the optimizers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from appliance.errors import ConfigError
from trainer.backbone import Backbone, adopt
from trainer.checkpoint import Checkpoint
from trainer.device import has_fast_bf16
from trainer.distil import LESSON_WEIGHT, distillation_loss
from trainer.loss import detection_loss
from trainer.model import Net
from trainer.muon import Muon
from trainer.pictures import Batch
from trainer.teacher import Teacher
from trainer.team import Team

WEIGHT_DECAY = 0.02
KERNEL_DECAY = 0.3
"""Of kernels whose answers are normalised, so that their size means nothing but how far a step turns them: this keeps
them small enough to be turned until the end (docs/decisions/0047-kernels-that-decay.md)."""

LARGEST_GRADIENT = 10.0
AVERAGE_DECAY = 0.995
AVERAGE_WARM_STEPS = 200

CPU = torch.device("cpu")


class Learner:
    """The net, its average, and the optimizers; between epochs they are one checkpoint.

    Args:
        state: where to begin; without weights they are drawn.
        team: those who learn together, each from its part of every batch.
        device: where the arithmetic runs.
        is_bf16: whether to multiply in bfloat16; None asks the device.
        backbone: what a run without weights begins with; None draws everything.
        teacher: whose answers are learned beside the labels; None: of nobody.
    """

    def __init__(
        self,
        state: Checkpoint,
        team: Team,
        device: torch.device = CPU,
        is_bf16: bool | None = None,
        backbone: Backbone | None = None,
        teacher: Teacher | None = None,
    ) -> None:
        self.state = state
        self._team = team
        self._device = device
        self.net = Net(state.shape).to(device)
        if backbone is not None:
            adopt(self.net, backbone)
        self.average = Net(state.shape).to(device)
        self.average.load_state_dict(self.net.state_dict())
        self._teacher = None if teacher is None else teacher.net(device)
        self._optimizers = make_optimizers(self.net)
        if state.weights:
            self.net.load_state_dict(state.weights)
            self.average.load_state_dict(state.average)
            self._resume(state.optimizer)
        self._shared = team.averaging(self.net)  # from here on the weights are the first process's
        self._bf16 = has_fast_bf16(device) if is_bf16 is None else is_bf16

    def snapshot(self) -> Checkpoint:
        """Return everything that the next step depends on."""
        self.state.trained_at = datetime.now(timezone.utc).isoformat(timespec="seconds")
        self.state.weights = self.net.state_dict()
        self.state.average = self.average.state_dict()
        self.state.optimizer = {name: each.state_dict() for name, each in self._optimizers.items()}
        return self.state

    def learn(self, batch: Batch, rate: float) -> float:
        """Take one step and return its loss."""
        for optimizer in self._optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = rate
        self._shared.train()
        loss = self.find_gradients(batch)
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), LARGEST_GRADIENT)
        for optimizer in self._optimizers.values():
            optimizer.step()
        self.state.step += 1
        warm = 1 - math.exp(-self.state.step / AVERAGE_WARM_STEPS)
        move_average(self.average, self.net, AVERAGE_DECAY * warm)
        return loss

    def _resume(self, known: Mapping[str, Any]) -> None:
        if known.keys() != self._optimizers.keys():
            raise ConfigError(
                "the run in this folder was begun by an older trainer, with another optimizer; go on with that one, "
                "or start another run"
            )
        for name, optimizer in self._optimizers.items():
            optimizer.load_state_dict(known[name])

    def find_gradients(self, batch: Batch) -> float:
        """Leave the whole batch's gradients in the net, and return the loss of this process's part."""
        images, boxes, labels = (tensor.to(self._device, non_blocking=True) for tensor in batch)
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._bf16):
            seen = as_input(images)
            logits, distances = self._shared(seen)
        losses = detection_loss(logits, distances, boxes, labels)
        loss = losses.total * self._team.share(losses.owned)
        if self._teacher is not None:
            with torch.no_grad(), torch.autocast(self._device.type, torch.bfloat16, enabled=self._bf16):
                taught_logits, taught_distances = self._teacher(seen)
            lesson = distillation_loss(logits, distances, taught_logits, taught_distances, losses.owned)
            loss = loss + LESSON_WEIGHT * lesson.total * self._team.share(lesson.cells)
        self.net.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        return float(loss.detach())


def as_input(images: Tensor) -> Tensor:
    """Turn pictures uint8 [N, H, W, C] into what the net takes: float32 [N, C, H, W], 0..1."""
    return images.permute(0, 3, 1, 2).float() / 255.0  # stays channels last in memory


def make_optimizers(net: Net, kernel_decay: float = KERNEL_DECAY) -> dict[str, Optimizer]:
    """Return what moves the weights of a net: Muon the kernels between its first layer and its heads, AdamW the rest.

    Args:
        net: its kernels decay, its biases and normalisations do not.
        kernel_decay: share of a kernel that Muon takes off in a step at rate 1; AdamW's is `WEIGHT_DECAY`.

    Returns:
        Optimizers by the names that they have in a checkpoint.
    """
    ends = {id(layer.weight) for layer in (net.stem[0], net.class_head, net.box_head)}
    hidden = [p for p in net.parameters() if p.ndim > 1 and id(p) not in ends]
    known = {id(p) for p in hidden}
    return {
        "muon": Muon(hidden, kernel_decay),
        "adamw": make_adamw(p for p in net.parameters() if id(p) not in known),
    }


def make_adamw(weights: Iterable[nn.Parameter]) -> torch.optim.AdamW:
    """Return AdamW; only what multiplies decays.

    Args:
        weights: those of a net that it is to move.
    """
    weights = list(weights)
    decayed = [p for p in weights if p.ndim > 1]
    others = [p for p in weights if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": WEIGHT_DECAY}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, betas=(0.9, 0.99))


@torch.no_grad()
def move_average(average: Net, net: Net, decay: float) -> None:
    """Move the averaged weights towards the present ones.

    Args:
        average: changed in place.
        net: the net in training.
        decay: what stays of the average, 0..1.
    """
    for mean, now in zip(average.state_dict().values(), net.state_dict().values(), strict=True):
        mean.lerp_(now, 1.0 - decay)
