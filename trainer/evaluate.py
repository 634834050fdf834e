"""Judge a bundle by running it as the appliance does: its own runtime, its own geometry, its own suppression."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

import numpy as np

from appliance.bundle.manifest import Manifest, Precision
from appliance.errors import ConfigError
from appliance.events import Detection, Pixels
from appliance.optics.detector import Detector
from appliance.optics.tiles import Region, model_grid, usual_overlap_px
from appliance.ports import Runtime
from appliance.runtimes.onnx import OnnxRuntime
from trainer.calibration_error import calibration_error
from trainer.coco_figures import CocoFigures, coco_figures
from trainer.datasets.sample import Dataset, Sample
from trainer.evidence import Evidence, gather, misplaced_share, precision_share, recall_share
from trainer.intervals import Interval, Share, resampled, share
from trainer.metrics import (
    AtLimit,
    Judged,
    Parts,
    all_counted,
    average_precision,
    best_limit,
    judge_parts,
)
from trainer.progress import tracked
from trainer.rankings import Rankings
from trainer.references import load_input, misplaced_pairs
from trainer.score_calibration import folded
from trainer.spent import Spent
from trainer.threads import in_threads


@dataclass(frozen=True, slots=True)
class GroupFigures:
    """One group or camera.

    Args:
        boxes: of its truth.
        ap_pooled: AP at IoU 0.33 on its defective parts.
        ap_bounds: 95 % bounds of that; nan with a single defective part.
        at_limits: precision, recall and F at the manifest's limits, on its defective parts.
        precision, recall: the same as shares with their bounds.
        f_bounds: 95 % bounds of that F.
        parts: escapes and overkill at the manifest's limits.
        escapes, overkill: the same as shares with their bounds.
        misplaced: as `Evidence` has it.
    """

    boxes: int
    ap_pooled: float
    ap_bounds: Interval
    at_limits: AtLimit
    precision: Share
    recall: Share
    f_bounds: Interval
    parts: Parts
    escapes: Share
    overkill: Share
    misplaced: Share


@dataclass(frozen=True, slots=True)
class Report:
    """What a bundle is worth on a data set; ratios 0..1, nan where there is no truth.

    Args:
        pictures: pictures judged.
        ap_pooled: AP at IoU 0.33 pooled over the classes, on the pictures that have defects (DeepPCB's protocol).
        ap_pooled_all: the same with the good parts among the pictures, where every detection is wrong.
        ap_class_mean: the mean over the classes.
        ap_classes: as ap_pooled, by class.
        ap_sizes: as ap_pooled, by box area.
        ap_lost: mistake -> what ap_pooled would gain if nobody made it.
        coco: AP50 and AP50-95 over all pictures.
        at_limits: precision, recall and F at the manifest's limits, on the pictures that have defects.
        at_limits_classes: the same by class.
        best: the same at the one limit with the best F.
        parts: escapes and overkill at the manifest's limits.
        groups: by group.
        cameras: by camera, where the data names one.
        calibration_error: expected, over the detections of all pictures.
        calibration_error_before: the same without the calibration that is folded into the model; nan if the bundle does
            not tell it.
        spent: time for each picture; None where these were judged among others.
        peak_memory_mib: the most that the judging process has had resident, all libraries included; None where it has
            run other models before.
        evidence: counts and bounds behind these figures.
    """

    pictures: int
    ap_pooled: float
    ap_pooled_all: float
    ap_class_mean: float
    ap_classes: dict[str, float]
    ap_sizes: dict[str, float]
    ap_lost: dict[str, float]
    coco: CocoFigures
    at_limits: AtLimit
    at_limits_classes: dict[str, AtLimit]
    best: AtLimit
    parts: Parts
    groups: dict[str, GroupFigures]
    cameras: dict[str, GroupFigures]
    calibration_error: float
    calibration_error_before: float
    spent: Spent | None
    peak_memory_mib: float | None
    evidence: Evidence

    def as_dict(self) -> dict[str, Any]:
        """Return the report as plain values; what could not be measured is nan, and what was not is left out."""
        plain = asdict(self)
        plain |= plain.pop("spent") or {}
        return {name: value for name, value in plain.items() if value is not None}


EngineName = Literal["onnxruntime", "openvino"]
ENGINES: tuple[EngineName, ...] = get_args(EngineName)


def load_runtime(
    engine: EngineName, model_onnx: bytes, manifest: Manifest, threads: int = 1, precision: Precision = "f32"
) -> Runtime:
    """Load a model into one of the appliance's own runtimes.

    Args:
        engine: which one.
        model_onnx: the model file.
        manifest: what the bundle says about it.
        threads: processor threads.
        precision: of the model file.

    Returns:
        The runtime, ready to infer.

    Raises:
        ConfigError: The engine is not installed, or this processor lacks what it needs.
    """
    if engine == "onnxruntime":
        return OnnxRuntime(model_onnx, manifest, threads=threads, precision=precision)
    try:
        from appliance.runtimes.openvino import OpenVinoRuntime
    except ModuleNotFoundError as error:
        raise ConfigError(
            "--runtime openvino is not installed here: pip install 'inspection-appliance[openvino]', or leave it out"
        ) from error
    except ImportError as error:
        raise ConfigError(
            f"--runtime openvino does not load here: {error}; install what it lacks, or the package openvino once "
            "more, or leave it out"
        ) from error
    if precision == "fp16":
        raise ConfigError("--runtime openvino computes fp16 with 32 bits on a processor: judge fp16 with onnxruntime")
    return OpenVinoRuntime(model_onnx, manifest, threads=threads, precision=precision)


class Runner:
    """A loaded model and its manifest, run on whole pictures, by several threads if they like.

    Args:
        runtime: runs the model; several threads may ask ONNX Runtime at once, others are asked in turn.
        manifest: what the bundle says about it.
        overlap_px: overlap of the tiles on a picture larger than the model's input; None to derive it from their size.
    """

    def __init__(self, runtime: Runtime, manifest: Manifest, overlap_px: int | None = None) -> None:
        self.manifest = manifest
        self._runtime = runtime
        usual_px = usual_overlap_px(manifest.geometry.width, manifest.geometry.height)
        self._overlap_px = usual_px if overlap_px is None else overlap_px
        self._turn = nullcontext() if isinstance(runtime, OnnxRuntime) else threading.Lock()
        self._own = _Own()

    def describe(self) -> str:
        """Return what computes, in one line."""
        return self._runtime.describe()

    def detect(self, pixels: Pixels) -> tuple[Detection, ...]:
        """Find everything on a picture; one larger than the model's input is tiled unless it is to be letterboxed.

        Args:
            pixels: uint8 [height, width, channels of the model].

        Returns:
            The detections after suppression, in pixels of the picture.
        """
        own, size = self._own, (pixels.shape[1], pixels.shape[0])
        if own.detector is None or size != own.size:  # only the last one is kept: each has memory for its tiles
            geometry = self.manifest.geometry
            is_scaled = geometry.fit == "letterbox"
            grid = None if is_scaled else model_grid(Region(0, 0, *size), geometry, self._overlap_px)
            own.size, own.detector = size, Detector(self._runtime, self.manifest, grid)
        with self._turn:
            return own.detector.detect(pixels)


class _Own(threading.local):
    """What each thread has for itself: a detector, and the size of the pictures that it is for."""

    size = (0, 0)
    detector: Detector | None = None


class BundleRunner(Runner):
    """A model file and its manifest, run by ONNX Runtime with one processor thread for a picture.

    Args:
        model_onnx: the model file.
        manifest: what the bundle says about it.
        overlap_px: as `Runner` takes it.
    """

    def __init__(self, model_onnx: bytes, manifest: Manifest, overlap_px: int | None = None) -> None:
        super().__init__(OnnxRuntime(model_onnx, manifest), manifest, overlap_px)


def judge_samples(
    runner: Runner, dataset: Dataset, *, is_quiet: bool = False, at_once: int = 1
) -> tuple[list[Judged], Spent]:
    """Run a bundle over a data set.

    Args:
        runner: the bundle.
        dataset: the names of the classes that it uses must be the bundle's; the order may differ.
        is_quiet: show no bar.
        at_once: pictures judged at once, each by a thread of its own: what is found is the same, only sooner.

    Returns:
        One item per picture in the data set's order, labels as indices of the manifest's classes; and the time that
        pictures took.

    Raises:
        ConfigError: The data set has a class that the bundle does not know.
    """
    names = [item.name for item in runner.manifest.classes]
    used = {dataset.classes[label] for sample in dataset.samples for label in sample.labels.tolist()}
    unknown = sorted(used - set(names))
    if unknown:
        raise ConfigError(f"the bundle does not know {', '.join(unknown)}; its classes are {', '.join(names)}")
    channels = runner.manifest.geometry.channels

    def judge(sample: Sample) -> tuple[Judged, float]:
        pixels = load_input(sample, channels)
        began_ns = time.monotonic_ns()
        found = runner.detect(pixels)
        took_ms = (time.monotonic_ns() - began_ns) / 1e6
        judged = beside_truth(found, sample, dataset.classes, names)
        is_compared = channels % 2 == 0 and sample.reference != sample.image
        return replace(judged, is_misplaced=misplaced_pairs.holds(sample) if is_compared else None), took_ms

    each = in_threads(judge, dataset.samples, at_once)
    done = list(each if is_quiet else tracked(each, "judge", len(dataset.samples)))
    misplaced_pairs.tell()
    return [judged for judged, _ in done], Spent.of([took_ms for _, took_ms in done])


def beside_truth(found: tuple[Detection, ...], sample: Sample, classes: tuple[str, ...], names: list[str]) -> Judged:
    """Put what was found beside what is there.

    Args:
        found: on the sample's picture.
        sample: with its truth.
        classes: names of the sample's labels.
        names: of the bundle's classes, in the order of its labels.

    Returns:
        Both, with labels as indices of the bundle's classes.
    """
    return Judged(
        np.array([d.box for d in found], np.float32).reshape(-1, 4),
        np.array([d.score for d in found], np.float32),
        np.array([names.index(d.label) for d in found], np.int64),
        sample.boxes,
        np.array([names.index(classes[label]) for label in sample.labels], np.int64),
        sample.group,
        sample.camera,
    )


def report(
    judged: list[Judged], manifest: Manifest, spent: Spent | None = None, peak_memory_mib: float | None = None
) -> Report:
    """Sum up what was judged.

    Args:
        judged: the pictures.
        manifest: class names and limits.
        spent: time that these pictures took, if it is known.
        peak_memory_mib: that judging them took, if it is known.

    Returns:
        The figures, with counts and bounds.
    """
    names = tuple(item.name for item in manifest.classes)
    ranked = Rankings.of(judged, names, np.array([item.limit for item in manifest.classes]))
    classes = [average_precision(its) for its in ranked.by_class]
    measured = [ap for ap in classes if not math.isnan(ap)]
    scores, calibrated = folded(manifest.lineage.metrics), ranked.calibrated
    ap_pooled = average_precision(ranked.bad)
    return Report(
        pictures=len(judged),
        ap_pooled=ap_pooled,
        ap_pooled_all=average_precision(ranked.everything),
        ap_class_mean=sum(measured) / len(measured) if measured else math.nan,
        ap_classes=dict(zip(names, classes, strict=True)),
        ap_sizes={name: average_precision(its) for name, its in ranked.by_size.items()},
        ap_lost={name: average_precision(its) - ap_pooled for name, its in ranked.without.items()},
        coco=coco_figures(judged, names),
        at_limits=all_counted(ranked.at_limits, ranked.limits.min()),
        at_limits_classes={
            item.name: all_counted(its, item.limit)
            for item, its in zip(manifest.classes, ranked.at_limits_by_class, strict=True)
        },
        best=best_limit(ranked.bad),
        parts=judge_parts(judged, ranked.limits),
        groups=_by(lambda part: part.group, ranked),
        cameras={name: its for name, its in _by(lambda part: part.camera, ranked).items() if name},
        calibration_error=calibration_error(calibrated.scores, calibrated.right),
        calibration_error_before=(
            math.nan if scores is None else calibration_error(scores.raw(calibrated.scores), calibrated.right)
        ),
        spent=spent,
        peak_memory_mib=peak_memory_mib,
        evidence=gather(ranked, scores),
    )


def _by(name_of: Callable[[Judged], str], ranked: Rankings) -> dict[str, GroupFigures]:
    """Judge the parts of each name by themselves."""
    found = {}
    for name, members in sorted(ranked.matched.by(name_of).items()):
        defective, parts = members.defective(), judge_parts(members.judged, ranked.limits)
        ranking, counting = defective.ranking(), defective.ranking(limits=ranked.limits)
        found[name] = GroupFigures(
            ranking.truths,
            average_precision(ranking),
            resampled([ranking], average_precision),
            all_counted(counting, ranked.limits.min()),
            precision_share(counting),
            recall_share(counting),
            resampled([counting], lambda its: all_counted(its).f),
            parts,
            share(parts.escapes, parts.bad),
            share(parts.overkill, parts.good),
            misplaced_share(members.judged),
        )
    return found
