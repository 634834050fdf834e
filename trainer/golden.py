"""Which pictures a device must judge as the trainer did: clear ones, near ones, dark, bright, small and empty ones.

A proof compares verdicts, and devices differ a little in their scores. So a golden image is one whose verdict does not
hang on that little: no model of the bundle decides it with a score so near to the limit that it is doubtful, and all
decide it alike. Of what is left, the nearest to the limit are taken; where a model is sure of every picture, defects
are made fainter until it is not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, zip_longest

import numpy as np

from appliance.bundle.archive import Bundle
from appliance.bundle.golden import LEAST_GOLDEN, GoldenImage, GoldenKind
from appliance.bundle.manifest import Manifest
from appliance.events import Detection, Pixels
from appliance.optics.detector import Detector
from trainer.calibration_set import piece_around
from trainer.datasets.sample import Dataset, Sample, load_picture, spread
from trainer.evaluate import Runner, load_runtime
from trainer.faint import fainter, without_defects
from trainer.metrics import Judged
from trainer.operating_point import DOUBTFUL, doubtful
from trainer.references import load_input
from trainer.stress import Robustness, brighter
from trainer.variants import engines_of, reproduced

GOLDEN_IMAGES = LEAST_GOLDEN
"""So many a proof wants, at least."""

NEAR = 0.25
"""A score further from the limit than this is not near it."""

HALVINGS = 10
"""So often is the strength of a defect changed to bring its score near to the limit."""

DARK, BRIGHT = 0.8, 1.25
"""Pictures are dark or bright by themselves below and above so many times the usual brightness."""

MOST_CHANGE_PERCENT = 30.0
"""No lamp fails by more before somebody sees it, whatever the model bears."""

MOST_LOOKED_AT = 300
"""Pictures whose brightness is measured, spread over the data."""

TRIES = 4
"""For each picture of a kind that is wanted so many are tried: its cut-out may not show what the whole picture does."""

SPARE = 1.5
"""So many times as many pictures are chosen as are wanted, because some turn out to lie too near to the limit."""


@dataclass(frozen=True, slots=True, eq=False)
class _Draft:
    """A picture that may become golden: sample is its place in the data, -1 for none."""

    sample: int
    pixels: Pixels


def choose_golden(
    dataset: Dataset,
    judged: Sequence[Judged],
    runner: Runner,
    wanted: int = GOLDEN_IMAGES,
    borne: Mapping[str, Robustness] | None = None,
) -> list[GoldenImage]:
    """Choose golden images: each kind in turn, each time from the group that has given the least.

    Args:
        dataset: the held-out half.
        judged: what the model found on each of its pictures.
        runner: the model, with the limits of its manifest.
        wanted: how many; there may be fewer, if the data do not have them, and half as many again (see `settle`).
        borne: what the model bears, so that pictures can be darkened and brightened by as much.

    Returns:
        Images with what the model finds on them; the same ones for the same data. Where nothing is found on any of a
        kind, as with a net that is sure of nothing, there are pictures of no kind besides.
    """
    kinds = _Kinds(dataset, judged, runner, borne or {})
    share = -(-wanted // len(kinds.drafts))
    turns = [_fitting(kind, drafts, runner, kinds, TRIES * share) for kind, drafts in kinds.drafts.items()]
    found = (image for turn in zip_longest(*turns) for image in turn if image is not None)
    chosen = list(islice(found, round(SPARE * wanted)))
    if any(image.detections for image in chosen):
        return chosen
    others = [GoldenImage.from_pixels(*_as_it_is(sample, runner)) for sample in spread(dataset.samples, wanted)]
    return (chosen + others)[:wanted]


def settle(pool: Sequence[GoldenImage], bundle: Bundle, wanted: int) -> list[GoldenImage]:
    """Take the golden images of a bundle out of those that were chosen.

    The tolerance of a variant does not tell which of them are safe: it is the worst of all detections, also of those
    that decide nothing, and may be wider than everything that is near the limit. So each model is asked, and what it
    answers otherwise than a device may is left out: what a model costs is judged on all held-out parts, not here.

    Args:
        pool: what `choose_golden` gave.
        bundle: with its models of other precisions, of which its manifest tells.
        wanted: how many.

    Returns:
        At most so many, which each model answers as nearly as a device must. Of those of a kind, none whose verdict one
        of the models turns, or decides from too near to it (`doubtful`).
    """
    limits = _limits(bundle.manifest)
    for name in sorted(bundle.variants):
        for engine in engines_of(name):
            runtime = load_runtime(engine, bundle.variants[name], bundle.manifest, precision=name)
            detect = Detector(runtime, bundle.manifest).detect
            near = reproduced(bundle, pool, detect, name)
            pool = [
                image
                for image in near
                if image.kind is None or _side(detect(image.pixels()), limits) == _side(image.detections, limits) != 0
            ]
            runtime.close()
    return list(pool[:wanted])


def margin(found: Sequence[Detection], limits: Mapping[str, float]) -> float:
    """Return how far the verdict is from turning: the best score less its limit; below 0 the part is accepted.

    Args:
        found: all detections on a picture.
        limits: class -> score from which a part is rejected.

    Returns:
        -1..1; -1 where nothing was found.
    """
    return max((each.score - limits[each.label] for each in found), default=-1.0)


def _side(found: Sequence[Detection], limits: Mapping[str, float]) -> int:
    """Return 1 for a part that is rejected for certain, -1 for one that is accepted so, 0 where a rounding decides."""
    far = margin(found, limits)
    return 0 if abs(far) <= min(map(doubtful, limits.values())) else (1 if far > 0 else -1)


def counted(images: Sequence[GoldenImage]) -> dict[str, int]:
    """Count golden images by kind; those of none count as "other"."""
    return dict(sorted(Counter(image.kind or "other" for image in images).items()))


def _limits(manifest: Manifest) -> dict[str, float]:
    return {item.name: item.limit for item in manifest.classes}


def _as_it_is(sample: Sample, runner: Runner) -> tuple[Pixels, tuple[Detection, ...]]:
    geometry = runner.manifest.geometry
    piece = piece_around(load_input(sample, geometry.channels), geometry, _true_centre(sample))
    return piece, runner.detect(piece)


def _fitting(
    kind: GoldenKind, drafts: Iterator[_Draft], runner: Runner, kinds: _Kinds, tries: int
) -> Iterator[GoldenImage]:
    """Show the drafts of a kind to the model, and keep those that are what they seemed to be."""
    limits = _limits(runner.manifest)
    for draft in islice(drafts, tries):
        found = runner.detect(draft.pixels)
        far = margin(found, limits)
        is_so = {
            "clear_bad": far > 0,
            "small": far > 0,
            "clear_good": far < 0,
            "near_limit": abs(far) <= NEAR,
            "empty": not found,
        }.get(kind, True)
        if is_so and _side(found, limits):
            kinds.take(draft)
            yield GoldenImage.from_pixels(draft.pixels, found, kind)


class _Kinds:
    """The data in the order in which each kind likes them best.

    Args:
        dataset: the held-out half.
        judged: what the model found on it.
        runner: the model, with its geometry and limits.
        borne: what the model bears.
    """

    def __init__(
        self, dataset: Dataset, judged: Sequence[Judged], runner: Runner, borne: Mapping[str, Robustness]
    ) -> None:
        self._samples = dataset.samples
        self._judged = judged
        self._runner = runner
        self._geometry = runner.manifest.geometry
        limits = np.array([item.limit for item in runner.manifest.classes])
        self._margins = [float((it.scores - limits[it.labels]).max(initial=-1.0)) for it in judged]
        self._taken: set[int] = set()
        self._given: Counter[str] = Counter()
        self._light = self._brightness()
        self.drafts: dict[GoldenKind, Iterator[_Draft]] = {
            "clear_bad": self._whole(sorted(self._bad(), key=lambda at: -self._margins[at])),
            "clear_good": self._whole(sorted(self._good(), key=lambda at: self._margins[at])),
            "near_limit": self._near_limit(),
            "small": self._small(),
            "dark": self._lit(DARK, -borne["darker_percent"].level if "darker_percent" in borne else 0.0),
            "bright": self._lit(BRIGHT, borne["brighter_percent"].level if "brighter_percent" in borne else 0.0),
            "empty": self._empty(),
        }

    def take(self, draft: _Draft) -> None:
        """Note that a picture is golden, so that it comes once and its group waits."""
        if draft.sample >= 0:
            self._taken.add(draft.sample)
            self._given[self._samples[draft.sample].group] += 1

    def _all(self) -> list[int]:
        return list(range(len(self._samples)))

    def _bad(self) -> list[int]:
        return [at for at in self._all() if not self._samples[at].is_good]

    def _good(self) -> list[int]:
        return [at for at in self._all() if self._samples[at].is_good]

    def _near_limit(self) -> Iterator[_Draft]:
        """First those that are near by themselves, then defects made fainter until they are, on either side in turn."""
        yield from self._whole(self._near())
        for number, at in enumerate(spread(self._bad(), 100)):
            if (pixels := self._faint(at, is_found=number % 2 == 0)) is not None:
                yield _Draft(-1, pixels)

    def _faint(self, at: int, is_found: bool) -> Pixels | None:
        """Make the defects of a picture fainter by halves until the best is just found, or just not."""
        sample, limits = self._samples[at], _limits(self._runner.manifest)
        picture = self._picture(at)
        sound, centre = without_defects(sample, picture), self._found_centre(at)
        goal = (DOUBTFUL + NEAR) / 2 * (1 if is_found else -1)
        least, most = 0.0, 1.0
        for _ in range(HALVINGS):
            share = (least + most) / 2
            pixels = self._piece(at, centre, fainter(picture, sound, share))
            far = margin(self._runner.detect(pixels), limits)
            if abs(far - goal) < (NEAR - DOUBTFUL) / 2:
                return pixels
            least, most = (share, most) if far < goal else (least, share)
        return None

    def _near(self) -> list[int]:
        """Those just below the limit and those just above it, in turn."""
        near = [
            at for at in sorted(self._all(), key=lambda at: abs(self._margins[at])) if abs(self._margins[at]) <= NEAR
        ]
        below, above = ([at for at in near if (self._margins[at] < 0) is side] for side in (True, False))
        return [at for pair in zip_longest(below, above) for at in pair if at is not None]

    def _in_turn(self, order: Sequence[int]) -> Iterator[int]:
        """Give what is not taken yet: of the groups that have given the least, the first in this order."""
        waiting = list(order)
        while waiting := [at for at in waiting if at not in self._taken]:
            chosen = min(waiting, key=lambda at: self._given[self._samples[at].group])
            waiting.remove(chosen)
            yield chosen

    def _whole(self, order: Sequence[int]) -> Iterator[_Draft]:
        for at in self._in_turn(order):
            yield _Draft(at, self._piece(at, self._found_centre(at)))

    def _small(self) -> Iterator[_Draft]:
        smallest = {at: _areas(self._samples[at]).argmin() for at in self._bad()}
        for at in self._in_turn(sorted(smallest, key=lambda at: _areas(self._samples[at]).min())):
            x1, y1, x2, y2 = self._samples[at].boxes[smallest[at]].tolist()
            yield _Draft(at, self._piece(at, ((x1 + x2) / 2, (y1 + y2) / 2)))

    def _lit(self, share: float, percent: float) -> Iterator[_Draft]:
        """First those that are so by themselves, then others made so, by what the model bears and a lamp may do."""
        usual = float(np.median(list(self._light.values()))) if self._light else 0.0
        is_dark = share < 1
        natural = [
            at for at, light in self._light.items() if (light < share * usual if is_dark else light > share * usual)
        ]
        yield from self._whole(sorted(natural, key=lambda at: self._light[at] if is_dark else -self._light[at]))
        percent = max(-MOST_CHANGE_PERCENT, min(MOST_CHANGE_PERCENT, percent))
        if percent:
            for at in spread(
                [at for pair in zip_longest(self._bad(), self._good()) for at in pair if at is not None], 100
            ):
                yield _Draft(-1, self._piece(at, self._found_centre(at), brighter(self._picture(at), percent)))

    def _empty(self) -> Iterator[_Draft]:
        """A field of one grey, as where no part lies; then good parts on which nothing at all is found."""
        geometry = self._geometry
        grey = np.uint8(np.median(list(self._light.values()))) if self._light else geometry.pad_value
        yield _Draft(-1, np.full((geometry.height, geometry.width, geometry.channels), grey, np.uint8))
        yield from self._whole([at for at in self._good() if not len(self._judged[at].scores)])

    def _brightness(self) -> dict[int, float]:
        return {at: float(self._picture(at).mean()) for at in spread(self._all(), MOST_LOOKED_AT)}

    def _picture(self, at: int) -> Pixels:
        return load_picture(self._samples[at].image, self._geometry.picture_channels)

    def _found_centre(self, at: int) -> tuple[float, float] | None:
        """The middle of the best detection, which decides; else of a defect, or of the picture."""
        found = self._judged[at]
        if not len(found.scores):
            return _true_centre(self._samples[at])
        x1, y1, x2, y2 = found.boxes[int(found.scores.argmax())].tolist()
        return (x1 + x2) / 2, (y1 + y2) / 2

    def _piece(self, at: int, centre: tuple[float, float] | None, changed: Pixels | None = None) -> Pixels:
        return piece_around(load_input(self._samples[at], self._geometry.channels, changed), self._geometry, centre)


def _areas(sample: Sample) -> np.ndarray:
    return np.asarray((sample.boxes[:, 2:] - sample.boxes[:, :2]).prod(axis=1))


def _true_centre(sample: Sample) -> tuple[float, float] | None:
    if not len(sample.boxes):
        return None
    x1, y1, x2, y2 = sample.boxes[0].tolist()
    return (x1 + x2) / 2, (y1 + y2) / 2
