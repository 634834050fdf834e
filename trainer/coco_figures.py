"""COCO's figures, from a well-kept evaluator instead of our own hand."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster
from numpy.typing import NDArray

from trainer.metrics import Judged, Ranking, rank_classes

MOST_DETECTIONS = 100
"""Of one class on one picture; a picture of many tiles may have more."""

COCO_IOUS = tuple(0.5 + 0.05 * step - 1e-6 for step in range(10))
"""COCO takes what overlaps by just so much, too; overlaps are float32."""


@dataclass(frozen=True, slots=True)
class CocoFigures:
    """AP at IoU 0.50 and averaged over 0.50 to 0.95, mean over the classes and by class, 0..1 (nan without a truth)."""

    ap50: float
    ap50_95: float
    ap50_classes: dict[str, float]
    ap50_95_classes: dict[str, float]


def coco_figures(judged: list[Judged], classes: tuple[str, ...]) -> CocoFigures:
    """Judge detections as COCO does.

    Args:
        judged: the pictures.
        classes: names, in the order of the labels.

    Returns:
        The figures.

    Source:
        github.com/MiXaiLL76/faster_coco_eval, cocodataset.org/#detection-eval.
    """
    truths: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    for number, picture in enumerate(judged, start=1):
        for box, label in zip(picture.true_boxes, picture.true_labels, strict=True):
            entry = _entry(number, box, label)
            area = entry["bbox"][2] * entry["bbox"][3]
            truths.append(entry | {"id": len(truths) + 1, "iscrowd": 0, "area": area})
        for box, label, score in zip(picture.boxes, picture.labels, picture.scores, strict=True):
            found.append(_entry(number, box, label) | {"score": float(score)})
    known = {int(label) for picture in judged for label in picture.true_labels}
    none = {name: 0.0 if label in known else math.nan for label, name in enumerate(classes)}
    if not truths or not found:
        mean = 0.0 if truths else math.nan
        return CocoFigures(mean, mean, none, none)
    truth = COCO(
        {
            "images": [{"id": number} for number in range(1, len(judged) + 1)],
            "annotations": truths,
            "categories": [{"id": label + 1, "name": name} for label, name in enumerate(classes)],
        }
    )
    evaluation = COCOeval_faster(truth, truth.loadRes(found), "bbox", print_function=_silent)
    evaluation.params.maxDets = [1, 10, MOST_DETECTIONS]
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    # of each IoU, recall, class, area and number of detections; -1 where a class has nothing to find
    precisions = evaluation.eval["precision"][:, :, :, 0, -1]
    by_class = np.where(precisions < 0, math.nan, precisions).mean(axis=1)
    return CocoFigures(
        float(evaluation.stats[1]),
        float(evaluation.stats[0]),
        dict(zip(classes, by_class[0].tolist(), strict=True)),
        dict(zip(classes, by_class.mean(axis=0).tolist(), strict=True)),
    )


def coco_rankings(judged: list[Judged], classes: int, min_iou: float) -> list[Ranking]:
    """Rank detections as COCO does, to draw bounds from: of each class the best 100 on a picture.

    Args:
        judged: the pictures.
        classes: how many there are.
        min_iou: one of COCO_IOUS.

    Returns:
        One ranking per class.
    """
    return rank_classes([part.take(_counts(part, classes)) for part in judged], classes, min_iou)


def _counts(part: Judged, classes: int) -> NDArray[np.bool_]:
    order = np.argsort(-part.scores, kind="stable")
    kept = np.zeros(len(order), bool)
    for label in range(classes):
        kept[order[part.labels[order] == label][:MOST_DETECTIONS]] = True
    return kept


def _entry(number: int, box: np.ndarray, label: np.int64) -> dict[str, Any]:
    x1, y1, x2, y2 = (float(edge) for edge in box)
    return {"image_id": number, "category_id": int(label) + 1, "bbox": [x1, y1, x2 - x1, y2 - y1]}


def _silent(*_: object) -> None:
    """Swallow the evaluator's table; ours is printed by the command."""
