"""What to inspect on one product, and which limits decide; written by a quality engineer (docs/recipe.md)."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import Field, model_validator

from appliance.bundle.limits import Limits
from appliance.bundle.manifest import DefectClass, Geometry, Manifest, Name, Ratio
from appliance.bundle.recipe_package import SUFFIX, RecipePackage, read_recipe_package
from appliance.documents import Document, Section, closest, parse_document, read_document
from appliance.optics.placement import PlacementCheck
from appliance.optics.reference import Reference, ReferenceCheck, read_references
from appliance.optics.zones import Polygon, area_px, is_simple

RECIPES = Path(__file__).parent / "recipes"
"""The recipes that come with the appliance: demo_board, board_5_megapixel and binarised_board (.yaml)."""

SidePx = Annotated[int, Field(ge=32, le=65536)]
Grey = Annotated[float, Field(ge=0.0, le=255.0)]


class Crop(Section):
    """The part of the picture that is inspected; x_px and y_px are its left upper corner in the frame."""

    x_px: Annotated[int, Field(ge=0)]
    y_px: Annotated[int, Field(ge=0)]
    width_px: SidePx
    height_px: SidePx


class Tiles(Section):
    """The inspected part is cut into pieces of the model's size; overlap_px must exceed the largest defect."""

    overlap_px: Annotated[int, Field(ge=0, le=2048)]


class Zone(Section):
    """A polygon in pixels of the whole frame; see appliance.stages.decide for what counts."""

    name: Name
    kind: Literal["inspect", "ignore"]
    points_px: Annotated[Polygon, Field(min_length=3, max_length=200)]

    @model_validator(mode="after")
    def _is_a_polygon(self) -> "Zone":
        if not is_simple(self.points_px):
            raise ValueError(f"the edges of zone {self.name} cross; list its corners in order around it")
        if area_px(self.points_px) < 1:
            raise ValueError(f"zone {self.name} has no area; list at least three corners that are not on one line")
        return self


class ImageLimits(Section):
    """What the inspected part's picture must look like for its inspection to count; see ImageStatistics."""

    brightness_min: Grey
    brightness_max: Grey
    sharpness_min: Annotated[float, Field(ge=0.0)]
    clipped_low_max_ratio: Ratio
    clipped_high_max_ratio: Ratio

    @model_validator(mode="after")
    def _leaves_room(self) -> "ImageLimits":
        if self.brightness_min >= self.brightness_max:
            raise ValueError("brightness_min must be below brightness_max, or no picture would ever pass")
        return self


class View(Section):
    """One picture of the part: its agreed size and channels (1 grey, 3 RGB), the inspected part, zones, limits."""

    name: Name
    width_px: SidePx
    height_px: SidePx
    channels: Literal[1, 3]
    crop: Crop | None = None
    tiles: Tiles | None = None
    zones: Annotated[tuple[Zone, ...], Field(max_length=100)] = ()
    image_limits: ImageLimits
    placement: PlacementCheck | None = None
    reference: ReferenceCheck | None = None

    @property
    def region(self) -> Crop:
        """The inspected part: the crop, or the whole picture."""
        return self.crop or Crop(x_px=0, y_px=0, width_px=self.width_px, height_px=self.height_px)

    @model_validator(mode="after")
    def _all_lies_in_the_picture(self) -> "View":
        size = f"{self.width_px}x{self.height_px} px"
        region = self.region
        if region.x_px + region.width_px > self.width_px or region.y_px + region.height_px > self.height_px:
            raise ValueError(f"the crop does not lie in the picture of {size}; make it smaller or move it")
        for zone in self.zones:
            if not all(0 <= x <= self.width_px and 0 <= y <= self.height_px for x, y in zone.points_px):
                raise ValueError(f"zone {zone.name} has a corner outside the picture of {size}; move it inside")
        for patch in self.placement.patches if self.placement else ():
            if not patch.fits(self.width_px, self.height_px):
                raise ValueError(f"a placement patch does not lie in the picture of {size}; correct x_px and y_px")
        _refuse_repeats([zone.name for zone in self.zones], "zone")
        return self


class ClassRule(Section):
    """What differs from the bundle for one class; each key that is absent keeps its default.

    score >= reject_limit: REJECT; accept_limit <= score < reject_limit: REVIEW; below: ignored.
    A detection is too small to count if it is below each of the given minimums.
    """

    reject_limit: Ratio | None = None
    accept_limit: Ratio | None = None
    min_width_px: Annotated[float, Field(ge=0.0)] | None = None
    min_height_px: Annotated[float, Field(ge=0.0)] | None = None
    min_area_px: Annotated[float, Field(ge=0.0)] | None = None

    @model_validator(mode="after")
    def _sizes_are_one_way(self) -> "ClassRule":
        if self.min_area_px is not None and (self.min_width_px is not None or self.min_height_px is not None):
            raise ValueError("min_area_px together with min_width_px or min_height_px; keep one of the two")
        return self


@dataclass(frozen=True, slots=True)
class ClassLimits:
    """What holds for one class after binding: scores 0..1, sizes in pixels, None = no minimum."""

    label: str
    severity: Literal["critical", "major", "minor"]
    reject_limit: float
    accept_limit: float
    min_width_px: float | None
    min_height_px: float | None
    min_area_px: float | None


@dataclass(frozen=True, slots=True)
class BoundRecipe:
    """A recipe that fits one bundle; digest is the SHA-256 (hex) of the recipe's file, limits has every class.

    references: of each view that has some, decoded, in the view's size and channels.
    """

    name: str
    version: int
    digest: str
    deadline_ms: int
    answer_reserve_ms: int
    views: tuple[View, ...]
    limits: Mapping[str, ClassLimits]
    references: Mapping[str, tuple[Reference, ...]]

    def verdict_limits(self) -> Limits:
        """Return the scores at which the verdict changes, for the proof."""
        return Limits(
            reject={label: limits.reject_limit for label, limits in self.limits.items()},
            accept={label: limits.accept_limit for label, limits in self.limits.items()},
        )


class Recipe(Section):
    """A recipe as written; deadlines count from the trigger's reception.

    FAULT(deadline) is given answer_reserve_ms before the deadline, so that the line still gets an explicit answer.
    """

    schema_: Literal["vi.recipe/1"] = Field(alias="schema")
    name: Name
    version: Annotated[int, Field(ge=1)]
    deadline_ms: Annotated[int, Field(ge=10, le=600_000)]
    answer_reserve_ms: Annotated[int, Field(ge=1)]
    views: Annotated[tuple[View, ...], Field(min_length=1, max_length=32)]
    classes: dict[Name, ClassRule] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _is_consistent(self) -> "Recipe":
        if self.answer_reserve_ms >= self.deadline_ms:
            raise ValueError("answer_reserve_ms must be below deadline_ms, or every part would be too late")
        _refuse_repeats([view.name for view in self.views], "view")
        return self

    def bind(self, manifest: Manifest, document: Document) -> BoundRecipe:
        """Resolve the limits of every class the bundle knows, and check that its model takes the views.

        Args:
            manifest: of the bundle that will judge.
            document: the file that this recipe was read from, for its digest and the lines in messages.

        Returns:
            The recipe in force.

        Raises:
            ConfigError: a class, a limit or a view does not fit the bundle, or a reference picture is not what the
                recipe says; the recipe must change (or the bundle, or the picture).
        """
        bundle = f"bundle {manifest.name} revision {manifest.revision}"
        known = {item.name: item for item in manifest.classes}
        for label in self.classes:
            if label not in known:
                meant = closest(label, list(known))
                remedy = f"did you mean `{meant}`?" if meant else f"its classes are {', '.join(known)}"
                raise document.error(("classes", label), f"{bundle} has no class `{label}`", remedy)
        for position, view in enumerate(self.views):
            problem = _unpaired(view, manifest.geometry) or _misfit(view, manifest.geometry)
            if problem:
                raise document.error(("views", position), f"{problem[0]} ({bundle})", problem[1])
        floor = manifest.outputs.score_floor
        limits = {
            label: _limits(item, self.classes.get(label, ClassRule()), floor, document) for label, item in known.items()
        }
        references = {
            view.name: read_references(
                view.reference,
                (view.height_px, view.width_px, view.channels),
                document,
                ("views", position, "reference"),
            )
            for position, view in enumerate(self.views)
            if view.reference is not None
        }
        return BoundRecipe(
            self.name,
            self.version,
            document.digest,
            self.deadline_ms,
            self.answer_reserve_ms,
            self.views,
            limits,
            references,
        )


LoadedRecipe: TypeAlias = tuple[Recipe, Document]
"""A recipe, and its document for bind."""


def load_recipe(path: Path) -> LoadedRecipe:
    """Read a recipe.

    Args:
        path: the YAML file, or a package (.recipe) with it and its pictures.

    Returns:
        The recipe, and its document for bind; the digest of a package is that of the whole file.

    Raises:
        ConfigError: a person must correct the file; each mistake with line, key and remedy.
        BundleError: the package is damaged, or is none.
    """
    if path.suffix == SUFFIX:
        return unpack_recipe(read_recipe_package(path), path)
    document = read_document(path)
    return document.into(Recipe), document


def unpack_recipe(package: RecipePackage, origin: Path) -> LoadedRecipe:
    """Read the recipe in a package; see load_recipe.

    Args:
        package: as read.
        origin: where it lies, for messages.
    """
    written = parse_document(origin, package.recipe)
    document = replace(written, digest=package.digest, packed=package.pictures)
    recipe, manifest = document.into(Recipe), package.manifest
    if (recipe.name, recipe.version) != (manifest.name, manifest.version):
        raise document.error(
            ("version",), f"the package says {manifest.name} version {manifest.version}", "pack the recipe again"
        )
    named = {picture.sha256 for view in recipe.views if view.reference for picture in view.reference.pictures}
    if named != package.pictures.keys():
        raise document.error(
            ("views",), "the package has other pictures than its recipe names", "pack the recipe again"
        )
    return recipe, document


def _refuse_repeats(names: list[str], what: str) -> None:
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"the {what} name {repeated[0]} is used more than once; rename one")


def _unpaired(view: View, geometry: Geometry) -> tuple[str, str] | None:
    """Return problem and remedy if only one of model and view knows of a reference picture."""
    if geometry.has_reference and view.reference is None:
        problem = "the model compares the part with a reference picture, and the view has none"
        return problem, "add `reference:` (`calibrate reference PICTURE` prints it), or name a model that needs none"
    if view.reference is not None and not geometry.has_reference:
        problem = "the view has a reference picture, and the model does not compare"
        return problem, "delete `reference:`, or name a model that compares"
    return None


def _misfit(view: View, geometry: Geometry) -> tuple[str, str] | None:
    """Return problem and remedy if the model cannot take this view."""
    region, model = view.region, f"{geometry.width}x{geometry.height}"
    size = f"{region.width_px}x{region.height_px}"
    if view.tiles is not None:
        if geometry.fit != "pad" and (region.width_px < geometry.width or region.height_px < geometry.height):
            return f"the inspected part of {size} is smaller than one tile of {model}", "enlarge the crop or drop tiles"
        if view.tiles.overlap_px >= min(geometry.width, geometry.height):
            return f"tiles of {model} cannot overlap by {view.tiles.overlap_px} px", "lower overlap_px"
        return None
    if geometry.takes(region.width_px, region.height_px):
        return None
    if geometry.fit == "exact":
        return f"the model takes exactly {model} and the inspected part is {size}", f"add tiles or a crop of {model}"
    return f"the model takes at most {model} and the inspected part is {size}", "add tiles or a smaller crop"


def _limits(item: DefectClass, rule: ClassRule, floor: float, document: Document) -> ClassLimits:
    at = ("classes", item.name)
    reject = item.limit if rule.reject_limit is None else rule.reject_limit
    accept = reject if rule.accept_limit is None else rule.accept_limit
    if accept > reject:
        raise document.error(
            (*at, "accept_limit" if rule.accept_limit is not None else "reject_limit"),
            f"accept_limit {accept} is above reject_limit {reject}",
            "lower accept_limit; between the two lies the grey band that gives REVIEW",
        )
    given = [
        (key, value)
        for key, value in (("reject_limit", rule.reject_limit), ("accept_limit", rule.accept_limit))
        if value is not None and value < floor
    ]
    for key, value in given:
        raise document.error(
            (*at, key),
            f"{key} {value} is below {floor}, the lowest score that this model reports",
            f"use {floor} or more",
        )
    return ClassLimits(
        item.name, item.severity, reject, accept, rule.min_width_px, rule.min_height_px, rule.min_area_px
    )
