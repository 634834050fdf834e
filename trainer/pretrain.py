"""Pre-training on generated surfaces, top to bottom: the weights that every `trainer train` may begin with."""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass

import cv2
import torch
from torch import Tensor, nn
from torch.nn import functional

from appliance.errors import ConfigError
from appliance.optics.detections import Candidates, suppress
from trainer.device import has_fast_bf16
from trainer.learner import (
    AVERAGE_DECAY,
    AVERAGE_WARM_STEPS,
    LARGEST_GRADIENT,
    as_input,
    make_adamw,
    make_optimizers,
    move_average,
)
from trainer.loss import detection_loss
from trainer.metrics import Judged, average_precision, rank
from trainer.model import Net
from trainer.progress import console, tracked
from trainer.sizes import TABLE, NetShape, SizeName
from trainer.surfaces.sample import CLASSES, generate
from trainer.surfaces.stream import Surfaces, stream
from trainer.train import one_cycle
from trainer.validate import NMS_IOU, detect

HELD_OUT_SEED = 1 << 40
"""Added to the seed for the pictures that the result is judged on."""

SHADE_WEIGHT = 0.5
DEFECT_WEIGHT = 4.0
"""Of the auxiliary task in the loss, and of a defect's pixels over those of the ground in it."""

LAST_RATE = 0.001
"""Of the highest rate, at the end: no picture comes twice, so there are none to fit."""

PRETRAINING_DECAY = 0.02
"""Of the kernels between the first layer and the heads. A training's is higher, so that it does not fit the pictures at
hand; here each is seen once."""

TOLD_EVERY_S = 20.0


@dataclass(frozen=True, slots=True)
class Pretraining:
    """The dials.

    Args:
        steps: how many.
        batch: pictures in each.
        seed: of everything random, 0 or more.
        minutes: end after this long, however many steps that are; None for no limit.
        side_px: of a picture, a multiple of 32.
        rate: peak learning rate.
        workers: processes that make pictures; 0 makes them between the steps.
        threads: for the arithmetic where there is no GPU.
        device: "cpu" or "cuda".
        size: of the net.
    """

    steps: int
    batch: int = 64
    seed: int = 0
    minutes: float | None = None
    side_px: int = 256
    rate: float = 3e-3
    workers: int = 1
    threads: int = 1
    device: str = "cpu"
    size: SizeName = "nano"

    @property
    def shape(self) -> NetShape:
        """The net that is fitted: it sees a grey picture and its reference."""
        dials = TABLE[self.size]
        return NetShape(2, len(CLASSES), dials.width, dials.depth, dials.detail)

    def check(self) -> None:
        """Refuse what cannot be carried out.

        Raises:
            ConfigError: A value is out of range; the message names the option.
        """
        if not 0 <= self.seed < HELD_OUT_SEED:
            raise ConfigError(f"--seed {self.seed}: must be 0 or more, and below 2^40")
        if self.side_px % 32 or not 128 <= self.side_px <= 1024:
            raise ConfigError(f"--side {self.side_px}: must be a multiple of 32, 128 to 1024")
        if self.minutes is not None and not 0 < self.minutes < math.inf:
            raise ConfigError(f"--minutes {self.minutes}: must be a number of minutes above 0")

    def as_dict(self) -> dict[str, object]:
        """Return the dials as plain values."""
        return asdict(self)


class Taught(nn.Module):
    """The net, and beside its class head one that says of each quarter of a cell what is there; thrown away after.

    Args:
        shape: of the net.
    """

    def __init__(self, shape: NetShape) -> None:
        super().__init__()
        self.net = Net(shape)
        self.net.class_head.register_forward_hook(self._listen)
        self._heard: Tensor = torch.zeros(0)
        with torch.no_grad():
            self.net(torch.zeros(2, shape.channels, 64, 64))
        self.shades = nn.Conv2d(self._heard.shape[1], 4 * (1 + shape.classes), 1)

    def _listen(self, _head: nn.Module, given: tuple[Tensor, ...], _answer: Tensor) -> None:
        self._heard = given[0]

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return what the net does, and of each 4 x 4 pixels how likely which class is there (0 nothing), as logits.

        Args:
            image: float32 [N, C, H, W], 0..1; H and W multiples of 32.
        """
        logits, distances = self.net(image)
        return logits, distances, functional.pixel_shuffle(self.shades(self._heard), 2)


def pretrain(dials: Pretraining) -> tuple[Net, int]:
    """Fit a net to generated surfaces.

    Args:
        dials: checked.

    Returns:
        The averaged net, on the device, and the steps taken.
    """
    torch.manual_seed(dials.seed)
    torch.set_num_threads(dials.threads)
    cv2.setNumThreads(1)
    device = torch.device(dials.device)
    taught = Taught(dials.shape).to(device)
    average = Net(dials.shape).to(device)
    average.load_state_dict(taught.net.state_dict())
    optimizers = [*make_optimizers(taught.net, PRETRAINING_DECAY).values(), make_adamw(taught.shades.parameters())]
    is_pinned, is_bf16 = device.type == "cuda", has_fast_bf16(device)
    batches = stream(Surfaces(dials.seed, dials.steps, dials.batch, dials.side_px), dials.workers, is_pinned)
    began_ns = told_ns = time.monotonic_ns()
    taught.train()
    step = 0
    for batch in batches:
        spent_min = (time.monotonic_ns() - began_ns) / 60e9
        done = max(step / dials.steps, spent_min / dials.minutes if dials.minutes else 0.0)
        if done >= 1.0:
            break
        for group in (group for optimizer in optimizers for group in optimizer.param_groups):
            group["lr"] = dials.rate * one_cycle(done, LAST_RATE)
        loss = pretraining_loss(taught, [part.to(device, non_blocking=True) for part in batch], is_bf16)
        taught.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(taught.parameters(), LARGEST_GRADIENT)
        for optimizer in optimizers:
            optimizer.step()
        step += 1
        move_average(average, taught.net, AVERAGE_DECAY * (1 - math.exp(-step / AVERAGE_WARM_STEPS)))
        if step == dials.steps or time.monotonic_ns() - told_ns > TOLD_EVERY_S * 1e9:
            told_ns = time.monotonic_ns()
            pace = step * 1e9 / (told_ns - began_ns)
            console.print(f"step {step} of {dials.steps}: loss {float(loss.detach()):.3f}, {pace:.2f} steps/s")
    return average, step


def pretraining_loss(taught: Taught, batch: list[Tensor], is_bf16: bool = False) -> Tensor:
    """Compare what was found, and what is said of each quarter of a cell, with what was planted.

    Args:
        taught: the net with its second head.
        batch: as trainer.surfaces.stream gives it, on the net's device: pixels, boxes, labels and masks.
        is_bf16: whether to multiply in bfloat16.
    """
    pixels, boxes, labels, masks = batch
    with torch.autocast(pixels.device.type, torch.bfloat16, enabled=is_bf16):
        logits, distances, shades = taught(as_input(pixels))
    weight = torch.full((shades.shape[1],), DEFECT_WEIGHT, device=shades.device)
    weight[0] = 1.0
    aside = functional.cross_entropy(shades.float(), masks.long(), weight=weight)
    return detection_loss(logits, distances, boxes, labels).total + SHADE_WEIGHT * aside


def held_out_ap(net: Net, dials: Pretraining, pictures: int, has_reference: bool) -> float:
    """Return the pooled AP at IoU 0.33 on generated pictures that no step has seen.

    Args:
        net: put into evaluation mode.
        dials: seed and side.
        pictures: how many; those with defects count.
        has_reference: whether the net is shown the references.
    """
    net.eval()
    judged = []
    for index in tracked(range(pictures), "judge"):
        sample = generate(HELD_OUT_SEED + dials.seed, index, dials.side_px, has_reference)
        if not len(sample.labels):
            continue
        boxes, scores, labels = detect(net, torch.from_numpy(sample.pixels)[None])
        found = suppress(Candidates(boxes[0], scores[0], labels[0]), NMS_IOU)
        judged.append(Judged(found.boxes, found.scores, found.labels, sample.boxes, sample.labels))
    return average_precision(rank(judged))
