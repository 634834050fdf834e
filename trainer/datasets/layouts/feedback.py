"""Feedback of a station: its own pictures, with what people said of them; where they disagree, nothing is learned."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from appliance.annotations.feedback import HumanBox, HumanVerdict, JudgedPart, read_feedback
from appliance.annotations.pictures import TruthBox
from appliance.bundle.matching import iou
from appliance.errors import ConfigError
from trainer.datasets.layouts.boxes import placed, widened
from trainer.datasets.layouts.found import Found, FoundPicture, Wishes
from trainer.datasets.sample import picture_size

SAME_BOX_IOU = 0.5
"""Two people mean the same defect if their boxes overlap so far and have one label."""

ASIDE = "people disagree, or it is bad and nobody marked where, or a view that they marked has no picture here"

Said = tuple[str, HumanVerdict]


@dataclass(frozen=True, slots=True)
class _Truth:
    where: str
    boxes: tuple[HumanBox, ...]


def read_stations_feedback(source: Path, wishes: Wishes) -> Found:
    """Read what `appliance export` wrote, with people's verdicts in `human.jsonl`.

    Of each person the last verdict on a part counts. A part is set aside where people disagree, where it is bad and
    nobody marked where, and where a view that they marked has no picture here. What the machine said is no truth.

    Args:
        source: the folder.
        wishes: classes and groups; without a pattern a group is a day, or a part where there is only one day.

    Raises:
        ConfigError: The export or a verdict is broken, or no part can be learned from; names file and line.
    """
    feedback = read_feedback(source)
    pictures, aside, without = [], [], 0
    days = {part.record.decided_at[:10] for part in feedback.judged}
    for part in feedback.judged:
        last = _last_of_each(part.verdicts)
        truth = _shown(_agreed(last), part)
        if not part.pictures:
            without += 1
        elif isinstance(truth, str):
            aside.append(_set_aside(part, truth, last))
        else:
            group = part.record.decided_at[:10] if len(days) > 1 else part.record.part_id
            pictures += _pictures(part, truth, last, f"{part.record.device_id}/{group}", wishes)
    if not pictures:
        raise ConfigError(f"{source}: no part has a picture and people who agree; ask them about more parts")
    labels = sorted({defect.label for picture in pictures for defect in picture.defects})
    remarks = (
        (len(aside), f"parts are set aside, see set_aside.json: {ASIDE}"),
        (without, "judged parts have no picture here"),
        (feedback.unjudged, "parts that nobody judged are left out: what the machine said is no truth"),
        (feedback.strangers, "verdicts are about parts that are not in this export"),
    )
    said = tuple(f"{count} {words}" for count, words in remarks if count)
    return Found(wishes.classes or tuple(labels), tuple(pictures), said, tuple(aside))


def _last_of_each(verdicts: tuple[Said, ...]) -> list[Said]:
    last: dict[str, Said] = {}
    for said in sorted(verdicts, key=lambda item: item[1].moment):  # stable: of one moment the later line
        last.pop(said[1].who, None)
        last[said[1].who] = said
    return list(last.values())


def _agreed(verdicts: list[Said]) -> _Truth | str:
    """Return what all agree on, or why nothing can be learned from it."""
    where, newest = verdicts[-1]
    if len({said.verdict for _, said in verdicts}) > 1:
        return "people disagree on the verdict"
    if newest.verdict == "ACCEPT":
        return _Truth(where, ())
    marked = [(place, said.boxes) for place, said in verdicts if said.boxes]
    if not marked:
        return "bad, and nobody marked where"
    if not all(_are_same(marked[-1][1], boxes) for _, boxes in marked):
        return "people disagree on what is where"
    return _Truth(*marked[-1])


def _shown(truth: _Truth | str, part: JudgedPart) -> _Truth | str:
    """Return the truth, or why nothing can be learned from it: of a marked view there is no picture."""
    unknown = [] if isinstance(truth, str) else sorted({box.view for box in truth.boxes} - part.pictures.keys())
    if not unknown:
        return truth
    return f"a defect is marked in view {', '.join(unknown)}, of which there is no picture here"


def _are_same(first: tuple[HumanBox, ...], second: tuple[HumanBox, ...]) -> bool:
    left = list(second)
    for box in first:
        alike = [other for other in left if (other.view, other.label) == (box.view, box.label)]
        best = max(alike, key=lambda other: _overlap(other, box), default=None)
        if best is None or _overlap(best, box) < SAME_BOX_IOU:
            return False
        left.remove(best)
    return not left


def _overlap(first: HumanBox, second: HumanBox) -> float:
    """Return the IoU of two boxes; a line is taken as one pixel wide, as it is when it is learned from."""
    return iou(widened(first.box_px), widened(second.box_px))


def _pictures(part: JudgedPart, truth: _Truth, last: list[Said], group: str, wishes: Wishes) -> list[FoundPicture]:
    found = []
    for view, path in part.pictures.items():
        size = picture_size(path, truth.where)
        defects = tuple(
            placed(TruthBox(wishes.label(box.label, truth.where), box.box_px, truth.where), size)
            for box in truth.boxes
            if box.view == view
        )
        own = wishes.group(Path(path.name)) if wishes.group_pattern else group
        camera = f"{part.record.device_id}/{view}"
        found.append(FoundPicture(path, size, own, defects, origin=_origin(part, last), camera=camera))
    return found


def _origin(part: JudgedPart, last: list[Said]) -> dict[str, Any]:
    record = part.record
    return {
        "device_id": record.device_id,
        "seq": record.seq,
        "inspection_id": record.inspection_id,
        "part_id": record.part_id,
        "record_sha256": part.record_hash,
        "verdicts": [{"who": said.who, "at": said.at, "verdict": said.verdict} for _, said in last],
    }


def _set_aside(part: JudgedPart, why: str, last: list[Said]) -> dict[str, Any]:
    said = [verdict.model_dump(mode="json", include={"who", "at", "verdict", "boxes"}) for _, verdict in last]
    pictures = [str(path) for path in part.pictures.values()]
    return {"why": why, "pictures": pictures, **_origin(part, last), "verdicts": said}
