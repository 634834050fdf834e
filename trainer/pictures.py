"""The training pictures, decoded once, and the crops that each epoch draws from them."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from types import TracebackType

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Sampler
from torch.utils.data import Dataset as TorchDataset

from appliance.errors import ConfigError
from trainer.augment import Augment
from trainer.datasets.sample import SIZES_PX2, Boxes, Dataset, Labels
from trainer.decoded import Pixels, decode
from trainer.plan import Plan
from trainer.transplant import Transplants

MOSAIC_SHARE = 0.15
"""Share of the crops that are put together from four pictures; more where single pictures would leave crops empty."""

MOST_REPEATS_OF_A_SIZE = 3.0
"""A size that a handful of pictures show is a chance more than a kind."""

LOOKAHEAD = 4
"""Batches that each loader prepares ahead."""

Batch = tuple[Tensor, Tensor, Tensor]
"""Images uint8 [N, side, side, C], boxes float32 [N, M, 4] and labels int64 [N, M] (-1 padded)."""

_Job = tuple[int, int, NDArray[np.int64]]
"""Epoch, step, and the samples of that step's crops: of each its own, and three for a mosaic."""


class _Order(Sampler[_Job]):
    """The jobs of the epoch that is asked for next."""

    def __init__(self) -> None:
        self.jobs: list[_Job] = []

    def __iter__(self) -> Iterator[_Job]:
        return iter(self.jobs)


class _Crops(TorchDataset[Batch]):
    """The decoded pictures, and what a loader cuts from them."""

    def __init__(self, dataset: Dataset, pixels: Sequence[Pixels], plan: Plan, mine: slice) -> None:
        self._seed = plan.seed
        self._mine = mine
        self._samples = dataset.samples
        self._pixels = pixels
        others, self._mosaic_share = None, 0.0
        if dataset.copper is None:  # there defects are painted, and a seam would part its tracks
            others = Transplants(self._samples, self._pixels, plan.side_px, plan.reference)
            filled = _filled([pixels.shape[:2] for pixels in self._pixels], plan.side_px)
            self._mosaic_share = max(MOSAIC_SHARE, 1.0 - filled)
        self._augment, self._quarter = (
            Augment(side, plan.strengths, dataset.copper, others) for side in (plan.side_px, plan.side_px // 2)
        )

    def __getitem__(self, job: _Job) -> Batch:
        """Cut this process's part of one step's crops; called by the loaders."""
        epoch, step, members = job
        crops = []
        for place, its_samples in list(enumerate(members))[self._mine]:
            rng = np.random.default_rng((self._seed, epoch, step, place))
            crops.append(self._crop(its_samples, rng))
        most = max(len(labels) for _, _, labels in crops)
        boxes = np.zeros((len(crops), most, 4), np.float32)
        labels = np.full((len(crops), most), -1, np.int64)
        for row, (_, its_boxes, its_labels) in enumerate(crops):
            boxes[row, : len(its_labels)] = its_boxes
            labels[row, : len(its_labels)] = its_labels
        images = np.stack([c[0] for c in crops])
        return torch.from_numpy(images), torch.from_numpy(boxes), torch.from_numpy(labels)

    def _crop(self, members: NDArray[np.int64], rng: np.random.Generator) -> tuple[NDArray[np.uint8], Boxes, Labels]:
        """Cut from the first of four pictures, or now and then from all: a quarter of the crop from each."""
        if rng.random() >= self._mosaic_share:
            return self._cut(self._augment, int(members[0]), rng)
        half = self._quarter.side_px
        quarters = [self._cut(self._quarter, int(index), rng) for index in members]
        (a, b, c, d), boxes, labels = zip(*quarters, strict=True)
        places = [(0, 0), (half, 0), (0, half), (half, half)]
        moved = [found + np.array([*place, *place], np.float32) for found, place in zip(boxes, places, strict=True)]
        return np.vstack((np.hstack((a, b)), np.hstack((c, d)))), np.concatenate(moved), np.concatenate(labels)

    def _cut(self, augment: Augment, index: int, rng: np.random.Generator) -> tuple[NDArray[np.uint8], Boxes, Labels]:
        sample = self._samples[index]
        return augment(self._pixels[index], sample.boxes, sample.labels, rng)


def _filled(sizes: Sequence[tuple[int, ...]], side_px: int) -> float:
    """Return how much of a crop pictures of such heights and widths fill on average, 0..1."""
    return float(np.mean(np.minimum(np.array(sizes), side_px).prod(axis=1) / side_px**2))


class Pictures:
    """The training pictures, decoded once, and the crops that each epoch draws from them.

    Other processes cut the crops; they share the decoded pictures with this one.

    Args:
        dataset: the training half.
        plan: batch, side, share of good parts, seed.
        rank: of the process that these are for, 0..of-1.
        of: processes among which each batch is divided.
        loaders: processes that cut crops.
        pixels: of each sample, as trainer.decoded gives them; None: they are decoded here.
    """

    def __init__(
        self,
        dataset: Dataset,
        plan: Plan,
        rank: int = 0,
        of: int = 1,
        loaders: int = 1,
        pixels: Sequence[Pixels] | None = None,
    ) -> None:
        cv2.setNumThreads(1)  # here, because a loader would wait for the threads that only this process has
        self._plan = plan
        self._bad = [i for i, s in enumerate(dataset.samples) if not s.is_good]
        self._good = [i for i, s in enumerate(dataset.samples) if s.is_good]
        if not self._bad:
            raise ConfigError("no training picture has a defect; there is nothing to learn")
        if pixels is None:
            pixels = list(decode(dataset.samples, plan.input_channels))
        self._copies = repeat_factors(dataset)[self._bad]
        self.steps = plan.passes * steps_per_pass(dataset, plan)
        self._order = _Order()
        self._loader: DataLoader[Batch] = DataLoader(
            _Crops(dataset, pixels, plan, slice(rank, None, of)),
            batch_size=None,
            sampler=self._order,
            num_workers=loaders,
            prefetch_factor=LOOKAHEAD,
            persistent_workers=True,
            pin_memory=plan.device == "cuda",
            multiprocessing_context="fork",
            worker_init_fn=_end_quietly,
        )
        next(iter(self._loader), None)  # no job yet: the loaders are forked now, before others here start threads

    def batches(self, epoch: int) -> Iterator[Batch]:
        """Give this process's part of one epoch's batches, prepared ahead.

        Args:
            epoch: counted from 0; it and the seed decide everything.
        """
        rng = np.random.default_rng((self._plan.seed, epoch))
        wanted = self.steps * self._plan.batch
        good = round(wanted * self._plan.good_share) if self._good else 0
        extra = rng.random(len(self._bad)) < self._copies % 1
        bad = np.repeat(self._bad, self._copies.astype(np.int64) + extra)
        order = np.concatenate((_repeat(bad, wanted - good, rng), _repeat(np.array(self._good), good, rng)))
        rng.shuffle(order)
        others = [rng.permutation(order) for _ in range(3)]
        jobs = np.stack((order, *others), axis=1).reshape(self.steps, self._plan.batch, 4)
        self._order.jobs = [(epoch, step, members) for step, members in enumerate(jobs)]
        return iter(self._loader)


def _end_quietly(_: int) -> None:
    """Let a loader whose crops nobody takes any more end without a traceback: who took them says why.

    Source:
        multiprocessing/resource_sharer.py of CPython: its thread shows what ends a hand-over through sys.excepthook.
    """
    show = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if not issubclass(kind, (ConnectionError, EOFError)):
            show(kind, error, trace)

    sys.excepthook = hook


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
    """Return how often an epoch shows each picture, so that rare classes and rare sizes of defect are seen more often.

    What fewer pictures show than the median class, or the median size, is repeated by the square root of what it lacks.

    Args:
        dataset: the training half.

    Returns:
        float64, one per sample, at least 1.

    Source:
        LVIS (arXiv 1908.03195), repeat factor sampling.
    """
    classes = np.zeros((len(dataset.samples), len(dataset.classes)), bool)
    sizes = np.zeros((len(dataset.samples), len(SIZES_PX2)), bool)
    for row, sample in enumerate(dataset.samples):
        classes[row, sample.labels] = True
        areas = np.prod(sample.boxes[:, 2:] - sample.boxes[:, :2], axis=1)
        sizes[row] = [bool(((areas >= low) & (areas < high)).any()) for low, high in SIZES_PX2.values()]
    by_size = np.minimum(_lacking(sizes), MOST_REPEATS_OF_A_SIZE)
    return np.maximum(_lacking(classes), by_size)


def _lacking(shown: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return by what each picture is to be repeated for the rarest kind that it shows; bool [pictures, kinds]."""
    counts = shown.sum(axis=0)
    usual = float(np.median(counts[counts > 0])) if counts.any() else 1.0
    factors = np.sqrt(np.maximum(1.0, usual / np.maximum(counts, 1)))
    return np.asarray(np.where(shown, factors, 1.0).max(axis=1, initial=1.0), np.float64)


def _repeat(members: NDArray[np.int64], wanted: int, rng: np.random.Generator) -> NDArray[np.int64]:
    rounds = -(-wanted // max(1, len(members)))
    return np.concatenate([np.zeros(0, np.int64), *(rng.permutation(members) for _ in range(rounds))])[:wanted]
