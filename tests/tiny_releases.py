"""What a fleet of one device releases: a tiny model, and a recipe for it; each number is another file."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from appliance.bundle.recipe_package import write_recipe_package
from appliance.update.judging import MODEL, RECIPE, Content
from appliance.update.slots import SUFFIXES, JudgingKindName
from tests.models import tiny_bundle
from tests.plant import RECIPE as RECIPE_1

NAME = "tiny"
"""Of the model."""


def write_model(path: Path, number: int) -> Path:
    """Write a revision of the model."""
    return tiny_bundle(path, revision=number)


def write_recipe(path: Path, number: int) -> Path:
    """Write a version of the recipe, as one file; each has another limit, and judges as the others do."""
    recipe = RECIPE_1 | {"version": number, "classes": {"spot": {"reject_limit": round(0.5 + number / 10_000, 4)}}}
    path.write_bytes(write_recipe_package("spots", number, yaml.safe_dump(recipe).encode(), []))
    return path


@dataclass(frozen=True, slots=True)
class Released:
    """One thing that is released again and again. key: of the station's configuration that names its file."""

    content: Content
    name: str
    key: str
    write: Callable[[Path, int], Path]

    @property
    def suffix(self) -> str:
        return SUFFIXES[self.content.kind]

    def file(self, folder: Path, number: int) -> Path:
        """Return the release with a number; it is written where it is not there yet."""
        path = folder / f"{self.name}-{number}{self.suffix}"
        return path if path.exists() else self.write(path, number)

    def current(self, slots: Path) -> Path:
        """Return what a station names to run what the agent has put in force."""
        return slots / f"{self.content.kind}s" / self.name / f"current{self.suffix}"


RELEASED: Mapping[JudgingKindName, Released] = {
    "model": Released(MODEL, NAME, "bundle", write_model),
    "recipe": Released(RECIPE, "spots", "recipe", write_recipe),
}
