"""The demo's station on disk: configuration and recipe, as a person would write them."""

from dataclasses import dataclass
from pathlib import Path

import yaml

from appliance.bundle.archive import Bundle
from appliance.bundle.picture import decode, size_px
from appliance.cameras.truth import RecordedImage, list_recorded
from appliance.config import RuntimeSection
from appliance.errors import ConfigError, StorageError
from appliance.optics.tiles import usual_overlap_px
from appliance.recipe import RECIPES, View, load_recipe
from appliance.simulator.camera import PART_NUMBER, SimulatedCameraSettings
from appliance.simulator.line import SimulatedLine

SHIPPED_BUNDLE = Path(__file__).resolve().parent.parent / "bundles" / "demo.bundle"
CONSUMER = "demo-line"
PLACE = {"enterprise": "demo", "site": "hall-1", "area": "assembly", "line": "line-1", "station": "aoi-1"}
DEVICE_ID = "demo-aoi-1"
RECIPE_DEADLINE_MS = 1000


@dataclass(frozen=True, slots=True)
class Scene:
    """What comes past the camera: camera section of the configuration, and who knows the truth."""

    camera: dict[str, object]
    line: SimulatedLine | None = None
    truths: dict[str, bool] | None = None
    pictures: int = 0
    size: tuple[int, int] = (640, 640)

    @classmethod
    def simulated(cls, seed: int, defect_rate: float, optics: Path | None = None, rate_hz: float = 1.0) -> "Scene":
        """Return simulated boards, a new layout every 50.

        Args:
            seed: of everything.
            defect_rate: part of the boards that are bad, 0..1.
            optics: a script that stages drift; its seconds are the line's at this rate.
            rate_hz: parts per second.

        Raises:
            ConfigError: the script cannot be read or is wrong.
        """
        camera: dict[str, object] = {
            "type": "simulated",
            "seed": seed,
            "defect_rate": defect_rate,
            "parts_per_family": 50,
        }
        if optics is not None:
            camera |= {"optics": str(optics.absolute()), "parts_per_second": rate_hz}
        return cls(camera, line=SimulatedCameraSettings.model_validate(camera).line())

    @classmethod
    def recorded(cls, source: Path, groups: tuple[str, ...] = (), most: int | None = None) -> "Scene":
        """Return recorded pictures, with their truth if it is there.

        Args:
            source: a folder, a COCO file or a list file.
            groups: only these groups of its annotations; all if empty.
            most: of its pictures, the first so many; all if None.

        Raises:
            ConfigError: no folder, no pictures, no such group, a broken annotation or first picture, pictures of
                several sizes.
        """
        source = source.resolve()  # the camera names its pictures by it, and the truth is found by that name
        images = list_recorded(source, groups)[:most]
        try:
            first = decode(images[0].path.read_bytes(), 1)
        except OSError as error:
            raise ConfigError(
                f"{images[0].path} cannot be read ({error.strerror}); check the folder's permissions"
            ) from error
        if first is None:
            raise ConfigError(f"{images[0].path} cannot be decoded; remove it or record it again")
        size = (first.shape[1], first.shape[0])
        _check_sizes(images, size)
        truths = {str(image.path): bool(image.truth) for image in images if image.truth is not None}
        camera: dict[str, object] = {"type": "folder", "directory": str(source), "groups": list(groups)}
        return cls(camera, truths=truths, pictures=len(images), size=size)

    def is_defective(self, part_id: str, source: str) -> bool | None:
        """Return the truth about a part, None if nobody knows it."""
        if self.truths is not None:
            return self.truths.get(source)
        number = PART_NUMBER.search(part_id)
        return self.line.is_defective(int(number.group(1))) if self.line and number else None


def _check_sizes(images: list[RecordedImage], size: tuple[int, int]) -> None:
    """Refuse pictures of several sizes, because a view has one; what is no picture costs its part, and no more."""
    for image in images:
        try:
            found = size_px(image.path)
        except OSError:
            continue
        if found is not None and found != size:
            raise ConfigError(
                f"{image.path} has {found[0]}x{found[1]} px and {images[0].path} has {size[0]}x{size[1]}; a station "
                "takes one size: show the pictures of each size on their own"
            )


OPEN_LIMITS: dict[str, float] = {
    "brightness_min": 0.0,
    "brightness_max": 255.0,
    "sharpness_min": 0.0,
    "clipped_low_max_ratio": 1.0,
    "clipped_high_max_ratio": 1.0,
}
"""For recorded pictures, which nobody has calibrated for."""


def write_station(
    folder: Path,
    bundle_path: Path,
    bundle: Bundle,
    scene: Scene,
    *,
    port: int | None,
    recipe: Path | None = None,
    deadline_ms: int = RECIPE_DEADLINE_MS,
    runtime: RuntimeSection | None = None,
) -> Path:
    """Write a station's configuration and, unless one is given, its recipe.

    Args:
        folder: gets config.yaml, recipe.yaml and, when the station runs, its ledger and pictures.
        bundle_path: the bundle's file.
        bundle: the same, read.
        scene: what comes past the camera.
        port: of the broker on this machine, None for no link.
        recipe: another recipe than the demo's, with one view of the scene's size.
        deadline_ms: of the demo's recipe.
        runtime: what runs the model; None: what a station takes by default.

    Returns:
        The path of config.yaml.

    Raises:
        ConfigError: the folder holds an earlier run's ledger, or the recipe does not fit the scene or is missing.
        StorageError: the folder cannot be written.
    """
    view, channels = "top", bundle.manifest.geometry.picture_channels
    if recipe is not None:
        only = _only_view(recipe, scene)
        view, channels = only.name, only.channels
    elif bundle.manifest.geometry.has_reference:
        raise ConfigError(
            f"{bundle_path}: compares each part with a reference picture, which only a recipe names; run appliance "
            "replay with --recipe and a recipe whose view has `reference:` (docs/recipe.md)"
        )
    config = {
        "schema": "vi.config/1",
        "device": {"device_id": DEVICE_ID, **PLACE},
        "bundle": str(bundle_path.absolute()),
        "recipe": str(recipe.absolute()) if recipe else "recipe.yaml",
        "ledger": {"path": "ledger.db"},
        "images": {"directory": "images", "quota_mb": 200, "min_free_mb": 200},
        "cameras": {view: {**scene.camera, "channels": channels}},
        "max_capture_delay_ms": 1000,
        "queue_size": 20,
    }
    if runtime is not None:
        config["runtime"] = runtime.model_dump(exclude_unset=True)
    if port is not None:
        config["mqtt"] = {"host": "127.0.0.1", "port": port, "consumers": [CONSUMER]}
    if (folder / "ledger.db").exists():
        raise ConfigError(f"{folder} holds the ledger of an earlier run, whose parts would mix in; name a new folder")
    files = {} if recipe is not None else {"recipe.yaml": _recipe(bundle, scene, deadline_ms)}
    _write(folder, {**files, "config.yaml": _yaml(config)})
    return folder / "config.yaml"


def _write(folder: Path, files: dict[str, str]) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (folder / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise StorageError(f"{folder} cannot be written: {error.strerror}; name another folder") from error


def _only_view(path: Path, scene: Scene) -> View:
    views = load_recipe(path)[0].views
    if len(views) > 1:
        names = ", ".join(view.name for view in views)
        raise ConfigError(
            f"{path}: has {len(views)} views ({names}), and recorded pictures are of one; name a recipe with one view"
        )
    (view,) = views
    if (view.width_px, view.height_px) != scene.size:
        raise ConfigError(
            f"{path}: view {view.name} is agreed as {view.width_px}x{view.height_px} px and the pictures have "
            f"{scene.size[0]}x{scene.size[1]}; name pictures or a recipe of the other's size"
        )
    return view


class _Quoting(yaml.SafeDumper):
    """Puts every word in quotes: PyYAML leaves them off 08 and 1e5, which YAML 1.2 then reads as numbers."""


_Quoting.add_representer(str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"'))


def _yaml(document: dict[str, object]) -> str:
    return str(yaml.dump(document, Dumper=_Quoting, sort_keys=False))


def _recipe(bundle: Bundle, scene: Scene, deadline_ms: int) -> str:
    """Return the demo recipe for the scene's pictures: whole, or in tiles where the model is smaller."""
    recipe = yaml.safe_load((RECIPES / "demo_board.yaml").read_text(encoding="utf-8"))
    geometry, view = bundle.manifest.geometry, recipe["views"][0]
    width_px, height_px = scene.size
    view |= {"width_px": width_px, "height_px": height_px, "channels": geometry.picture_channels}
    if not geometry.takes(width_px, height_px):
        view["tiles"] = {"overlap_px": usual_overlap_px(geometry.width, geometry.height)}
    if scene.truths is not None:
        view["image_limits"] = OPEN_LIMITS
    recipe["deadline_ms"] = deadline_ms
    return _yaml(recipe)
