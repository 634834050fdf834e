"""The model card: what a person who signs the release wants to know, on one page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from appliance.bundle.golden import GoldenImage, lacking
from appliance.bundle.manifest import Geometry, Lineage, Manifest
from trainer.datasets.split import Split
from trainer.evaluate import Report
from trainer.golden import counted
from trainer.operating_point import Choice
from trainer.score_calibration import Calibration
from trainer.stress import borne_at_export
from trainer.variants import in_words
from trainer.wording import between, decimal, percent, within

MOST_GROUPS = 12
"""More groups than this are not listed one by one: nobody reads a thousand names."""

WHERE_NOT = """## Where not to rely on it

On products, lighting or optics unlike those above, and on kinds of defect that are not in the table: they have not
been measured. It takes no dimensions. Run it in shadow mode beside people until there is evidence from your own line.
"""


def write_model_card(
    manifest: Manifest,
    figures: Report,
    split: Split,
    calibration: Calibration,
    choice: Choice,
    golden: Sequence[GoldenImage],
    few_golden: str = "",
    intended_use: str = "",
) -> str:
    """Write the card.

    Args:
        manifest: the bundle's.
        figures: of the exported model on the validation half.
        split: what it was trained and judged on.
        calibration: errors before and after.
        choice: what the limit was chosen for.
        golden: the golden images.
        few_golden: why somebody let them do, if they lack something.
        intended_use: what it is for, in the words of who releases it; empty if nobody has said so.

    Returns:
        Markdown.
    """
    return f"""{_origin(manifest, figures, split, choice)}

## What it is for

To tell good parts from bad ones of the products in these groups: a part is bad if a score reaches the limit of its
class. {_use(intended_use)}

## How good

On {figures.evidence.escapes.of} bad and {figures.evidence.overkill.of} good parts. The bounds hold 95 times in a
hundred as far as chance goes; what hangs on limits and calibration flatters, for they were chosen on these parts.

| figure | value | 95 % bounds |
|---|---|---|
{_figures(figures, calibration)}

{_class_rows(manifest, figures, split)}

{_group_rows(figures)}

## What it bears

One thing at a time, on held-out pictures, before the AP falls by more than a point: {_borne(manifest.lineage.metrics)}.

## With fewer bits

Beside the model that the figures above are of, the bundle holds: {_variants(manifest)}.

## What a device proves

That it finds on {len(golden)} golden images what this model finds: {_golden(golden, few_golden)}

{WHERE_NOT}"""


def _origin(manifest: Manifest, figures: Report, split: Split, choice: Choice) -> str:
    geometry, lineage, colour = manifest.geometry, manifest.lineage, _colour(manifest.geometry)
    compared = ", each compared with a reference picture of a good part," if geometry.has_reference else ""
    return f"""# {manifest.name}, revision {manifest.revision}

Finds {len(manifest.classes)} kinds of defect on {colour} pictures{compared} of {geometry.width} x
{geometry.height} pixels ({geometry.fit}). A compact one-stage, anchor-free convolutional net, {_begun(lineage)}.

- Trained {lineage.trained_at}, source commit {lineage.source_commit}, data set SHA-256 {lineage.dataset_digest}.
- Released by {lineage.released_by}.
- Trained on the groups {_names(split.train.groups())} ({len(split.train.samples)} pictures); all figures below are
  from the groups {_names(split.validation.groups())} ({figures.pictures} pictures), which training never saw. The
  limits and the calibration of the scores were chosen on these same groups.
- The limit is chosen for {choice.reason}.{_doubt(choice)}"""


def _colour(geometry: Geometry) -> str:
    return "grey" if geometry.picture_channels == 1 else "RGB"


def _begun(lineage: Lineage) -> str:
    begun = f"trained on from {lineage.backbone}" if lineage.backbone else "trained from scratch"
    return f"{begun}, with the answers of {lineage.teacher} beside the labels" if lineage.teacher else begun


def _doubt(choice: Choice) -> str:
    return f" Beware: {choice.doubt}." if choice.doubt else ""


def _use(stated: str) -> str:
    words = " ".join(stated.split())
    return f"Its intended use, as stated: {words}" if words else "Nobody has stated an intended use."


def _figures(figures: Report, calibration: Calibration) -> str:
    behind, parts, at = figures.evidence, figures.parts, figures.at_limits
    before, after = (decimal(error, 3) for error in (calibration.error_before, calibration.error_after))
    rows = [
        ("AP at IoU 0.33, pooled over the classes", percent(figures.ap_pooled, 1), between(behind.ap_pooled, 1)),
        ("COCO AP50", percent(figures.coco.ap50, 1), between(behind.ap50, 1)),
        ("COCO AP50-95", percent(figures.coco.ap50_95, 1), between(behind.ap50_95, 1)),
        ("precision at the limits", percent(at.precision, 1), between(behind.precision, 1)),
        ("recall at the limits", percent(at.recall, 1), between(behind.recall, 1)),
        ("F at the limits", percent(at.f, 1), between(behind.f_at_limits, 1)),
        ("escapes (bad parts accepted)", f"{parts.escapes} of {parts.bad}", between(behind.escapes, 1)),
        ("overkill (good parts rejected)", f"{parts.overkill} of {parts.good}", between(behind.overkill, 1)),
        ("expected calibration error, before", before, ""),
        ("the same, after", after, within(behind.calibration_error, 3)),
    ]
    if (misplaced := behind.misplaced).of:
        words = "parts that do not lie over their reference: a station does not judge them"
        rows.append((words, f"{misplaced.count} of {misplaced.of}", between(misplaced, 1)))
    return "\n".join(f"| {name} | {value} | {bounds} |" for name, value, bounds in rows)


def _variants(manifest: Manifest) -> str:
    return "; ".join(in_words(manifest.variants)) or "no other"


def _borne(metrics: Mapping[str, float]) -> str:
    found = [f"{name} {tolerance.level:g}" for name, tolerance in borne_at_export(metrics).items()]
    return ", ".join(found) or "not measured"


def _golden(golden: Sequence[GoldenImage], why: str) -> str:
    words = ", ".join(f"{count} {kind.replace('_', ' ')}" for kind, count in counted(golden).items())
    few = lacking(golden)
    if not few:
        return f"{words}."
    return f"{words}. Beware: {few}. Why that is let pass: {' '.join(why.split()) or 'nobody has said'}"


def _class_rows(manifest: Manifest, figures: Report, split: Split) -> str:
    head = """| class | severity | limit | AP at IoU 0.33 | 95 % bounds | boxes trained on | boxes judged on |
|---|---|---|---|---|---|---|
"""
    return head + "\n".join(
        f"| {item.name} | {item.severity} | {item.limit:.3f} | {percent(figures.ap_classes[item.name], 1)} "
        f"| {between(figures.evidence.ap_classes[item.name], 1)} "
        f"| {split.train.boxes_per_class()[item.name]} | {split.validation.boxes_per_class()[item.name]} |"
        for item in manifest.classes
    )


def _group_rows(figures: Report) -> str:
    worst = sorted(
        figures.groups.items(), key=lambda item: math.inf if math.isnan(item[1].ap_pooled) else item[1].ap_pooled
    )
    head = f"""| group (worst first, at most {MOST_GROUPS}) | AP at IoU 0.33 | 95 % bounds | escapes | overkill |
|---|---|---|---|---|
"""
    return head + "\n".join(
        f"| {name} | {percent(row.ap_pooled, 1)} | {between(row.ap_bounds, 1)} "
        f"| {row.parts.escapes} of {row.parts.bad} | {row.parts.overkill} of {row.parts.good} |"
        for name, row in worst[:MOST_GROUPS]
    )


def _names(groups: Sequence[str]) -> str:
    more = len(groups) - MOST_GROUPS
    return ", ".join(groups[:MOST_GROUPS]) + (f" and {more} more" if more > 0 else "")
