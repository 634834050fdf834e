"""Make scores honest: after this, of all detections with score 0.9 about nine in ten are right."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainer.calibration_error import calibration_error

Floats = NDArray[np.float64]

_PULL = 1e-2
"""Strength of the pull towards "change nothing", so that a handful of detections cannot bend the scores."""


@dataclass(frozen=True, slots=True)
class ScoreMap:
    """score = sigmoid(slope * logit + shift); slope is positive, so the order of detections never changes."""

    slope: float = 1.0
    shift: float = 0.0

    def __call__(self, scores: Floats) -> Floats:
        """Map raw scores (0..1) to calibrated ones (0..1)."""
        return _sigmoid(self.slope * _logit(scores) + self.shift)

    def raw(self, scores: Floats) -> Floats:
        """Return what calibrated scores (0..1) were before."""
        return _sigmoid((_logit(scores) - self.shift) / self.slope)


SCORE_SLOPE, SCORE_SHIFT = "score_slope", "score_shift"
"""Where the lineage's metrics keep the map that is folded into the graph."""


def folded(metrics: Mapping[str, float]) -> ScoreMap | None:
    """Return the map that is folded into a bundle's graph.

    Args:
        metrics: of the bundle's lineage.

    Returns:
        The map; None if the bundle does not tell it.
    """
    if not {SCORE_SLOPE, SCORE_SHIFT} <= metrics.keys():
        return None
    return ScoreMap(metrics[SCORE_SLOPE], metrics[SCORE_SHIFT])


@dataclass(frozen=True, slots=True)
class Calibration:
    """A fitted map, with the expected calibration error before and after it (0..1; nan if there is no detection).

    The error after is measured on groups that the map was not fitted to.
    """

    scores: ScoreMap
    error_before: float
    error_after: float


def fit_score_map(scores: Floats, right: NDArray[np.bool_]) -> ScoreMap:
    """Fit the map by logistic regression.

    Args:
        scores: float64 [D], raw, 0..1.
        right: bool [D], whether the detection was right.

    Returns:
        The map; the identity if all or none are right, for then there is nothing to learn from.

    Source:
        Platt, Probabilistic outputs for support vector machines (1999).
    """
    if right.all() or not right.any():
        return ScoreMap()
    x = np.stack((_logit(scores), np.ones(len(scores))), axis=1)
    prior = np.array([1.0, 0.0])
    weights = prior.copy()
    for _ in range(100):
        p = _sigmoid(x @ weights)
        gradient = x.T @ (p - right) + _PULL * (weights - prior)
        curvature = (x * (p * (1 - p))[:, None]).T @ x + _PULL * np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        weights = weights - step * min(1.0, 2.0 / max(1e-12, float(np.abs(step).max())))
        if np.abs(step).max() < 1e-10:
            break
    return ScoreMap(max(0.05, float(weights[0])), float(weights[1]))


def calibrate_scores(
    scores: Floats, right: NDArray[np.bool_], groups: NDArray[np.str_], floor: float = 0.0
) -> Calibration:
    """Fit the map to everything, and measure it honestly.

    Args:
        scores: float64 [D], raw, 0..1.
        right: bool [D].
        groups: names [D]; each group is judged by a map fitted to the other groups. With a single group the two
            halves of its detections judge each other.
        floor: detections whose calibrated score is below this are left out of both errors: a heap of certain noise
            would hide how honest the scores are that matter.

    Returns:
        The map and the errors before and after.
    """
    folds = groups if len(set(groups.tolist())) > 1 else np.array([str(i % 2) for i in range(len(scores))])
    mapped = np.zeros(len(scores))
    for fold in sorted(set(folds.tolist())):
        mine = folds == fold
        mapped[mine] = fit_score_map(scores[~mine], right[~mine])(scores[mine])
    shown = mapped >= floor
    before, after = (calibration_error(values[shown], right[shown]) for values in (scores, mapped))
    return Calibration(fit_score_map(scores, right), before, after)


def _logit(scores: Floats) -> Floats:
    clipped = np.clip(scores, 1e-7, 1 - 1e-7)
    return np.asarray(np.log(clipped) - np.log1p(-clipped), np.float64)


def _sigmoid(x: Floats) -> Floats:
    return np.asarray(1.0 / (1.0 + np.exp(-x)), np.float64)
