"""A quick look at the net in training, on whole pictures; what counts in the end is `trainer evaluate`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from appliance.events import Pixels
from appliance.optics.detections import Candidates, suppress
from trainer.candidates import CANDIDATES, pick
from trainer.datasets.sample import Boxes, Dataset, Labels, Sample, picture_size
from trainer.device import threads_each
from trainer.learner import as_input
from trainer.metrics import AtLimit, Judged, Parts, average_precision, best_limit, judge_parts, rank, rank_classes
from trainer.model import PAD_VALUE, SIDE_MULTIPLE, Net, cell_centres, decode_boxes
from trainer.references import load_input, misplaced_pairs
from trainer.threads import MOST_AT_ONCE, in_threads, usable_cores, usual_at_once

NMS_IOU = 0.5
"""Of two boxes of a class that overlap more than this, the better one stays, as on the device."""

MOST_PIXELS_AT_ONCE = MOST_AT_ONCE * 640 * 640
"""Of all pictures together that are judged at once: a net keeps some hundred bytes for each pixel."""


@dataclass(frozen=True, slots=True)
class Figures:
    """How good a net is on pictures whose groups it has never seen.

    Args:
        ap_pooled: AP at IoU 0.33, pooled over the classes, on the pictures that have defects.
        ap_classes: the same by class.
        best: precision, recall and F at the limit with the best F.
        parts: escapes and overkill at that limit, good parts included; None where no limit is better than another.
    """

    ap_pooled: float
    ap_classes: dict[str, float]
    best: AtLimit
    parts: Parts | None

    def as_dict(self) -> dict[str, Any]:
        """Return the figures as plain values; what could not be measured is nan."""
        return asdict(self)


def validate(net: Net, dataset: Dataset) -> Figures:
    """Judge a net.

    Args:
        net: put into evaluation mode.
        dataset: the validation half.

    Returns:
        What it is worth, at the limit with the best F.
    """
    judged = list(judge(net, dataset))
    bad = [part for part in judged if len(part.true_labels)]
    ranking = rank(bad)
    best = best_limit(ranking)
    by_class = rank_classes(bad, len(dataset.classes))
    classes = {name: average_precision(its) for name, its in zip(dataset.classes, by_class, strict=True)}
    parts = None if np.isnan(best.limit) else judge_parts(judged, best.limit)
    return Figures(average_precision(ranking), classes, best, parts)


def judge(net: Net, dataset: Dataset, at_once: int | None = None) -> Iterator[Judged]:
    """Run a net over whole pictures.

    Args:
        net: put into evaluation mode.
        dataset: what is judged.
        at_once: pictures at once, among which the cores are shared out; None: one a core, but at most MOST_AT_ONCE,
            and fewer where they are large. Other processes of a training wait meanwhile.

    Yields:
        One item per picture, in the data set's order.
    """
    net.eval()
    at_once = at_once or _usual_at_once(dataset)
    with threads_each(max(1, usable_cores() // at_once)):
        yield from in_threads(partial(_judged, net), dataset.samples, at_once)
    misplaced_pairs.tell()


def _usual_at_once(dataset: Dataset) -> int:
    largest_px = max((math.prod(picture_size(s.image, "the data set")) for s in dataset.samples), default=1)
    return max(1, min(usual_at_once(), MOST_PIXELS_AT_ONCE // largest_px))


def _judged(net: Net, sample: Sample) -> Judged:
    picture = pad(load_input(sample, net.shape.channels))
    boxes, scores, labels = detect(net, torch.from_numpy(picture)[None])
    found = suppress(Candidates(boxes[0], scores[0], labels[0]), NMS_IOU)
    return Judged(found.boxes, found.scores, found.labels, sample.boxes, sample.labels, sample.group, sample.camera)


def pad(picture: Pixels) -> Pixels:
    """Fill a picture up on the right and at the bottom to sides that the net takes.

    Args:
        picture: uint8 [height, width, channels].

    Returns:
        uint8, both sides multiples of 32; the same object if they were.
    """
    down, right = (-side % SIDE_MULTIPLE for side in picture.shape[:2])
    if not down and not right:
        return picture
    return np.pad(picture, ((0, down), (0, right), (0, 0)), constant_values=PAD_VALUE)


@torch.inference_mode()
def detect(net: Net, images: Tensor) -> tuple[Boxes, np.ndarray, Labels]:
    """Return the best candidates of each picture, before suppression.

    Args:
        net: in evaluation mode.
        images: uint8 [N, H, W, C]; H and W multiples of 32.

    Returns:
        Boxes float32 [N, K, 4], scores float32 [N, K], labels int64 [N, K], best first.
    """
    height, width = images.shape[1:3]
    device = next(net.parameters()).device
    logits, distances = net(as_input(images.to(device)))
    top, cells, labels = pick(logits, min(CANDIDATES, logits[0].numel()))
    boxes = decode_boxes(distances.flatten(2).transpose(1, 2), cell_centres(height, width).to(device))
    boxes = boxes.gather(1, cells[..., None].expand(-1, -1, 4))
    limit = torch.tensor([width, height, width, height], dtype=torch.float32, device=device)
    boxes = torch.minimum(boxes.clamp(min=0.0), limit)
    return boxes.cpu().numpy(), top.sigmoid().cpu().numpy(), labels.cpu().numpy()
