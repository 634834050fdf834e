"""The one way from a view's pixels to detections: the line, the proof and the trainer's evaluation all take it."""

from collections.abc import Sequence

import numpy as np

from appliance.bundle.geometry import Placement, to_model_input
from appliance.bundle.manifest import Manifest
from appliance.errors import ConfigError
from appliance.events import Detection, Pixels
from appliance.optics.detections import Candidates, above_floor, suppress, to_detections
from appliance.optics.tiles import Region, TileGrid, merge, whole
from appliance.ports import RawDetections, Runtime

MOST_AT_ONCE = 4
"""Pictures that the model is asked about at once, where a view has so many tiles."""


def asked_at_once(tiles: int, max_batch: int = MOST_AT_ONCE) -> frozenset[int]:
    """Return of how many pictures the batches are in which a view's tiles go to the model."""
    return frozenset(filter(None, (min(tiles, max_batch), tiles % max_batch)))


class Detector:
    """Finds objects on pictures of one view; used by one thread."""

    def __init__(
        self, runtime: Runtime, manifest: Manifest, grid: TileGrid | None = None, *, max_batch: int = MOST_AT_ONCE
    ) -> None:
        """Prepare the memory that each picture then uses again.

        Args:
            runtime: runs the manifest's model.
            manifest: geometry, classes, score floor and overlap.
            grid: crop or tiles of the view; None takes each picture whole, whatever its size.
            max_batch: tiles that go to the model at once, at least 1.
        """
        geometry = manifest.geometry
        self._runtime = runtime
        self._manifest = manifest
        self._grid = grid
        batch = min(max_batch, len(grid.tiles)) if grid else 1
        self._batch = np.zeros((batch, geometry.height, geometry.width, geometry.channels), np.uint8)

    @property
    def tiles(self) -> int:
        """How many pictures of the model's size one picture takes."""
        return len(self._grid.tiles) if self._grid else 1

    def detect(self, pixels: Pixels) -> tuple[Detection, ...]:
        """Find everything on a picture that the manifest does not call noise.

        Args:
            pixels: uint8, shape (height, width, 1 or 3), RGB, the whole frame of the view; 2 or 6 with its reference
                behind it, if the model compares (appliance.bundle.geometry.with_reference).

        Returns:
            Detections in pixels of the frame, highest score first, each object once.

        Raises:
            RuntimeFault: the engine failed.
            ConfigError: the picture does not hold the grid's region; the recipe belongs to another camera.
            BundleFormatError: fit is "exact" and a tile has another size than the model's input.
        """
        height, width = pixels.shape[:2]
        grid = self._grid or whole(Region(0, 0, width, height))
        region = grid.region
        if region.x_px + region.width_px > width or region.y_px + region.height_px > height:
            raise ConfigError(
                f"a picture of {width}x{height} px does not hold the recipe's region {region}; "
                "correct the view's size or crop"
            )
        found: list[Candidates] = []
        for first in range(0, len(grid.tiles), len(self._batch)):
            found += self._detect_batch(pixels, grid.tiles[first : first + len(self._batch)])
        if not any(map(len, found)):
            return ()
        iou = self._manifest.outputs.nms_iou
        once = suppress(found[0], iou) if len(found) == 1 else merge(found, grid, iou)
        return to_detections(once, self._manifest)

    def detect_several(self, pictures: Sequence[Pixels]) -> list[tuple[Detection, ...]]:
        """Find what is on several pictures that the model is asked about at once, as it is about tiles.

        Args:
            pictures: each whole, as `detect` takes it without a grid.

        Returns:
            What `detect` finds on each of them, if the model is worth its contract.

        Raises:
            RuntimeFault, BundleFormatError: see `detect`.
        """
        placed = [to_model_input(pixels, self._manifest.geometry) for pixels in pictures]
        raw = self._runtime.infer(np.stack([image for image, _ in placed]))
        found: list[tuple[Detection, ...]] = []
        for row, (pixels, (_, placement)) in enumerate(zip(pictures, placed, strict=True)):
            on_frame = self._on_frame(raw, row, Region(0, 0, pixels.shape[1], pixels.shape[0]), placement)
            found.append(to_detections(suppress(on_frame, self._manifest.outputs.nms_iou), self._manifest))
        return found

    def _detect_batch(self, pixels: Pixels, tiles: tuple[Region, ...]) -> list[Candidates]:
        placements: list[Placement] = []
        batch = self._batch[: len(tiles)]
        for row, tile in enumerate(tiles):
            piece = pixels[tile.y_px : tile.y_px + tile.height_px, tile.x_px : tile.x_px + tile.width_px]
            image, placement = to_model_input(piece, self._manifest.geometry)
            placements.append(placement)
            if len(tiles) == 1 and image.flags.c_contiguous:
                batch = image[None]  # as it lies there: a copy takes 55 us of 640x640 grey, more with cold caches
            else:
                batch[row] = image
        raw = self._runtime.infer(batch)
        return [self._on_frame(raw, row, tile, placements[row]) for row, tile in enumerate(tiles)]

    def _on_frame(self, raw: RawDetections, row: int, tile: Region, placement: Placement) -> Candidates:
        floor = self._manifest.outputs.score_floor
        found = above_floor(raw.boxes[row], raw.scores[row], raw.labels[row], floor)
        if len(found) == 0:
            return found
        corner = np.array([tile.x_px, tile.y_px] * 2, dtype=np.float32)
        return Candidates(placement.to_picture(found.boxes) + corner, found.scores, found.labels)
