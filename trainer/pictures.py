"""The training pictures, decoded once, and the crops that each epoch draws from them."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from appliance.errors import ConfigError
from trainer.augment import Augment
from trainer.datasets.sample import Dataset
from trainer.plan import Plan
from trainer.progress import tracked
from trainer.references import load_input, misplaced_pairs

LOOKAHEAD = 4
"""Batches that the other thread prepares ahead."""


class Pictures:
    """The training pictures, decoded once, and the crops that each epoch draws from them.

    Args:
        dataset: the training half.
        plan: batch, side, share of good parts, seed.
        rank: of the process that these are for, 0..of-1.
        of: processes among which each batch is divided.
    """

    def __init__(self, dataset: Dataset, plan: Plan, rank: int = 0, of: int = 1) -> None:
        self._plan = plan
        self._mine = slice(rank, None, of)
        self._samples = dataset.samples
        self._pixels = [load_input(s, plan.input_channels) for s in tracked(self._samples, "decode the pictures")]
        misplaced_pairs.tell()
        self._bad = [i for i, s in enumerate(self._samples) if not s.is_good]
        self._good = [i for i, s in enumerate(self._samples) if s.is_good]
        if not self._bad:
            raise ConfigError("no training picture has a defect; there is nothing to learn")
        self._augment = Augment(plan.side_px, copper=dataset.copper)
        self._copies = repeat_factors(dataset)[self._bad]
        self.steps = plan.passes * steps_per_pass(dataset, plan)

    def batches(self, epoch: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Give this process's part of one epoch's batches, prepared ahead by one other thread.

        Args:
            epoch: counted from 0; it and the seed decide everything.

        Yields:
            Images float32 [N, C, side, side] (0..1), boxes float32 [N, M, 4] and labels int64 [N, M] (-1 padded).
        """
        rng = np.random.default_rng((self._plan.seed, epoch))
        wanted = self.steps * self._plan.batch
        good = round(wanted * self._plan.good_share) if self._good else 0
        extra = rng.random(len(self._bad)) < self._copies % 1
        bad = np.repeat(self._bad, self._copies.astype(np.int64) + extra)
        order = np.concatenate((_repeat(bad, wanted - good, rng), _repeat(np.array(self._good), good, rng)))
        rng.shuffle(order)
        jobs = order.reshape(self.steps, self._plan.batch)
        with ThreadPoolExecutor(1) as pool:
            ahead = [pool.submit(self._batch, epoch, step, jobs[step]) for step in range(min(LOOKAHEAD, self.steps))]
            for step in range(self.steps):
                ready = ahead.pop(0).result()
                if step + LOOKAHEAD < self.steps:
                    ahead.append(pool.submit(self._batch, epoch, step + LOOKAHEAD, jobs[step + LOOKAHEAD]))
                yield ready

    def _batch(self, epoch: int, step: int, members: NDArray[np.int64]) -> tuple[Tensor, Tensor, Tensor]:
        crops = []
        for place, index in list(enumerate(members))[self._mine]:
            rng = np.random.default_rng((self._plan.seed, epoch, step, place))
            sample = self._samples[index]
            crops.append(self._augment(self._pixels[index], sample.boxes, sample.labels, rng))
        most = max(len(labels) for _, _, labels in crops)
        boxes = np.zeros((len(crops), most, 4), np.float32)
        labels = np.full((len(crops), most), -1, np.int64)
        for row, (_, its_boxes, its_labels) in enumerate(crops):
            boxes[row, : len(its_labels)] = its_boxes
            labels[row, : len(its_labels)] = its_labels
        images = torch.from_numpy(np.stack([c[0] for c in crops])).permute(0, 3, 1, 2)  # stays channels last
        return images.float() / 255.0, torch.from_numpy(boxes), torch.from_numpy(labels)


def steps_per_pass(dataset: Dataset, plan: Plan) -> int:
    """Return in how many steps every defective part is shown once, rare classes more often.

    Args:
        dataset: the training half.
        plan: batch, and share of good parts.
    """
    is_good = np.array([sample.is_good for sample in dataset.samples], bool)
    crops = float(repeat_factors(dataset)[~is_good].sum()) / (1 - plan.good_share if is_good.any() else 1.0)
    return max(1, round(crops / plan.batch))


def repeat_factors(dataset: Dataset) -> NDArray[np.float64]:
    """Return how often an epoch shows each picture, so that rare classes are seen more often.

    A class that fewer pictures show than the median class is repeated by the square root of what it lacks.

    Args:
        dataset: the training half.

    Returns:
        float64, one per sample, at least 1.

    Source:
        LVIS (arXiv 1908.03195), repeat factor sampling.
    """
    shown = np.zeros((len(dataset.samples), len(dataset.classes)), bool)
    for row, sample in enumerate(dataset.samples):
        shown[row, sample.labels] = True
    counts = shown.sum(axis=0)
    usual = float(np.median(counts[counts > 0])) if counts.any() else 1.0
    factors = np.sqrt(np.maximum(1.0, usual / np.maximum(counts, 1)))
    return np.asarray(np.where(shown, factors, 1.0).max(axis=1, initial=1.0), np.float64)


def _repeat(members: NDArray[np.int64], wanted: int, rng: np.random.Generator) -> NDArray[np.int64]:
    rounds = -(-wanted // max(1, len(members)))
    return np.concatenate([np.zeros(0, np.int64), *(rng.permutation(members) for _ in range(rounds))])[:wanted]
