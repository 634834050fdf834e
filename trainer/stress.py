"""How far light, focus, noise and placement may drift before the model loses a point of AP.

One stress at a time, in steps a person can picture; the last step before the loss is the tolerance. It goes into the
manifest, so that a station's image limits and drift charts can be held against what the model really bears.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from appliance.events import Pixels
from appliance.optics.detections import areas, intersections
from trainer.augment import KEPT_SHARE
from trainer.datasets.sample import Boxes, Dataset, Sample, load_picture, spread
from trainer.evaluate import Runner, beside_truth
from trainer.metrics import Judged, average_precision, rank
from trainer.progress import tracked
from trainer.references import load_input
from trainer.threads import in_threads

LARGEST_LOSS = 0.01
"""Of the AP at IoU 0.33, pooled, 0..1."""

MOST_PICTURES = 100

BEARS = "bears_"
"""Before the name of a stress in the lineage's metrics."""

Change = Callable[[Pixels, Boxes, float], tuple[Pixels, Boxes]]


@dataclass(frozen=True, slots=True)
class Stress:
    """One way in which a picture gets worse.

    Args:
        name: with its unit, as it stands in the manifest.
        levels: rising, in that unit.
        changes: make a picture and its boxes, which may leave it, at a level; two of them where it goes both ways.
    """

    name: str
    levels: tuple[float, ...]
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class Robustness:
    """The last level at which the AP was still good, 0 if the first was too much.

    Args:
        level: in the unit that the name tells.
        ap: the lowest AP up to it; None if only the level is known.
        is_whole_range: whether no higher level was tried; None if only the level is known.
        measured_on: which pictures.
        pictures: how many were judged at each level, all with defects; None if only the level is known.
    """

    level: float
    ap: float | None
    is_whole_range: bool | None
    measured_on: str = "these pictures"
    pictures: int | None = None

    def words(self, name: str) -> str:
        """Return it in a sentence.

        Args:
            name: of the stress, with its unit.
        """
        known = "" if self.ap is None else f" (AP@0.33 then {self.ap:.4f} or better, on {self.pictures} pictures)"
        more = {True: " or more", False: " and no more", None: ""}[self.is_whole_range]
        return f"bears {name} {self.level:g}{more}{known}"


def borne_at_export(metrics: Mapping[str, float]) -> dict[str, Robustness]:
    """Return what was measured when a bundle was made.

    Args:
        metrics: of its lineage.
    """
    on = "the groups held out at the export"
    names = [name for name in metrics if name.startswith(BEARS)]
    return {name.removeprefix(BEARS): Robustness(metrics[name], None, None, on) for name in names}


def sweep(runner: Runner, dataset: Dataset, at_once: int = 1) -> dict[str, Robustness]:
    """Find how much of each stress a model bears.

    Args:
        runner: the bundle, as it is run.
        dataset: of classes that the bundle knows; defective parts are taken from it, at most 100, spread over it.
        at_once: pictures judged at once.

    Returns:
        Name of the stress -> tolerance; empty if nothing is found on the pictures as they are.
    """
    bad = [sample for sample in dataset.samples if not sample.is_good]
    chosen = Dataset(dataset.classes, tuple(spread(bad, MOST_PICTURES)))
    as_it_is = _ap(runner, chosen, at_once, _brighter, 0.0)
    if not as_it_is > 0.0:
        return {}
    return {
        stress.name: _robustness(runner, chosen, at_once, stress, as_it_is) for stress in tracked(STRESSES, "stress")
    }


def _robustness(runner: Runner, dataset: Dataset, at_once: int, stress: Stress, as_it_is: float) -> Robustness:
    borne, lowest = 0.0, as_it_is
    for level in stress.levels:
        found = min(_ap(runner, dataset, at_once, change, level) for change in stress.changes)
        if found < as_it_is - LARGEST_LOSS:
            return Robustness(borne, lowest, is_whole_range=False, pictures=len(dataset.samples))
        borne, lowest = level, min(lowest, found)
    return Robustness(borne, lowest, is_whole_range=True, pictures=len(dataset.samples))


def _ap(runner: Runner, dataset: Dataset, at_once: int, change: Change, level: float) -> float:
    geometry = runner.manifest.geometry
    names = [item.name for item in runner.manifest.classes]

    def judge(sample: Sample) -> Judged:
        picture, moved = change(load_picture(sample.image, geometry.picture_channels), sample.boxes, level)
        seen, rest = _divided(sample, moved, picture)
        found = runner.detect(load_input(sample, geometry.channels, picture))
        return _without(beside_truth(found, seen, dataset.classes, names), rest)

    return average_precision(rank(list(in_threads(judge, dataset.samples, at_once))))


def _divided(sample: Sample, moved: Boxes, picture: Pixels) -> tuple[Sample, Boxes]:
    """Divide what a picture still shows of a sample's defects: those to be found, and rests that may be or not.

    As in a crop, what is mostly outside need not be found.
    """
    height, width = picture.shape[:2]
    inside = np.clip(moved, 0, np.array([width, height, width, height], np.float32)).astype(np.float32)
    is_seen = areas(inside) >= KEPT_SHARE * areas(moved)
    return replace(sample, boxes=inside[is_seen], labels=sample.labels[is_seen]), inside[~is_seen]


def _without(judged: Judged, rests: Boxes) -> Judged:
    on_rest = intersections(judged.boxes, rests).max(axis=1, initial=0.0)
    return judged.take(on_rest <= areas(judged.boxes) / 2)


def brighter(picture: Pixels, percent: float) -> Pixels:
    """Return a picture under more light, as a camera without gamma gives it.

    Args:
        picture: uint8, any shape.
        percent: more light; below 0 less.
    """
    return np.asarray(np.clip(picture * np.float32(1 + percent / 100), 0, 255), np.uint8)


def _brighter(picture: Pixels, boxes: Boxes, level: float) -> tuple[Pixels, Boxes]:
    return brighter(picture, level), boxes


def _darker(picture: Pixels, boxes: Boxes, level: float) -> tuple[Pixels, Boxes]:
    return _brighter(picture, boxes, -level)


def _blurred(picture: Pixels, boxes: Boxes, level: float) -> tuple[Pixels, Boxes]:
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), level), np.uint8).reshape(picture.shape), boxes


def _noisy(picture: Pixels, boxes: Boxes, level: float) -> tuple[Pixels, Boxes]:
    noise = np.random.default_rng(0).normal(0.0, level, picture.shape)
    return np.clip(picture + noise, 0, 255).astype(np.uint8), boxes


def displaced(picture: Pixels, boxes: Boxes, motion: np.ndarray) -> tuple[Pixels, Boxes]:
    """Move a picture, and the boxes with it.

    Args:
        picture: uint8 [height, width, channels].
        boxes: float32 [N, 4], x1 y1 x2 y2 in pixels.
        motion: float64 [2, 3], where a point goes, as cv2.warpAffine takes it.

    Returns:
        The picture, whose border repeats what comes in, and the boxes around the moved ones.
    """
    height, width = picture.shape[:2]
    moved = cv2.warpAffine(picture, motion, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    corners = boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2) @ motion[:, :2].T + motion[:, 2]
    around = np.concatenate((corners.min(axis=1), corners.max(axis=1)), axis=1).astype(np.float32)
    return np.asarray(moved, np.uint8).reshape(picture.shape), around


def _turned(picture: Pixels, boxes: Boxes, level: float) -> tuple[Pixels, Boxes]:
    return displaced(picture, boxes, cv2.getRotationMatrix2D(_centre(picture), level, 1.0))


def _turned_back(picture: Pixels, boxes: Boxes, level: float) -> tuple[Pixels, Boxes]:
    return _turned(picture, boxes, -level)


def _shifted(picture: Pixels, boxes: Boxes, level: float) -> tuple[Pixels, Boxes]:
    return displaced(picture, boxes, np.array([[1.0, 0.0, level / math.sqrt(2)], [0.0, 1.0, level / math.sqrt(2)]]))


def _larger(picture: Pixels, boxes: Boxes, level: float) -> tuple[Pixels, Boxes]:
    return displaced(picture, boxes, cv2.getRotationMatrix2D(_centre(picture), 0.0, 1 + level / 100))


def _smaller(picture: Pixels, boxes: Boxes, level: float) -> tuple[Pixels, Boxes]:
    return _larger(picture, boxes, -level)


def _centre(picture: Pixels) -> Sequence[float]:
    return picture.shape[1] / 2, picture.shape[0] / 2


STRESSES = (
    Stress("darker_percent", (5, 10, 20, 30, 40, 50), (_darker,)),
    Stress("brighter_percent", (5, 10, 20, 30, 50, 70, 100), (_brighter,)),
    Stress("blur_spread_px", (0.4, 0.6, 0.8, 1.0, 1.5, 2.0, 3.0), (_blurred,)),
    Stress("noise_spread_grey", (2, 4, 8, 12, 16, 24, 32), (_noisy,)),
    Stress("shift_px", (0.5, 1, 2, 4, 8, 16), (_shifted,)),
    Stress("rotation_deg", (0.25, 0.5, 1, 2, 3, 5, 8), (_turned, _turned_back)),
    Stress("scale_percent", (0.5, 1, 2, 5, 10, 15, 20), (_larger, _smaller)),
)
