"""Cross-validation: a net for each fold, and figures of all parts, each judged by a net that never saw its group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from trainer.checkpoint import averaged_net, load_checkpoint
from trainer.datasets.split import Split
from trainer.intervals import Interval, Share, resampled, share
from trainer.metrics import Judged, average_precision, judge_parts, rank
from trainer.operating_point import choose_limit
from trainer.validate import judge


@dataclass(frozen=True, slots=True)
class FoldFigures:
    """One fold, or all of them pooled.

    Args:
        groups: that were held out.
        pictures: of these.
        ap_pooled: AP at IoU 0.33 on defective parts, 0..1.
        ap_bounds: its bounds.
        limit: reject score, chosen on the parts of the other folds; None for all folds, each has its own.
        escapes: bad parts accepted at it.
        overkill: good parts rejected at it.
    """

    groups: tuple[str, ...]
    pictures: int
    ap_pooled: float
    ap_bounds: Interval
    limit: float | None
    escapes: Share
    overkill: Share


@dataclass(frozen=True, slots=True)
class CrossValidation:
    """Figures by fold, over all parts, and how they scatter (mean and standard deviation of the folds' AP)."""

    folds: tuple[FoldFigures, ...]
    pooled: FoldFigures
    ap_mean: float
    ap_deviation: float

    def as_dict(self) -> dict[str, Any]:
        """Return plain values; what could not be measured is nan."""
        return asdict(self)


def judge_fold(split: Split, run: Path) -> list[Judged]:
    """Judge what a fold held out.

    Args:
        split: of the fold.
        run: its run's folder, at its end.

    Returns:
        One item per picture that it held out, in the data set's order.

    Raises:
        ConfigError: The weights are missing or damaged.
    """
    file = run / "final.pt"
    return list(judge(averaged_net(load_checkpoint(file), file), split.validation))


def sum_up(judged: Sequence[list[Judged]]) -> CrossValidation:
    """Sum up the folds; none has a say in its own limit.

    Args:
        judged: the parts of each fold, at least two.

    Returns:
        Figures of each fold and of all parts together.
    """
    folds = []
    for at, own in enumerate(judged):
        others = [part for other, fold in enumerate(judged) if other != at for part in fold]
        folds.append(_figures(own, choose_limit(others)))
    everything = _figures([part for fold in judged for part in fold], 1.0)
    escapes, overkill = (sum(getattr(fold, name).count for fold in folds) for name in ("escapes", "overkill"))
    pooled = replace(
        everything,
        limit=None,
        escapes=share(escapes, everything.escapes.of),
        overkill=share(overkill, everything.overkill.of),
    )
    aps = [fold.ap_pooled for fold in folds]
    return CrossValidation(tuple(folds), pooled, mean(aps), stdev(aps))


def _figures(judged: list[Judged], limit: float) -> FoldFigures:
    bad = [part for part in judged if len(part.true_labels)]
    parts = judge_parts(judged, limit)
    return FoldFigures(
        tuple(sorted({part.group for part in judged})),
        len(judged),
        average_precision(rank(bad)),
        resampled([rank(bad)], average_precision),
        limit,
        share(parts.escapes, parts.bad),
        share(parts.overkill, parts.good),
    )
