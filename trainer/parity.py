"""Whether the same weights say the same in torch, in ONNX and with fewer bits: side by side on the same pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from appliance.bundle.archive import Bundle
from appliance.bundle.manifest import Manifest
from appliance.errors import ConfigError
from appliance.events import Pixels
from appliance.optics.detections import ious
from appliance.ports import RawDetections
from trainer.checkpoint import averaged_net, load_checkpoint
from trainer.graph import ContractNet, run_torch
from trainer.intervals import Interval, resampled_loss
from trainer.metrics import Judged, average_precision, rank, rejected
from trainer.score_calibration import folded

SAME_IOU = 0.5
"""Detections of one class that overlap by more are the same one."""


@dataclass(frozen=True, slots=True)
class Parity:
    """One way to run the model beside the one that was judged.

    Args:
        ap_pooled: AP at IoU 0.33, as in the report.
        ap_drop: how much lower that is than with the first.
        ap_drop_bounds: 95 % bounds of that, over the same pictures drawn anew.
        largest_score_difference: of one detection from the other's that is nearest in score where it lies; one that
            the other does not have counts with its whole score; nan if neither finds anything.
        parts: parts judged.
        parts_changed: those with another verdict at the manifest's limits.
    """

    ap_pooled: float
    ap_drop: float
    ap_drop_bounds: Interval
    largest_score_difference: float
    parts: int
    parts_changed: int


def compare_all(judged: Mapping[str, list[Judged]], first: str, manifest: Manifest) -> dict[str, Parity]:
    """Hold each way to run a model against the first one.

    Args:
        judged: name -> the same pictures in the same order.
        first: name of what the others are held against.
        manifest: limits.

    Returns:
        Name -> how it differs, the first one too, which does not.
    """
    limits = np.array([item.limit for item in manifest.classes])
    verdicts = [rejected(part, limits) for part in judged[first]]
    rankings = {name: rank([part for part in parts if len(part.true_labels)]) for name, parts in judged.items()}
    best = average_precision(rankings[first])
    table = {}
    for name, parts in judged.items():
        ap = average_precision(rankings[name])
        between = resampled_loss(rankings[first], rankings[name], average_precision)
        changed = sum(rejected(part, limits) != verdict for part, verdict in zip(parts, verdicts, strict=True))
        table[name] = Parity(ap, best - ap, between, _largest(judged[first], parts), len(parts), changed)
    return table


def _largest(first: list[Judged], parts: list[Judged]) -> float:
    """Return the largest difference of a score; nan if neither finds anything, for then there is no score."""
    apart = [
        max(_farthest(one, other), _farthest(other, one))
        for one, other in zip(first, parts, strict=True)
        if len(one.scores) or len(other.scores)
    ]
    return max(apart, default=math.nan)


def _farthest(one: Judged, other: Judged) -> float:
    """Return how far a detection is from the other's that is nearest in score, or from none at all, at most."""
    if not len(one.scores):
        return 0.0
    is_same = (ious(one.boxes, other.boxes) > SAME_IOU) & (one.labels[:, None] == other.labels)
    apart = np.where(is_same, np.abs(one.scores[:, None] - other.scores), one.scores[:, None])
    nearest: NDArray[np.float32] = np.minimum(apart.min(axis=1, initial=1.0), one.scores)
    return float(nearest.max())


class TorchRuntime:
    """A run's weights in torch, behind the port that every runtime has.

    Args:
        run: the run's `final.pt` or `last.pt`.
        bundle: what was exported from it; says size and calibration.

    Raises:
        ConfigError: The bundle was not exported from these weights, or by an older trainer.
    """

    def __init__(self, run: Path, bundle: Bundle) -> None:
        state = load_checkpoint(run)
        manifest, lineage = bundle.manifest, bundle.manifest.lineage
        if (state.trained_at, state.dataset_digest) != (lineage.trained_at, lineage.dataset_digest):
            raise ConfigError(
                f"{run}: bundle {manifest.name} revision {manifest.revision} was exported from other weights; "
                "name the run that it comes from"
            )
        scores = folded(lineage.metrics)
        if scores is None:
            raise ConfigError(f"{run}: the bundle does not tell the calibration of its scores; export it again")
        geometry = manifest.geometry
        self._model = ContractNet(averaged_net(state, run), scores, geometry.height, geometry.width)

    def infer(self, images: Pixels) -> RawDetections:
        """Run the model on images uint8 [N, height, width, channels]."""
        boxes, scores, labels = run_torch(self._model, images)
        return RawDetections(boxes.astype(np.float32), scores.astype(np.float32), labels.astype(np.int64))

    def describe(self) -> str:
        """Return what computes."""
        return "torch"

    def close(self) -> None:
        """Do nothing: there is no device's memory to free."""
