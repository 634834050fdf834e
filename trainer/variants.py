"""The models of other precisions, each behind its gate: what it costs on the held-out groups decides."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import onnx

from appliance.bundle.archive import Bundle
from appliance.bundle.comparison import Detect, compare
from appliance.bundle.golden import GoldenImage
from appliance.bundle.manifest import Tolerance, Variant, VariantName
from appliance.bundle.tolerance import LOOSEST
from appliance.errors import BundleError, BundleProofError, ConfigError, RuntimeFault
from appliance.events import Detection, Pixels
from appliance.optics.detector import Detector
from trainer.calibration_set import choose_samples, digests, load_inputs
from trainer.datasets.sample import Dataset
from trainer.datasets.split import Split
from trainer.evaluate import EngineName, Runner, judge_samples, load_runtime
from trainer.half import to_fp16
from trainer.layers import convolutions
from trainer.metrics import Judged, Parts, average_precision, judge_parts, rank, rejected
from trainer.quantise import WAYS, WEIGHT_BITS, Method, Quantiser, quantisable

MOST_DROP = 0.003
"""So much AP at IoU 0.33 a model of another precision may lose on the held-out groups."""

LEAST_REPRODUCED = 2 / 3
"""So many of the pictures that may become golden must a model answer as model.onnx does, and one of each kind."""

_NOT_RUN = (BundleError, RuntimeFault, ConfigError)
"""How a runtime here refuses a model: a matter of that model alone, model.onnx ran before."""


@dataclass(frozen=True, slots=True)
class Made:
    """A model of another precision and what it costs.

    worse: how it judges parts worse, empty if it does not. is_lacking: whether there are golden images that it does not
    reproduce, few of them and no kind wholly.
    """

    model_onnx: bytes
    variant: Variant
    worse: str = ""
    is_lacking: bool = False

    def objection(self) -> str:
        """Say in which way it costs too much; empty if it does not."""
        if self.variant.ap_drop <= MOST_DROP:
            return self.worse
        return f"AP@0.33 falls by {self.variant.ap_drop:.4f}, of which {MOST_DROP} is allowed"


@dataclass(slots=True)
class Variants:
    """What came of it: models that passed, and for the others the reason in words."""

    made: dict[VariantName, Made] = field(default_factory=dict)
    refused: dict[VariantName, str] = field(default_factory=dict)

    def take(self, name: VariantName, attempts: Iterable[Made | str]) -> None:
        """Take the first attempt that costs little enough; if none does, say why.

        One that reproduces all golden images is preferred to one for which a few of them must be left out.

        Args:
            name: the precision.
            attempts: models, or why there is none, in words; none is made that is not needed.
        """
        words, second_best = "", None
        for each in attempts:
            if isinstance(each, str):
                words = each
            elif objection := each.objection():
                words = f"{objection}, even with {len(each.variant.kept_float)} layers with 32 bits"
            elif not each.is_lacking:
                self.made[name] = each
                return
            else:
                second_best = second_best or each
        if second_best:
            self.made[name] = second_best
        else:
            self.refused[name] = f"{words}; so the bundle holds no {name} model"

    def models(self) -> dict[VariantName, bytes]:
        """Return the files of those that passed."""
        return {name: each.model_onnx for name, each in self.made.items()}

    def told(self) -> dict[VariantName, Variant]:
        """Return what the manifest says of those that passed."""
        return {name: each.variant for name, each in self.made.items()}


def engines() -> tuple[EngineName, ...]:
    """Return what a model is judged with here: ONNX Runtime, and OpenVINO where it is installed."""
    return ("onnxruntime", *(("openvino",) if importlib.util.find_spec("openvino") else ()))


def engines_of(name: VariantName) -> tuple[EngineName, ...]:
    """Return what a model of a precision is judged with here; OpenVINO computes fp16 with 32 bits on processors."""
    return tuple(engine for engine in engines() if (engine, name) != ("openvino", "fp16"))


class Gate:
    """Judges a model beside model.onnx, on all engines that are here; the worst counts.

    Args:
        base: the bundle with model.onnx alone.
        dataset: the held-out half.
        judged: what model.onnx found on it.
        at_once: pictures judged at once.
    """

    def __init__(self, base: Bundle, dataset: Dataset, judged: list[Judged], at_once: int = 1) -> None:
        self.base = base
        self._dataset = dataset
        self._at_once = at_once
        self._ap = _ap(judged)
        self._limits = np.array([item.limit for item in base.manifest.classes])
        self._rejected = [rejected(part, self._limits) for part in judged]
        self._parts = judge_parts(judged, self._limits)

    def judge(self, name: VariantName, model_onnx: bytes, variant: Variant, *, may_lack: bool = True) -> Made:
        """Measure what a model costs.

        Args:
            name: its precision.
            model_onnx: the file.
            variant: how it was made; its figures are filled in here.
            may_lack: whether one that does not reproduce a few golden images is of any use.

        Returns:
            The model with its figures, and in words why it is refused.

        Raises:
            BundleProofError: it does not do on the golden images what model.onnx does, on more than a few of them if it
                may lack some.
            BundleError, RuntimeFault, ConfigError: an engine does not run it here.
        """
        tolerances, lacking, aps, changed, worse = [], [], [], [], []
        for engine in engines_of(name):
            runtime = load_runtime(engine, model_onnx, self.base.manifest, precision=name)
            try:
                detector = Detector(runtime, self.base.manifest)
                tolerance, is_lacking = self._tolerance(name, detector, variant, may_lack)
                judged, _ = judge_samples(Runner(runtime, self.base.manifest), self._dataset, at_once=self._at_once)
            finally:
                runtime.close()
            tolerances.append(tolerance)
            lacking.append(is_lacking)
            aps.append(_ap(judged))
            worse.append(how_worse(self._parts, judge_parts(judged, self._limits)))
            found = [rejected(part, self._limits) for part in judged]
            changed.append(sum(one != other for one, other in zip(found, self._rejected, strict=True)))
        loosest = Tolerance(
            min_iou=min(each.min_iou for each in tolerances),
            max_score_difference=max(each.max_score_difference for each in tolerances),
        )
        figures = {"tolerance": loosest, "ap": min(aps), "ap_drop": self._ap - min(aps)}
        parts = {"parts": len(self._rejected), "parts_changed": max(changed)}
        told = variant.model_copy(update=figures | parts)
        return Made(model_onnx, told, max(worse, key=bool), any(lacking))

    def _tolerance(
        self, name: VariantName, detector: Detector, variant: Variant, may_lack: bool
    ) -> tuple[Tolerance, bool]:
        """Return how near a device must come, and whether golden images had to be left out: few, and no kind."""
        manifest = self.base.manifest.with_variants({name: variant.model_copy(update={"tolerance": LOOSEST[name]})})
        whole, detect = replace(self.base, manifest=manifest), _once(detector.detect)
        pool = whole
        try:
            found = compare(pool, detect, precision=name)
        except BundleProofError:
            kept = reproduced(whole, whole.golden, detect, name) if may_lack else ()
            if len(kept) < LEAST_REPRODUCED * len(whole.golden) or _kinds(kept) != _kinds(whole.golden):
                raise
            pool = replace(whole, golden=kept)
            found = compare(pool, detect, precision=name)
        usual, most = manifest.tolerance, LOOSEST[name]  # twice what was measured, and never looser than any may be
        tolerance = Tolerance(
            min_iou=max(most.min_iou, min(usual.min_iou, 1 - 2 * (1 - found.worst_iou))),
            max_score_difference=min(
                most.max_score_difference, max(usual.max_score_difference, 2 * found.worst_score_difference)
            ),
        )
        return tolerance, pool is not whole


def _once(detect: Detect) -> Detect:
    """Return what looks at each picture once and then knows what was found on it."""
    known: dict[tuple[tuple[int, ...], bytes], tuple[Detection, ...]] = {}

    def look(pixels: Pixels) -> tuple[Detection, ...]:
        key = pixels.shape, pixels.tobytes()
        if key not in known:
            known[key] = detect(pixels)
        return known[key]

    return look


def reproduced(
    bundle: Bundle, images: Sequence[GoldenImage], detect: Detect, name: VariantName
) -> tuple[GoldenImage, ...]:
    """Return those pictures that a model answers as model.onnx does, as nearly as a device must.

    Args:
        bundle: whose manifest says how nearly.
        images: with what model.onnx finds on them.
        detect: runs the other model.
        name: its precision.
    """

    def is_reproduced(image: GoldenImage) -> bool:
        try:
            compare(replace(bundle, golden=(image,)), detect, precision=name)
        except BundleProofError:
            return False
        return True

    return tuple(filter(is_reproduced, images))


def _kinds(images: Sequence[GoldenImage]) -> set[str | None]:
    return {image.kind for image in images}


def make_variants(gate: Gate, split: Split, wanted: tuple[VariantName, ...]) -> Variants:
    """Make the models of other precisions, and leave out those that cost too much.

    Args:
        gate: judges on the held-out half.
        split: the training half gives the pictures that ranges are seen on.
        wanted: precisions.

    Returns:
        Those that were made, and why others were not.
    """
    variants = Variants()
    for name in wanted:
        variants.take(name, _int8(gate, split.train) if name == "int8" else _fp16(gate))
    return variants


def _fp16(gate: Gate) -> Iterator[Made | str]:
    model_onnx = gate.base.model_onnx
    heads = convolutions(onnx.load_from_string(model_onnx))[1]
    yield attempt(gate, "fp16", to_fp16(model_onnx), "conversion", (), heads)


def _int8(gate: Gate, train: Dataset) -> Iterator[Made | str]:
    """Try the ways with all layers, then the best one with ever more of the harmful layers kept float."""
    model_onnx = gate.base.model_onnx
    body, heads = convolutions(onnx.load_from_string(model_onnx))
    layers = quantisable(model_onnx)
    samples = choose_samples(train)
    quantiser = Quantiser(model_onnx, load_inputs(samples, gate.base.manifest.geometry), gate.base.manifest)
    seen = digests(samples)
    found: dict[tuple[Method, int], tuple[bool, float]] = {}
    may_lack = True

    def without(harmful: list[str], method: Method, bits: int) -> Made | str:
        chosen = [name for name in layers if name not in harmful]
        kept = tuple(name for name in (*body, *heads) if name not in chosen)
        how = method if bits == WEIGHT_BITS else f"{method}, weights of {bits} bits"
        nonlocal may_lack
        made = attempt(gate, "int8", quantiser.model(chosen, method, bits), how, seen, kept, may_lack=may_lack)
        may_lack &= isinstance(made, str) or not made.is_lacking or bool(made.objection())
        return made

    for method, bits in WAYS:
        made = without([], method, bits)
        found[method, bits] = (True, 1.0) if isinstance(made, str) else (made.is_lacking, made.variant.ap_drop)
        yield made
    best = min(WAYS, key=lambda way: found[way])
    try:
        harmful = quantiser.harmful(best[0])
    except _NOT_RUN as error:
        yield _not_run(error)
        return
    count = 1
    while count <= len(layers) // 2:
        yield without(harmful[:count], *best)
        count *= 2


def attempt(
    gate: Gate, name: VariantName, model: bytes, method: str, calibration: tuple[str, ...], kept: tuple[str, ...], *,
    may_lack: bool = True,
) -> Made | str:  # fmt: skip
    """Let the gate judge one model.

    Args:
        gate: judges on the held-out half.
        name: the precision.
        model: the file.
        method: how it was made.
        calibration: SHA-256 of the pictures that its ranges were seen on.
        kept: layers that stay float.
        may_lack: see `Gate.judge`.

    Returns:
        The model with its figures, or why it cannot be one, in words.
    """
    blank = Variant(
        tolerance=LOOSEST[name],
        ap=0.0,
        ap_drop=0.0,
        parts=1,
        parts_changed=0,
        method=method,
        calibration=calibration,
        kept_float=kept,
    )
    try:
        return gate.judge(name, model, blank, may_lack=may_lack)
    except BundleProofError as error:
        return f"on the golden images it finds other things ({str(error).partition('. ')[0]})"
    except _NOT_RUN as error:
        return _not_run(error)


def _not_run(error: Exception) -> str:
    return f"it does not run here ({str(error).partition('; ')[0]})"


def how_worse(before: Parts, now: Parts) -> str:
    """Say whether a model lets more bad parts through, or stops more good ones.

    Args:
        before: what model.onnx does with the parts.
        now: what the other model does with the same ones.

    Returns:
        Words; empty if neither is worse.
    """
    counts = (
        ("bad parts accepted", before.escapes, now.escapes, now.bad),
        ("good parts rejected", before.overkill, now.overkill, now.good),
    )
    return " and ".join(
        f"{what} rise from {was} to {found} of {parts}" for what, was, found, parts in counts if found > was
    )


def _ap(judged: list[Judged]) -> float:
    return average_precision(rank([part for part in judged if len(part.true_labels)]))


def in_words(told: Mapping[VariantName, Variant]) -> list[str]:
    """Say what each model costs, a line each."""
    return [
        f"{name}: AP@0.33 {it.ap:.4f} ({-it.ap_drop:+.4f}), {it.parts_changed} of {it.parts} parts judged otherwise, "
        f"{len(it.kept_float)} layers with 32 bits, made by {it.method}"
        for name, it in sorted(told.items())
    ]
