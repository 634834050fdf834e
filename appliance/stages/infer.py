"""infer: a view's picture -> detections, through the same detector that the trainer evaluates."""

from collections.abc import Mapping

from appliance.bundle.geometry import with_reference
from appliance.bundle.manifest import Manifest
from appliance.errors import AnswerFault, RuntimeFault
from appliance.events import Detection, Frame, Pixels
from appliance.optics.detector import Detector, asked_at_once
from appliance.optics.tiles import Region, TileGrid, model_grid, whole
from appliance.ports import Runtime
from appliance.recipe import BoundRecipe, View


class Inference:
    """One detector for each view of a recipe, all on one runtime; used by the inspection thread alone."""

    def __init__(self, recipe: BoundRecipe, manifest: Manifest, runtime: Runtime) -> None:
        """Lay out crops and tiles.

        Args:
            recipe: bound to this manifest.
            manifest: of the proven bundle.
            runtime: runs that bundle's model.
        """
        self._picture_channels = manifest.geometry.picture_channels
        self._detectors: Mapping[str, Detector] = {
            view.name: Detector(runtime, manifest, _grid(view, manifest)) for view in recipe.views
        }

    @property
    def tiles(self) -> int:
        """How many pictures of the model's size one part takes, all views together."""
        return sum(detector.tiles for detector in self._detectors.values())

    def infer(self, frame: Frame, reference: Pixels | None = None) -> tuple[Detection, ...]:
        """Find everything on one picture that the manifest does not call noise.

        Args:
            frame: of a view of the recipe, in its agreed size and channels (correct.may_be_shown).
            reference: uint8, shape of the frame's pixels, the view's reference in the part's place; None if the model
                does not compare.

        Returns:
            Detections in pixels of the frame, highest score first.

        Raises:
            RuntimeFault: the engine failed; the part is a FAULT.
        """
        pixels = frame.pixels
        if reference is not None:
            pixels = with_reference(pixels, reference, self._picture_channels)
        try:
            return self._detectors[frame.view].detect(pixels)
        except AnswerFault as error:
            raise AnswerFault(error.what, frame.view) from error
        except RuntimeFault as error:
            raise RuntimeFault(f"view {frame.view}: {error}") from error


def pictures_at_once(recipe: BoundRecipe, manifest: Manifest) -> tuple[int, ...]:
    """Return the numbers of pictures, above 1, that a recipe's inspection asks the model about at once.

    Args:
        recipe: bound to this manifest.
        manifest: of the bundle.
    """
    counts = {count for view in recipe.views for count in asked_at_once(len(_grid(view, manifest).tiles))}
    return tuple(sorted(counts - {1}))


def _grid(view: View, manifest: Manifest) -> TileGrid:
    crop = view.region
    region = Region(crop.x_px, crop.y_px, crop.width_px, crop.height_px)
    return model_grid(region, manifest.geometry, view.tiles.overlap_px) if view.tiles else whole(region)
