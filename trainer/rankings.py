"""The rankings that a report and its evidence are read off: made once for both."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trainer.ap_lost import count_each, without_each
from trainer.datasets.sample import SIZES_PX2
from trainer.metrics import Floats, Judged, Matched, Ranking
from trainer.operating_point import LEAST_LIMIT


@dataclass(frozen=True, slots=True, eq=False)
class Rankings:
    """Pictures and all that is ranked of them at DeepPCB's overlap.

    Args:
        matched: all pictures, held against their truth.
        names: of the classes, in the order of the labels.
        limits: float64 [classes], reject scores.
        everything: all detections of all pictures.
        calibrated: of these, from LEAST_LIMIT up: their scores are held to their word.
        bad: those on defective parts.
        by_class: the same, each class by itself.
        by_size: the same, pooled, each of COCO's sizes of a box by itself.
        at_limits: the same, pooled, with the scores at or above the limits only.
        at_limits_by_class: the same, each class by itself.
        at_limits_by_size: the same as at_limits, each size by itself.
        without: mistake -> `bad` as if nobody made it.
        mistakes: mistake -> how often it is made at the limits.
    """

    matched: Matched
    names: tuple[str, ...]
    limits: Floats
    everything: Ranking
    calibrated: Ranking
    bad: Ranking
    by_class: list[Ranking]
    by_size: dict[str, Ranking]
    at_limits: Ranking
    at_limits_by_class: list[Ranking]
    at_limits_by_size: dict[str, Ranking]
    without: dict[str, Ranking]
    mistakes: dict[str, int]

    @classmethod
    def of(cls, judged: list[Judged], names: tuple[str, ...], limits: Floats) -> Rankings:
        """Rank the detections of pictures.

        Args:
            judged: the pictures.
            names: of the classes, in the order of the labels.
            limits: float64 [classes], reject scores.

        Returns:
            All rankings of them.
        """
        matched = Matched.of(judged)
        bad = matched.defective()
        labels = range(len(names))
        return cls(
            matched,
            names,
            limits,
            everything=matched.ranking(),
            calibrated=matched.ranking(limits=np.full(len(names), LEAST_LIMIT)),
            bad=bad.ranking(),
            by_class=[bad.ranking(label) for label in labels],
            by_size={name: bad.ranking(within=within) for name, within in SIZES_PX2.items()},
            at_limits=bad.ranking(limits=limits),
            at_limits_by_class=[bad.ranking(label, limits) for label in labels],
            at_limits_by_size={name: bad.ranking(None, limits, within) for name, within in SIZES_PX2.items()},
            without=without_each(bad),
            mistakes=count_each(bad, limits),
        )

    @property
    def judged(self) -> list[Judged]:
        """All pictures."""
        return self.matched.judged
