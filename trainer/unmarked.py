"""Bad parts that nobody has marked: nothing can be learned from them, but whether they are rejected can be counted."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from appliance.annotations.picture_list import read_picture_list
from appliance.errors import ConfigError
from trainer.datasets.sample import Sample
from trainer.datasets.source import AnySource, sought
from trainer.evaluate import Runner
from trainer.intervals import Share, share
from trainer.progress import tracked
from trainer.references import load_input
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

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    def words(self) -> str:
        """Return them in a line."""
        count, of = self.escapes.count, self.escapes.of
        first = f", the first {self.accepted[0]}" if self.accepted else ""
        return (
            f"bad parts that nobody marked: {count} of {of} accepted{first} (95 % bounds {between(self.escapes)}), "
            f"lowest score {self.lowest_bad:.3f}"
        )


def read_unmarked(place: AnySource, list_file: Path) -> tuple[Sample, ...]:
    """Read a list of pictures of bad parts.

    Args:
        place: the data set that is judged; what it says of a picture must not contradict the list.
        list_file: one picture a line, from the data's folder or the list's own.

    Returns:
        The pictures, without boxes, and not good.

    Raises:
        ConfigError: A picture is missing, listed twice, or in the data set; names file and line.
    """
    path = sought(list_file, [place.folder()], "--bad-list")
    known = place.annotations()
    by_place = {picture.path.resolve(): picture for picture in known.pictures}
    found = []
    for picture in read_picture_list(path, [place.folder(), path.parent], known):
        if own := by_place.get(picture.path.resolve()):
            is_what = "has boxes" if own.boxes else "is a good part"
            raise ConfigError(f"{picture.where}: {picture.path} {is_what} by {own.where}; take it off one of the two")
        nothing = np.zeros((0, 4), np.float32), np.zeros(0, np.int64)
        found.append(Sample(picture.path, *nothing, picture.group, is_good=False))
    return tuple(found)


def judge_unmarked(runner: Runner, samples: tuple[Sample, ...]) -> Unmarked:
    """Count the bad parts that a model accepts.

    Args:
        runner: the bundle.
        samples: at least one, as `read_unmarked` gives them.

    Raises:
        ConfigError: A picture cannot be read, or the model compares and it has no reference.
    """
    limits = {item.name: item.limit for item in runner.manifest.classes}
    accepted, highest = [], []
    for sample in tracked(samples, "judge bad parts"):
        found = runner.detect(load_input(sample, runner.manifest.geometry.channels))
        highest.append(max((each.score for each in found), default=0.0))
        if all(each.score < limits[each.label] for each in found):
            accepted.append(str(sample.image))
    return Unmarked(share(len(accepted), len(samples)), min(highest), tuple(accepted))
