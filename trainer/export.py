"""From a run's weights to a bundle: honest scores, one graph, golden images, baseline, model card."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from appliance.bundle.archive import Bundle, write_bundle
from appliance.bundle.baseline import Baseline, make_baseline
from appliance.bundle.geometry import to_model_input
from appliance.bundle.golden import LEAST_GOLDEN, MAX_IMAGES, GoldenImage, lacking
from appliance.bundle.limits import decides_nothing
from appliance.bundle.manifest import (
    MOST_HELD_OUT,
    DefectClass,
    Geometry,
    Lineage,
    Manifest,
    Name,
    Outputs,
    VariantName,
)
from appliance.bundle.tolerance import LOOSEST
from appliance.errors import BundleProofError, ConfigError
from appliance.events import Pixels
from appliance.optics.statistics import measure
from appliance.runtimes.onnx import OnnxRuntime
from trainer.candidates import CANDIDATES
from trainer.checkpoint import Checkpoint, averaged_net, load_checkpoint
from trainer.datasets.reading import dataset_digest
from trainer.datasets.sample import Dataset, load_picture, spread
from trainer.datasets.split import Split, split_by_group
from trainer.evaluate import BundleRunner, Report, judge_samples, report
from trainer.gallery import sure_on_good
from trainer.golden import GOLDEN_IMAGES, choose_golden, settle
from trainer.graph import ContractNet, run_torch, to_onnx
from trainer.intervals import Share
from trainer.metrics import Judged, rank
from trainer.model_card import write_model_card
from trainer.operating_point import FLOORS, LEAST_LIMIT, Choice, Wish, choose, choose_floor
from trainer.preflight import model_geometry
from trainer.progress import tracked
from trainer.score_calibration import SCORE_SHIFT, SCORE_SLOPE, Calibration, ScoreMap, calibrate_scores
from trainer.seen import learned
from trainer.spent import peak_memory_mib
from trainer.stress import BEARS, Robustness, sweep
from trainer.validate import NMS_IOU
from trainer.variants import Gate, Variants, make_variants

PARITY_SCORE = 1e-3
PARITY_PX = 0.1
"""How far ONNX Runtime's detections may lie from torch's."""

BASELINE_PICTURES = 300

Answer = tuple[NDArray[Any], NDArray[Any], NDArray[Any]]
"""Boxes float32 [100, 4], scores float32 [100] and labels int64 [100] of a picture."""


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """What a person decides about a release.

    Args:
        name: name of the bundle, lower case.
        revision: integer that only grows.
        released_by: the person who answers for it.
        severities: class name -> severity; "major" for a class that is not named.
        golden: number of golden images, if the data have so many.
        at_once: pictures judged at once in the checks, each by a thread of its own; the bundle is the same for any.
        is_stressed: whether to measure what the model bears.
        wish: what the limit is to be chosen for.
        variants: precisions beside f32 that the bundle gets a model of, if it passes its gate.
        few_golden: why fewer golden images than a proof wants, or none of some kind, will do; empty if nobody says so.
        intended_use: what the model is for, in words for the model card; empty if nobody says so.
    """

    name: str
    revision: int
    released_by: str
    severities: dict[str, Literal["critical", "major", "minor"]]
    golden: int = GOLDEN_IMAGES
    at_once: int = 1
    is_stressed: bool = True
    wish: Wish = field(default_factory=Wish)
    variants: tuple[VariantName, ...] = ("fp16", "int8")
    few_golden: str = ""
    intended_use: str = ""

    def check(self, classes: tuple[str, ...]) -> None:
        """Refuse what the bundle's format would refuse after all the work.

        Args:
            classes: of the run.

        Raises:
            ConfigError: An option is wrong; the message names it.
        """
        try:
            TypeAdapter(Name).validate_python(self.name)
        except ValidationError as error:
            raise ConfigError(
                f"--name {self.name!r}: take lower-case letters, digits, '_', '.' and '-', at most 64 of them"
            ) from error
        unknown = sorted(set(self.severities) - set(classes))
        if unknown:
            raise ConfigError(f"--severity: no class {', '.join(unknown)}; the classes are {', '.join(classes)}")
        if not 1 <= self.golden <= MAX_IMAGES:
            raise ConfigError(f"--golden {self.golden}: must be 1 to {MAX_IMAGES}")
        if self.golden < LEAST_GOLDEN and not self.few_golden:
            raise ConfigError(
                f"--golden {self.golden}: a proof wants {LEAST_GOLDEN}; say why it will do, for the model card: "
                '--few-golden "WHY"'
            )
        self.wish.check()


@dataclass(frozen=True, slots=True)
class Exported:
    """A written bundle with what was found out about it; suspects: good parts that may be bad, in words."""

    bundle: Bundle
    report: Report
    calibration: Calibration
    score_difference: float
    box_difference_px: float
    choice: Choice
    variants: Variants
    suspects: str

    def doubts(self) -> list[str]:
        """Return in words what a person should beware of."""
        nothing, few = decides_nothing(self.bundle), lacking(self.bundle.golden)
        useless = nothing and f"{nothing}: no device will run this bundle; raise --golden, or train longer"
        more = few and f"{few}; hold out more or other groups (trainer train --holdout) and see `appliance check`"
        return [words for words in (self.choice.doubt, self.suspects, useless, more) if words]


def export(run: Path, dataset: Dataset, options: ExportOptions, target: Path) -> Exported:
    """Write the bundle of a run and judge it as it will be run.

    Args:
        run: the run's folder.
        dataset: what the run was trained on; calibration, limits and figures come from the groups that it held out.
        options: name, revision and so on.
        target: the bundle's file.

    Returns:
        The bundle and its figures.

    Raises:
        ConfigError: Run, data and options do not fit together, or the net finds nothing on any golden image.
        BundleProofError: ONNX Runtime does not give what torch gives.
        BundleFormatError: The bundle would be refused by a device.
        StorageError: The disk said no.
    """
    file = weights_file(run)
    state = load_checkpoint(file)
    options.check(state.classes)
    split, digest = _same_data(state, dataset, file)
    net = averaged_net(state, file)
    geometry = model_geometry(split.whole(), state.shape.channels)
    raw = _manifest(state, geometry, options, digest)

    plain = to_onnx(ContractNet(net, ScoreMap(), geometry.height, geometry.width), geometry.channels)
    judged, _ = judge_samples(BundleRunner(plain, raw), split.validation, at_once=options.at_once)
    calibration = _calibrate(judged)
    manifest, choice = _operated(raw, [_with_scores(part, calibration.scores) for part in judged], options.wish)
    model = ContractNet(net, calibration.scores, geometry.height, geometry.width)
    model_onnx = to_onnx(model, geometry.channels)
    runner = BundleRunner(model_onnx, manifest)
    judged, spent = judge_samples(runner, split.validation)  # one after the other: these times are told
    tolerances = sweep(runner, split.validation, options.at_once) if options.is_stressed else {}
    pool = _golden(split.validation, judged, runner, options, tolerances, file)
    inputs = [to_model_input(image.pixels(), geometry)[0] for image in pool]
    score_difference, box_difference_px = compare(model, OnnxRuntime(model_onnx, manifest), inputs)
    figures = report(judged, manifest, spent, peak_memory_mib())
    known = {"metrics": _metrics(figures, calibration, tolerances), **learned(split.train)}
    manifest = manifest.model_copy(update={"lineage": manifest.lineage.model_copy(update=known)})
    baseline = _baseline(split, geometry.picture_channels)
    base = Bundle(manifest, model_onnx, tuple(pool), baseline, "", "")
    variants = make_variants(Gate(base, split.validation, judged, options.at_once), split, options.variants)
    manifest = manifest.with_variants(variants.told())
    whole = replace(base, manifest=manifest, variants=variants.models())
    golden = settle(pool, whole, options.golden)
    bundle = write_bundle(
        target,
        manifest,
        model_onnx=model_onnx,
        golden=golden,
        baseline=baseline,
        model_card=write_model_card(
            manifest, figures, split, calibration, choice, golden, options.few_golden, options.intended_use
        ),
        variants=variants.models(),
    )
    suspects = sure_on_good(judged, split.validation.samples)
    return Exported(bundle, figures, calibration, score_difference, box_difference_px, choice, variants, suspects)


def _golden(
    dataset: Dataset, judged: list[Judged], runner: BundleRunner, options: ExportOptions, borne: dict[str, Robustness],
    file: Path,
) -> list[GoldenImage]:  # fmt: skip
    pool = choose_golden(dataset, judged, runner, options.golden, borne)
    if not any(image.detections for image in pool[: options.golden]):
        raise ConfigError(
            f"{file}: finds nothing on any of {len(pool[: options.golden])} golden images; train longer, or raise "
            "--golden"
        )
    return pool


def weights_file(run: Path) -> Path:
    """Return `final.pt` of a run's folder, or `last.pt` of a run that has not ended."""
    return run / "final.pt" if (run / "final.pt").is_file() else run / "last.pt"


def _same_data(state: Checkpoint, dataset: Dataset, file: Path) -> tuple[Split, str]:
    """Divide the data as the run did, and return its digest too; any other data would make the figures a lie."""
    if state.classes != dataset.classes:
        raise ConfigError(f"{file}: was trained on {', '.join(state.classes)}, the data has other classes")
    if not state.holdout:
        raise ConfigError(f"{file}: names no group that was held out, so nothing can be measured; train again")
    split = split_by_group(dataset, state.holdout)
    digest = dataset_digest(split.whole())
    if state.dataset_digest not in ("", digest):
        raise ConfigError(
            f"{file}: was trained on other pictures or labels (digest {state.dataset_digest[:12]}, the data now has "
            f"{digest[:12]}); restore them, name them with --data, or train again"
        )
    return split, digest


def compare(model: ContractNet, runtime: OnnxRuntime, pictures: list[Pixels]) -> tuple[float, float]:
    """Hold ONNX Runtime's answers against torch's.

    Args:
        model: the torch side.
        runtime: the exported side.
        pictures: uint8 [height, width, channels] of the model's size.

    Returns:
        Largest difference of a score, and of a box's edge in pixels among detections that count.

    Raises:
        BundleProofError: They differ by more than rounding explains; the export is wrong.
    """
    worst_score = worst_px = 0.0
    for picture in pictures:
        boxes, scores, labels = (output[0] for output in run_torch(model, picture[None]))
        other, ours = runtime.infer(picture[None]), (boxes, scores, labels)
        theirs = other.boxes[0], other.scores[0], other.labels[0]
        for first, second in ((ours, theirs), (theirs, ours)):
            score, px = _furthest(first, second)
            worst_score, worst_px = max(worst_score, score), max(worst_px, px)
    if worst_score > PARITY_SCORE or worst_px > PARITY_PX:
        raise BundleProofError(
            f"ONNX Runtime and torch differ by {worst_score:.2g} in score and {worst_px:.2g} px in boxes; "
            "report this as a defect of the trainer"
        )
    return worst_score, worst_px


def _furthest(found: Answer, others: Answer) -> tuple[float, float]:
    """Return by how much what counts differs from its nearest of the same class: scores, and edges in pixels.

    Places are compared, not ranks: of two neighbouring cells that are alike, rounding decides which is the better one.
    What is as good as the others' last candidate need not be among them: rounding decides that, too.
    """
    floor = max(FLOORS[0], float(others[1].min()) + PARITY_SCORE)
    boxes, scores, labels = (part[found[1] >= floor] for part in found)
    if not len(scores):
        return 0.0, 0.0
    apart = np.abs(boxes[:, None] - others[0][None]).max(axis=2)
    apart[labels[:, None] != others[2][None]] = np.inf
    nearest = apart.argmin(axis=1)
    return float(np.abs(scores - others[1][nearest]).max()), float(apart.min(axis=1).max())


def _manifest(state: Checkpoint, geometry: Geometry, options: ExportOptions, digest: str) -> Manifest:
    return Manifest(
        schema="vi.bundle/1",
        name=options.name,
        revision=options.revision,
        classes=tuple(
            DefectClass(name=name, severity=options.severities.get(name, "major"), limit=0.5) for name in state.classes
        ),
        geometry=geometry,
        outputs=Outputs(candidates=CANDIDATES, nms_iou=NMS_IOU, score_floor=FLOORS[0]),
        tolerance=LOOSEST["f32"],
        lineage=Lineage(
            dataset_digest=digest,
            source_commit=state.source_commit,
            trained_at=state.trained_at,
            released_by=options.released_by,
            metrics={},
            backbone=state.plan.get("weights"),
            teacher=state.plan.get("teacher"),
            held_out=state.holdout if len(state.holdout) <= MOST_HELD_OUT else (),
        ),
        digests={},
    )


def _calibrate(judged: list[Judged]) -> Calibration:
    """Fit on the detections of all validation parts; each is right or wrong by the data set's protocol."""
    per_part = [rank([part]) for part in judged]
    groups = np.concatenate([np.full(len(r.scores), part.group) for r, part in zip(per_part, judged, strict=True)])
    scores = np.concatenate([r.scores for r in per_part])
    return calibrate_scores(scores, np.concatenate([r.right for r in per_part]), groups, LEAST_LIMIT)


def _operated(raw: Manifest, judged: list[Judged], wish: Wish) -> tuple[Manifest, Choice]:
    """Choose limit and score floor for calibrated scores, and put them into the manifest."""
    choice = choose(judged, wish)
    outputs = raw.outputs.model_copy(update={"score_floor": choose_floor(judged)})
    classes = tuple(item.model_copy(update={"limit": choice.limit}) for item in raw.classes)
    return raw.model_copy(update={"classes": classes, "outputs": outputs}), choice


def _with_scores(part: Judged, scores: ScoreMap) -> Judged:
    return replace(part, scores=scores(part.scores.astype(np.float64)).astype(np.float32))


def _metrics(figures: Report, calibration: Calibration, tolerances: dict[str, Robustness]) -> dict[str, float]:
    values = {
        "ap_pooled_iou33": figures.ap_pooled,
        "ap50_coco": figures.coco.ap50,
        "ap50_95_coco": figures.coco.ap50_95,
        "f_at_limits": figures.at_limits.f,
        "escape_ratio": _ratio(figures.evidence.escapes),
        "overkill_ratio": _ratio(figures.evidence.overkill),
        "calibration_error_before": calibration.error_before,
        "calibration_error_after": calibration.error_after,
        SCORE_SLOPE: calibration.scores.slope,
        SCORE_SHIFT: calibration.scores.shift,
    }
    values |= {f"{BEARS}{name}": tolerance.level for name, tolerance in tolerances.items()}
    return {name: round(value, 6) for name, value in values.items() if np.isfinite(value)}


def _ratio(share: Share) -> float:
    return share.count / share.of if share.of else np.nan


def _baseline(split: Split, channels: int) -> Baseline:
    """Sum up the good parts: at most so many, spread over both halves."""
    samples = split.whole().samples
    good = spread([s for s in samples if s.is_good] or list(samples), BASELINE_PICTURES)
    return make_baseline([measure(load_picture(sample.image, channels)) for sample in tracked(good, "baseline")])
