"""Golden images: pictures with the trainer's detections, which every device must get again before it runs a bundle."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, get_args

import cv2
import numpy as np
from pydantic import Field, SerializerFunctionWrapHandler, ValidationError, model_serializer

from appliance.bundle import strict_json
from appliance.bundle.geometry import with_reference
from appliance.bundle.manifest import Manifest, Name, Ratio
from appliance.bundle.picture import decode
from appliance.bundle.section import Section
from appliance.errors import BundleFormatError
from appliance.events import Detection, Pixels

SCHEMA: Final = "vi.golden/1"
MAX_IMAGES = 500
MAX_DETECTIONS = 1000
MAX_SIDE_PX = 8192
MAX_TOTAL_BYTES = 256 * 2**20
"""Decoded pixels of all golden images together."""

GoldenKind = Literal["clear_good", "clear_bad", "near_limit", "dark", "bright", "small", "empty"]
"""What a golden image is there for: near_limit has a score near to the limit, small a small defect, empty nothing."""

LEAST_GOLDEN = 32
"""Golden images that tell enough: a few of each kind."""

_PNG_START = b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR"
_PNG_CHANNELS = {0: 1, 2: 3}
_Edge = Annotated[float, Field(ge=0.0, le=float(MAX_SIDE_PX))]


class GoldenDetection(Section):
    """One detection of the trainer; box_px is x1 y1 x2 y2 in pixels of the picture."""

    label: Name
    score: Ratio
    box_px: tuple[_Edge, _Edge, _Edge, _Edge]


class GoldenEntry(Section):
    """One picture, golden/NNN.png, with all that the trainer found on it.

    If the model compares with a reference, that is beside it as golden/NNN.reference.png.
    kind: what it is there for; None, and not written, where nobody said.
    """

    file: Annotated[str, Field(pattern=r"^\d{3}\.png$")]
    detections: Annotated[tuple[GoldenDetection, ...], Field(max_length=MAX_DETECTIONS)]
    kind: GoldenKind | None = None

    @model_serializer(mode="wrap")
    def _without_a_kind_that_nobody_said(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        content: dict[str, Any] = write(self)
        if self.kind is None:
            del content["kind"]
        return content


class GoldenFile(Section):
    """golden/detections.json."""

    schema_: Literal["vi.golden/1"] = Field(alias="schema")
    images: Annotated[tuple[GoldenEntry, ...], Field(min_length=1, max_length=MAX_IMAGES)]


@dataclass(frozen=True, slots=True)
class GoldenImage:
    """One golden image; png holds the encoded picture, detections are the trainer's, boxes in its pixels.

    reference_png: the encoded reference in the part's place, for a model that compares; else None.
    kind: what it is there for; None where nobody said.
    """

    png: bytes
    detections: tuple[Detection, ...]
    reference_png: bytes | None = None
    kind: GoldenKind | None = None

    def pixels(self) -> Pixels:
        """Decode the picture, with its reference behind it if there is one.

        Returns:
            uint8, shape (height, width, 1 or 3), RGB; 2 or 6 with a reference.

        Raises:
            BundleFormatError: it cannot be decoded (never after the bundle was read).
        """
        picture = decode_png(self.png, "golden image")
        if self.reference_png is None:
            return picture
        reference = decode_png(self.reference_png, "reference of a golden image")
        return with_reference(picture, reference, picture.shape[2])

    @classmethod
    def from_pixels(
        cls, pixels: Pixels, detections: tuple[Detection, ...], kind: GoldenKind | None = None
    ) -> "GoldenImage":
        """Make a golden image from a picture and the trainer's detections on it.

        Args:
            pixels: uint8, shape (height, width, 1 or 3), RGB; 2 or 6 with a reference behind it.
            detections: of the model that this golden image is to prove.
            kind: what it is there for.
        """
        if pixels.shape[2] % 2:
            return cls(encode_png(pixels), detections, None, kind)
        half = pixels.shape[2] // 2
        return cls(encode_png(pixels[:, :, :half]), detections, encode_png(pixels[:, :, half:]), kind)


def lacking(images: Sequence[GoldenImage]) -> str:
    """Return in words what these golden images do not tell, so that their proof says little; empty if they do.

    Args:
        images: of a bundle.
    """
    words = []
    if len(images) < LEAST_GOLDEN:
        words.append(f"only {len(images)} golden images speak for the proof, {LEAST_GOLDEN} should")
    there = {image.kind for image in images}
    missing = [kind.replace("_", " ") for kind in get_args(GoldenKind) if kind not in there]
    if there == {None}:
        words.append("what they are there for is not said")
    elif missing:
        words.append(f"no golden image is there for: {', '.join(missing)}")
    return "; ".join(words)


def png_size(png: bytes, origin: str) -> tuple[int, int, int]:
    """Read a picture's size from its header, before anything is decoded.

    Args:
        png: the encoded picture.
        origin: names it in messages.

    Returns:
        Width and height in pixels, channels (1 or 3).

    Raises:
        BundleFormatError: no PNG, absurdly large, or not 8-bit grey or RGB.
    """
    if not png.startswith(_PNG_START) or len(png) < 33:
        raise BundleFormatError(f"{origin} is not a PNG file; write golden images as 8-bit grey or RGB PNG")
    width, height = int.from_bytes(png[16:20], "big"), int.from_bytes(png[20:24], "big")
    if not (0 < width <= MAX_SIDE_PX and 0 < height <= MAX_SIDE_PX):
        raise BundleFormatError(f"{origin} claims {width}x{height} pixels; at most {MAX_SIDE_PX} a side are read")
    depth, colour = png[24], png[25]
    if depth != 8 or colour not in _PNG_CHANNELS:
        raise BundleFormatError(f"{origin} has bit depth {depth}, colour type {colour}; write 8-bit grey or RGB PNG")
    return width, height, _PNG_CHANNELS[colour]


def decode_png(png: bytes, origin: str) -> Pixels:
    """Decode a picture whose header was found acceptable.

    Args:
        png: the encoded picture.
        origin: names it in messages.

    Returns:
        uint8, shape (height, width, 1 or 3), RGB.

    Raises:
        BundleFormatError: it cannot be decoded, or is not what its header says.
    """
    width, height, channels = png_size(png, origin)
    decoded = decode(png, channels)
    if decoded is None or decoded.shape[:2] != (height, width):
        raise BundleFormatError(f"{origin} cannot be decoded; export the bundle again")
    return np.asarray(decoded, dtype=np.uint8).reshape(height, width, channels)


def encode_png(pixels: Pixels) -> bytes:
    """Encode a picture without loss, in the shorter of two ways.

    A camera's noise takes a tenth less where nobody looks for repeats.

    Args:
        pixels: uint8, shape (height, width, 1 or 3), RGB.

    Returns:
        PNG bytes.

    Raises:
        BundleFormatError: the picture has another number of channels.
    """
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 3):
        raise BundleFormatError(f"a golden image must have shape (H, W, 1 or 3), not {pixels.shape}")
    picture = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR) if pixels.shape[2] == 3 else np.ascontiguousarray(pixels)
    without_repeats = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE]
    return min((cv2.imencode(".png", picture, way)[1].tobytes() for way in ([], without_repeats)), key=len)


def file_name(index: int) -> str:
    """Return the name inside golden/ of the index-th golden image."""
    return f"{index:03d}.png"


def reference_name(picture: str) -> str:
    """Return the file name of the reference that belongs to a golden image's file."""
    return picture.replace(".png", ".reference.png")


def describe(images: tuple[GoldenImage, ...]) -> GoldenFile:
    """Make golden/detections.json for images that will be written as 000.png, 001.png and so on.

    Args:
        images: the golden images in order.

    Returns:
        The file's contents.

    Raises:
        BundleFormatError: a detection is impossible (NaN, a box outside any picture), or there are too many.
    """
    try:
        entries = tuple(
            GoldenEntry(
                file=file_name(index), detections=tuple(_entry(found) for found in image.detections), kind=image.kind
            )
            for index, image in enumerate(images)
        )
        return GoldenFile(schema=SCHEMA, images=entries)
    except ValidationError as error:
        raise BundleFormatError(f"golden images cannot be written: {strict_json.in_words(error)}") from error


def _entry(found: Detection) -> GoldenDetection:
    return GoldenDetection(label=found.label, score=found.score, box_px=found.box)


def read_golden(files: dict[str, bytes], manifest: Manifest, origin: str) -> tuple[GoldenImage, ...]:
    """Read and check the golden images of a bundle.

    Args:
        files: the bundle's files.
        manifest: names the classes.
        origin: the bundle's name, for messages.

    Returns:
        The golden images in the order of detections.json; each was decoded once.

    Raises:
        BundleFormatError: a picture is missing, unlisted, too large or broken, or a detection impossible.
    """
    listing = strict_json.parse(
        files["golden/detections.json"],
        GoldenFile,
        schema=SCHEMA,
        origin=f"{origin}: golden/detections.json",
        max_bytes=16 * 2**20,
    )
    listed = [f"golden/{entry.file}" for entry in listing.images]
    references = [reference_name(name) for name in listed] if manifest.geometry.has_reference else []
    wanted, pictures = listed + references, {name for name in files if name.endswith(".png")}
    if sorted(wanted) != sorted(pictures):
        odd = sorted(pictures.symmetric_difference(wanted)) or "a picture twice"
        raise BundleFormatError(f"{origin}: golden/detections.json and the pictures differ: {odd}; export it again")
    labels = {item.name for item in manifest.classes}
    total = 0
    images = []
    for entry, name in zip(listing.images, listed, strict=True):
        where = f"{origin}: {name}"
        width, height, channels = png_size(files[name], where)
        reference = files[reference_name(name)] if references else None
        if reference is not None and png_size(reference, where) != (width, height, channels):
            raise BundleFormatError(f"{where}: its reference has another size or colour; export the bundle again")
        total += width * height * channels * (1 if reference is None else 2)
        if total > MAX_TOTAL_BYTES:
            raise BundleFormatError(f"{where}: the golden images take more than {MAX_TOTAL_BYTES} bytes; use fewer")
        decode_png(files[name], where)
        if reference is not None:
            decode_png(reference, f"{origin}: {reference_name(name)}")
        for found in entry.detections:
            _check_detection(found, width, height, labels, where)
        found_before = tuple(Detection(item.label, item.score, item.box_px) for item in entry.detections)
        images.append(GoldenImage(files[name], found_before, reference, entry.kind))
    return tuple(images)


def _check_detection(found: GoldenDetection, width: int, height: int, labels: set[str], where: str) -> None:
    x1, y1, x2, y2 = found.box_px
    if not (x1 < x2 <= width and y1 < y2 <= height):
        raise BundleFormatError(f"{where}: the box {found.box_px} is not in the {width}x{height} picture; export again")
    if found.label not in labels:
        raise BundleFormatError(f"{where}: the manifest has no class {found.label!r}; export the bundle again")
