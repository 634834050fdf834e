"""What `trainer augment` does: one picture that shows crops as training would show them to a net."""

from __future__ import annotations

import argparse
from dataclasses import asdict, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from trainer.datasets.reading import read_dataset
from trainer.datasets.sample import spread
from trainer.datasets.source import source_of
from trainer.datasets.split import split_by_group
from trainer.defaults import complete
from trainer.pictures import Pictures
from trainer.plan import Plan
from trainer.progress import console, results

CROPS, COLUMNS, TILE_PX = 32, 8, 240
MOST_PICTURES = 400
"""No more of the training pictures are decoded for it."""

_RED, _WHITE = (40, 40, 255), (255, 255, 255)


def augment(arguments: argparse.Namespace) -> int:
    """Draw the contact sheet.

    Args:
        arguments: of `trainer augment`.

    Returns:
        The exit code.
    """
    asked = Plan(epochs=1, seed=arguments.seed, channels=arguments.channels, variation=arguments.variation)
    asked = replace(asked, vary=arguments.vary)
    asked.check()
    split = split_by_group(read_dataset(source_of(arguments)), seed=arguments.seed)
    plan = complete(asked, split, side_px=arguments.crop, batch=None, reference=arguments.reference)
    plan = replace(plan, batch=CROPS)
    few = replace(split.train, samples=tuple(spread(split.train.samples, MOST_PICTURES)))
    pixels, boxes, labels = next(Pictures(few, plan).batches(0))
    tiles = [
        _tile(picture.numpy(), its_boxes[its_labels >= 0].numpy(), its_labels[its_labels >= 0].tolist(), few.classes)
        for picture, its_boxes, its_labels in zip(pixels, boxes, labels, strict=True)
    ]
    rows = [np.hstack(tiles[first : first + COLUMNS]) for first in range(0, len(tiles), COLUMNS)]
    _, drawn = cv2.imencode(".png", np.vstack(rows))
    arguments.preview.write(drawn.tobytes())
    told = ", ".join(f"{name} {value:g}" for name, value in asdict(plan.strengths).items())
    console.print(f"at most: {told}", soft_wrap=True)
    below = ", each over its reference" if plan.reference else ""
    results.print(f"{arguments.preview.path}: {len(tiles)} crops of {plan.side_px} pixels{below}", soft_wrap=True)
    return 0


def _tile(
    crop: NDArray[np.uint8], boxes: NDArray[np.float32], labels: list[int], classes: tuple[str, ...]
) -> NDArray[np.uint8]:
    """Draw a crop with its boxes, and the reference below it if there is one; uint8 [height, width, 3], blue first."""
    factor = TILE_PX / crop.shape[0]
    channels = crop.shape[2] if crop.shape[2] % 2 else crop.shape[2] // 2
    shown = [_in_colour(crop[:, :, :channels])]
    if crop.shape[2] > channels:
        shown.append(_in_colour(crop[:, :, channels:]))
    shown = [np.asarray(cv2.resize(each, (TILE_PX, TILE_PX), interpolation=cv2.INTER_AREA), np.uint8) for each in shown]
    for (x1, y1, x2, y2), label in zip((boxes * factor).round().astype(int).tolist(), labels, strict=True):
        cv2.rectangle(shown[0], (x1, y1), (x2 - 1, y2 - 1), _RED, 1)
        at = (x1, max(9, y1 - 3))
        cv2.putText(shown[0], classes[label], at, cv2.FONT_HERSHEY_SIMPLEX, 0.38, _RED, 1, cv2.LINE_AA)
    tile = cv2.copyMakeBorder(np.vstack(shown), 2, 2, 2, 2, cv2.BORDER_CONSTANT, value=_WHITE)
    return np.asarray(tile, np.uint8)


def _in_colour(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    code = cv2.COLOR_GRAY2BGR if picture.shape[2] == 1 else cv2.COLOR_RGB2BGR
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(picture), code), np.uint8)
