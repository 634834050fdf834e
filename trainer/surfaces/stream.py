"""Batches of generated samples, made by other processes while the net learns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from appliance.errors import DeviceError
from trainer.interrupts import starting_others
from trainer.surfaces.fields import Mask
from trainer.surfaces.sample import SurfaceSample, generate

Batch = tuple[Tensor, Tensor, Tensor, Tensor]
"""Pixels uint8 [N, side, side, 2], boxes float32 [N, M, 4] (0 padded), labels int64 [N, M] (-1 padded), and what lies
in each 4 x 4 pixels, uint8 [N, side/4, side/4] (0 nothing, else 1 + label)."""

AHEAD = 2
"""Batches that each process keeps ready."""


class Surfaces(Dataset[Batch]):
    """Batches by number; batch n is always the same.

    Args:
        seed: of the set.
        steps: number of batches.
        batch: samples in each.
        side_px: of a picture, a multiple of 32.
    """

    def __init__(self, seed: int, steps: int, batch: int, side_px: int) -> None:
        self._seed = seed
        self._steps = steps
        self._batch = batch
        self._side_px = side_px

    def __len__(self) -> int:
        return self._steps

    def __getitem__(self, number: int) -> Batch:
        first = number * self._batch
        return collate([generate(self._seed, first + place, self._side_px) for place in range(self._batch)])


def collate(samples: list[SurfaceSample]) -> Batch:
    """Put samples of one size together."""
    most = max(len(sample.labels) for sample in samples)
    boxes = np.zeros((len(samples), most, 4), np.float32)
    labels = np.full((len(samples), most), -1, np.int64)
    for row, sample in enumerate(samples):
        boxes[row, : len(sample.labels)] = sample.boxes
        labels[row, : len(sample.labels)] = sample.labels
    pixels = torch.from_numpy(np.stack([sample.pixels for sample in samples]))
    masks = torch.from_numpy(np.stack([coarse(sample.mask) for sample in samples]))
    return pixels, torch.from_numpy(boxes), torch.from_numpy(labels), masks


def coarse(mask: Mask) -> Mask:
    """Return what lies in each 4 x 4 pixels of a mask, a defect before the ground; uint8 [side/4, side/4]."""
    height, width = mask.shape
    return np.asarray(mask.reshape(height // 4, 4, width // 4, 4).max(axis=(1, 3)), np.uint8)


def stream(surfaces: Surfaces, workers: int, is_pinned: bool) -> Iterator[Batch]:
    """Give the batches in order.

    Args:
        surfaces: the batches.
        workers: processes that make them; 0 makes them here.
        is_pinned: whether they go to a GPU.

    Raises:
        DeviceError: A process that makes them has died.
    """
    # spawned, because a process forked from one whose OpenCV has threads would wait for them for ever
    ahead: dict[str, Any] = {"prefetch_factor": AHEAD, "multiprocessing_context": "spawn"} if workers else {}
    loader = DataLoader(
        surfaces, batch_size=None, num_workers=workers, pin_memory=is_pinned, worker_init_fn=_start, **ahead
    )
    with starting_others():
        batches = iter(loader)
    while True:
        try:
            batch = next(batches)
        except StopIteration:
            return
        except RuntimeError as error:
            raise DeviceError(
                f"a process that makes pictures has died ({error}); enlarge /dev/shm, or use fewer --workers"
            ) from error
        yield batch


def _start(_number: int) -> None:
    cv2.setNumThreads(1)
