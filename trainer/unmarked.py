"""Bad parts that nobody has marked: nothing can be learned from them, but whether they are rejected can be counted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from appliance.annotations.picture_list import read_picture_list
from appliance.annotations.pictures import Annotations
from appliance.errors import ConfigError
from trainer.datasets.sample import Dataset, Sample
from trainer.datasets.source import AnySource, sought
from trainer.evaluate import Runner, judge_samples
from trainer.intervals import Share, share
from trainer.metrics import rejected
from trainer.wording import between


@dataclass(frozen=True, slots=True)
class Unmarked:
    """What became of bad parts without boxes.

    Args:
        escapes: those accepted at the manifest's limits.
        lowest_bad: the lowest of their highest scores.
        accepted: pictures of those accepted.
    """

    escapes: Share
    lowest_bad: float
    accepted: tuple[str, ...]

    def words(self) -> str:
        """Return them in a line."""
        count, of = self.escapes.count, self.escapes.of
        first = f", the first {self.accepted[0]}" if self.accepted else ""
        return (
            f"bad parts that nobody marked: {count} of {of} accepted{first} (95 % bounds {between(self.escapes)}), "
            f"lowest score {self.lowest_bad:.3f}"
        )


def read_unmarked(place: AnySource, list_file: Path, dataset: Dataset, *, compares: bool) -> tuple[Sample, ...]:
    """Read a list of pictures of bad parts.

    Args:
        place: of the data set that is judged.
        list_file: one picture a line, from where the data's own lists name them, or from the list's folder.
        dataset: what is judged; it must not say otherwise of a picture.
        compares: whether the model does, for which a list names no references.

    Returns:
        The pictures, without boxes, and not good.

    Raises:
        ConfigError: A picture is missing, listed twice, in the data set, or a template; names file and line. Or the
            model compares.
    """
    if compares:
        raise ConfigError(
            f"--bad-list {list_file}: the model compares each picture with its reference, and a list names none; mark "
            "these parts in the data set, each with its reference"
        )
    path = sought(list_file, place.places(), "--bad-list")
    known = {sample.image.resolve(): sample for sample in dataset.samples}
    found = []
    for picture in read_picture_list(path, [*place.places(), path.parent], Annotations("coco", {}, ())):
        own = known.get(picture.path.resolve())
        if own is not None or picture.reference is not None:
            known_as = "in the data set, as a good part" if own and own.is_good else "in the data set, with boxes"
            said = known_as if own else "a template, which is a good part"
            raise ConfigError(f"{picture.where}: {picture.path} is {said}; take it off the list")
        nothing = np.zeros((0, 4), np.float32), np.zeros(0, np.int64)
        found.append(Sample(picture.path, *nothing, picture.group, is_good=False))
    return tuple(found)


def judge_unmarked(runner: Runner, samples: tuple[Sample, ...]) -> Unmarked:
    """Count the bad parts that a model accepts.

    Args:
        runner: the bundle.
        samples: at least one, as `read_unmarked` gives them.

    Raises:
        ConfigError: A picture cannot be read.
    """
    limits = np.array([item.limit for item in runner.manifest.classes])
    judged, _ = judge_samples(runner, Dataset((), samples))
    accepted = [str(sample.image) for sample, part in zip(samples, judged, strict=True) if not rejected(part, limits)]
    lowest = min(float(part.scores.max(initial=0.0)) for part in judged)
    return Unmarked(share(len(accepted), len(samples)), lowest, tuple(accepted))
