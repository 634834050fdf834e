"""What an evaluation found, as one page for people: figures with their bounds, and the cases behind them."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from appliance.bundle.archive import Bundle
from appliance.events import Box, iso, utc_now
from trainer.ap_lost import MISTAKES
from trainer.curves import draw_roc, roc_rows, roc_words
from trainer.datasets.sample import Dataset, load_picture
from trainer.evaluate import GroupFigures, Report
from trainer.evidence import Evidence
from trainer.gallery import SURE, Case, as_box, find_cases
from trainer.intervals import Interval, Share
from trainer.metrics import Judged
from trainer.page import GREEN, RED, Page, cut_out
from trainer.parity import Parity
from trainer.seen import Halves
from trainer.stress import Robustness
from trainer.unmarked import Unmarked
from trainer.wording import at_its_limit, between, decimal, percent, within

MOST_GROUPS = 24


def write_page(
    bundle: Bundle,
    dataset: Dataset,
    judged: list[Judged],
    report: Report,
    parity: Mapping[str, Parity] | None = None,
    told_apart: Halves | None = None,
    tolerances: Mapping[str, Robustness] | None = None,
    unmarked: Unmarked | None = None,
) -> str:
    """Write the page.

    Args:
        bundle: what was judged.
        dataset: on what.
        judged: one item per picture, in its order.
        report: the figures.
        parity: other ways to run the model beside the one that was judged, by name, that one first.
        told_apart: groups that it was trained on, and others.
        tolerances: how much of each stress it bears, by name.
        unmarked: bad parts that nobody has marked; None if there are none.

    Returns:
        HTML.
    """
    manifest = bundle.manifest
    names = tuple(item.name for item in manifest.classes)
    limits = np.array([item.limit for item in manifest.classes])
    page = Page(
        f"{manifest.name}, revision {manifest.revision}",
        f"Judged on {report.pictures} pictures ({report.evidence.escapes.of} of defective parts, "
        f"{report.evidence.overkill.of} of good ones) on {iso(utc_now(), 'seconds')}. Bundle SHA-256 {bundle.digest}.",
    )
    _figures(page, report, unmarked)
    _halves(page, told_apart)
    _parity(page, parity or {})
    _borne(page, tolerances or {})
    page.heading("Parts", "Highest score on each part; the line is the lowest limit.")
    page.drawing(_strips(judged, float(limits.min())))
    page.heading("Escapes against overkill", roc_words(report.evidence))
    page.drawing(draw_roc(report.evidence))
    page.tables(roc_rows(report.evidence))
    _breakdown(page, report, limits, names)
    for heading, cases in find_cases(judged, names, limits).items():
        page.heading(heading, f"Green: labelled. Red: seen, over the limit or with {SURE:g} or more.")
        page.pictures(_picture(case, dataset, judged, limits) for case in cases)
    return page.html()


def _figures(page: Page, report: Report, unmarked: Unmarked | None) -> None:
    behind = report.evidence
    boxes = f"{sum(behind.boxes.values())} boxes"
    at, best = report.at_limits, report.best
    rows: list[tuple[object, ...]] = [
        ("figure", "value", "95 % bounds", "counted"),
        ("AP at IoU 0.33, pooled", percent(report.ap_pooled), _between(behind.ap_pooled), boxes),
        ("the same, mean over the classes", percent(report.ap_class_mean), _between(behind.ap_class_mean), boxes),
        ("pooled, good parts among them", percent(report.ap_pooled_all), _between(behind.ap_pooled_all), boxes),
        ("COCO AP50", percent(report.coco.ap50), _between(behind.ap50), boxes),
        ("COCO AP50-95", percent(report.coco.ap50_95), _between(behind.ap50_95), boxes),
        ("precision at the limits", percent(at.precision), *_bounds_of(behind.precision, "detections")),
        ("recall at the limits", percent(at.recall), *_bounds_of(behind.recall, "boxes")),
        ("F at the limits", percent(at.f), _between(behind.f_at_limits), boxes),
        ("precision at the limit with the best F", percent(best.precision), _between(behind.precision_best), boxes),
        ("recall there", percent(best.recall), _between(behind.recall_best), boxes),
        (f"best F{at_its_limit(best.limit)}", percent(best.f), _between(behind.f_best), boxes),
        _share_row("escapes: bad parts accepted", behind.escapes),
        _share_row("overkill: good parts rejected", behind.overkill),
        ("calibration error", *_calibration(report.calibration_error, behind.calibration_error, behind)),
        (
            "calibration error without calibration",
            *_calibration(report.calibration_error_before, behind.calibration_error_before, behind),
        ),
    ]
    if behind.misplaced.of:
        rows.append(_share_row("parts that do not lie over their reference: FAULT at a station", behind.misplaced))
    if unmarked:
        rows.append(_share_row("bad parts that nobody marked, accepted", unmarked.escapes))
    if spent := report.spent:
        rows += [
            ("time per picture, median", f"{spent.detect_ms_p50:.1f} ms", "", ""),
            ("time per picture, 99 % within", f"{spent.detect_ms_p99:.1f} ms", "", ""),
            ("pictures per second", f"{spent.pictures_per_s:.0f}", "", ""),
        ]
    if report.peak_memory_mib is not None:
        rows.append(("resident memory, at most", f"{report.peak_memory_mib:.0f} MiB", "", ""))
    page.heading("Figures")
    page.tables(rows)


def _calibration(error: float, bounds: Interval, behind: Evidence) -> tuple[str, str, str]:
    return decimal(error, 3), "" if math.isnan(bounds.low) else within(bounds, 3), f"{behind.detections} detections"


def _halves(page: Page, told_apart: Halves | None) -> None:
    if told_apart is None or told_apart.seen is None:
        return
    rows: list[tuple[object, ...]] = [
        ("", "pictures", "AP at IoU 0.33", "95 % bounds", "F at the limits", "escapes", "overkill")
    ]
    for name, figures in (("others", told_apart.unseen), ("trained on", told_apart.seen)):
        if figures is not None:
            parts, bounds = figures.parts, _between(figures.evidence.ap_pooled)
            counts = (f"{parts.escapes} of {parts.bad}", f"{parts.overkill} of {parts.good}")
            ap, f = percent(figures.ap_pooled), percent(figures.at_limits.f)
            rows.append((name, figures.pictures, ap, bounds, f, *counts))
    left_out = "The figures above leave out the pictures that the model was trained on."
    words = {
        "data": left_out if told_apart.unseen else "All figures above are of pictures that the model was trained on.",
        "pictures": "By the pictures themselves, and the names of their groups; the figures above are of both.",
        "names": "By the names of the groups; the figures above are of both.",
    }[told_apart.by]
    page.heading("Groups that training saw, and others", words)
    page.tables(rows)


def _parity(page: Page, parity: Mapping[str, Parity]) -> None:
    if not parity:
        return
    rows: list[tuple[object, ...]] = [
        ("model", "AP at IoU 0.33", "lower by", "95 % bounds", "largest difference of a score", "other verdicts", "of")
    ]
    for name, row in parity.items():
        drop = (percent(row.ap_pooled), percent(row.ap_drop), _between(row.ap_drop_bounds))
        rows.append((name, *drop, decimal(row.largest_score_difference, 4), row.parts_changed, row.parts))
    page.heading("The same weights in other ways", "Each beside the first, on the same pictures.")
    page.tables(rows)


def _borne(page: Page, tolerances: Mapping[str, Robustness]) -> None:
    if not tolerances:
        return
    rows: list[tuple[object, ...]] = [("", "bears", "lowest AP up to it", "pictures", "measured on")]
    for name, borne in tolerances.items():
        level = f"{borne.level:g}" + (" or more" if borne.is_whole_range else "")
        ap = "" if borne.ap is None else percent(borne.ap)
        rows.append((name, level, ap, "" if borne.pictures is None else borne.pictures, borne.measured_on))
    page.heading("What it bears", "One thing at a time, before the AP at IoU 0.33 falls by more than a point.")
    page.tables(rows)


def _breakdown(page: Page, report: Report, limits: np.ndarray, names: tuple[str, ...]) -> None:
    behind = report.evidence
    classes: list[tuple[object, ...]] = [
        ("class", "AP at IoU 0.33", "95 % bounds", "AP50", "AP50-95", "F at the limit", "found", "of", "limit")
    ]
    for name, limit in zip(names, limits, strict=True):
        ap = (percent(report.ap_classes[name]), _between(behind.ap_classes[name]))
        coco = (percent(report.coco.ap50_classes[name]), percent(report.coco.ap50_95_classes[name]))
        f = percent(report.at_limits_classes[name].f)
        found = (behind.recall_by_class[name].count, behind.boxes[name])
        classes.append((name, *ap, *coco, f, *found, f"{limit:.3f}"))
    sizes: list[tuple[object, ...]] = [("area of the box", "AP at IoU 0.33", "95 % bounds", "found", "of")]
    for name, of_size in behind.recall_by_size.items():
        ap = (percent(report.ap_sizes[name]), _between(behind.ap_sizes[name]))
        sizes.append((name, *ap, of_size.count, of_size.of))
    parts = [_worst_first("group", report.groups)]
    parts += [_worst_first("camera", report.cameras)] if report.cameras else []
    page.heading("By class, size and group" + (", and by camera" if report.cameras else ""))
    page.tables(classes, sizes, *parts)
    _lost(page, report)
    page.heading(
        "What was taken for what", "A row for each kind that is there, a column for what was found at the limits."
    )
    page.tables([("", *behind.confusion), *((true, *found.values()) for true, found in behind.confusion.items())])


def _lost(page: Page, report: Report) -> None:
    rows: list[tuple[object, ...]] = [("mistake", "AP gains without it", "95 % bounds", "at the limits")]
    for name, words in MISTAKES.items():
        gained, bounds = percent(report.ap_lost[name]), _between(report.evidence.ap_lost[name])
        rows.append((words, gained, bounds, report.evidence.mistakes[name]))
    page.heading(
        "What AP is lost by", "Each mistake by itself, as if nobody made it: the gains do not add up to what is lost."
    )
    page.tables(rows)


def _worst_first(what: str, figures: Mapping[str, GroupFigures]) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = [
        (f"{what}, worst first", "AP at IoU 0.33", "95 % bounds", "F at the limits", "boxes", "escapes", "overkill")
    ]
    worst = sorted(figures.items(), key=lambda it: math.inf if math.isnan(it[1].ap_pooled) else it[1].ap_pooled)
    for name, row in worst[:MOST_GROUPS]:
        parts = row.parts
        counts = (f"{parts.escapes} of {parts.bad}", f"{parts.overkill} of {parts.good}")
        ap = (percent(row.ap_pooled), _between(row.ap_bounds))
        rows.append((name, *ap, percent(row.at_limits.f), row.boxes, *counts))
    return rows


def _picture(case: Case, dataset: Dataset, judged: list[Judged], limits: np.ndarray) -> tuple[np.ndarray, str, str]:
    part, image = judged[case.picture], dataset.samples[case.picture].image
    counting = part.take(part.scores >= np.minimum(limits[part.labels], SURE))
    drawn: list[tuple[Box, tuple[int, int, int]]] = [(as_box(box), RED) for box in counting.boxes]
    drawn += [(as_box(box), GREEN) for box in part.true_boxes]
    return cut_out(load_picture(image, 3), case.box, drawn), case.words, image.name


def _strips(judged: list[Judged], limit: float) -> str:
    """Draw good and bad parts as ticks on a scale from 0 to 1."""
    width, left = 900, 90
    lines = []
    for row, (words, is_bad) in enumerate((("good parts", False), ("bad parts", True))):
        y = 20 + 50 * row
        colour = "#c62828" if is_bad else "#2e7d32"
        lines.append(f'<text x="0" y="{y + 18}">{words}</text>')
        for part in judged:
            if bool(len(part.true_labels)) is is_bad:
                x = left + width * float(part.scores.max(initial=0.0))
                lines.append(_tick(x, y, y + 28, f'stroke="{colour}" opacity="0.35"'))
    x = left + width * limit
    lines.append(_tick(x, 8, 112, 'stroke="#1c2430" stroke-width="2"'))
    lines += [f'<text x="{left + width * tenth / 10 - 8:.0f}" y="128">{tenth / 10:.1f}</text>' for tenth in range(11)]
    return f'<svg viewBox="0 0 {width + left + 30} 134" width="100%" role="img">{"".join(lines)}</svg>'


def _tick(x: float, top: int, bottom: int, style: str) -> str:
    return f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{bottom}" {style}/>'


def _share_row(words: str, share: Share) -> tuple[str, str, str, str]:
    return words, percent(share.count / share.of if share.of else math.nan), *_bounds_of(share, "parts")


def _bounds_of(share: Share, what: str) -> tuple[str, str]:
    return _between(share), f"{share.count} of {share.of} {what}"


def _between(bounds: Interval | Share) -> str:
    return "" if math.isnan(bounds.low) else between(bounds)
