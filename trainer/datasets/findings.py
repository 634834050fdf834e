"""What a check of a data set finds: the values that the console, the JSON file and the page show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from appliance.events import Box
from trainer.datasets.examination import Examined


@dataclass(frozen=True, slots=True)
class Case:
    """One case of a finding.

    Args:
        pictures: what it is about, as indices into the annotations.
        says: what, in words.
        boxes: where on the picture, in pixels, what it is about most first; empty if it is about all of it.
        has_reference: whether it is about the picture's reference, too.
    """

    pictures: tuple[int, ...]
    says: str
    boxes: tuple[Box, ...] = ()
    has_reference: bool = False


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found.

    Args:
        name: a few words.
        is_grave: True if training or its figures would be untrue, or not possible.
        means: what a case means for the training, one sentence.
        remedy: what to do.
        cases: empty if all is well.
    """

    name: str
    is_grave: bool
    means: str
    remedy: str
    cases: tuple[Case, ...]

    def verdict(self) -> Literal["ok", "warning", "wrong"]:
        """Return how bad it is."""
        if not self.cases:
            return "ok"
        return "wrong" if self.is_grave else "warning"


def findings_as_dict(examined: Examined, findings: list[Finding]) -> dict[str, Any]:
    """Return plain values for a JSON file: all findings, with the path of every picture concerned."""
    pictures = examined.annotations.pictures
    return {
        "pictures": len(pictures),
        "classes": list(examined.annotations.classes),
        "findings": [
            {
                "name": finding.name,
                "verdict": finding.verdict(),
                "means": finding.means,
                "remedy": finding.remedy,
                "cases": [
                    {
                        "says": case.says,
                        "pictures": [str(pictures[at].path) for at in case.pictures],
                        "boxes": case.boxes,
                    }
                    for case in finding.cases
                ],
            }
            for finding in findings
        ],
    }
