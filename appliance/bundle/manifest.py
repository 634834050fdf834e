"""manifest.json of a bundle: strict, versioned, no default that a device would have to guess."""

from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from appliance.bundle.section import Section

SCHEMAS = ("vi.bundle/1", "vi.bundle/2")
"""What this version reads, the newest last; a bundle with one model is written as the first."""

VariantName = Literal["fp16", "int8"]
"""The precisions beside f32 that a bundle may hold a model of."""

Precision = Literal["f32", "fp16", "int8"]

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$")]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Ratio = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]


class DefectClass(Section):
    """One class the model knows, at the index of its label; limit is the default reject score."""

    name: Name
    severity: Literal["critical", "major", "minor"]
    limit: Ratio


class Geometry(Section):
    """The model's input; how a picture gets there is appliance.bundle.geometry, and nothing else.

    fit "exact": the picture must have this size (tiles and crops do); "pad": a smaller one is filled up, on the right
    and at the bottom; "letterbox": scaled to fit, then padded.
    channels: 1 grey, 3 RGB; 2 and 6 the same with the recipe's reference picture behind the part's.
    pad_value: grey value of the padding, written even where nothing is padded.
    """

    width: Annotated[int, Field(ge=32, le=4096)]
    height: Annotated[int, Field(ge=32, le=4096)]
    channels: Literal[1, 2, 3, 6]
    fit: Literal["exact", "pad", "letterbox"]
    pad_value: Annotated[int, Field(ge=0, le=255)]

    @property
    def has_reference(self) -> bool:
        """Whether the model compares the part with a reference picture."""
        return self.channels in (2, 6)

    def takes(self, width_px: int, height_px: int) -> bool:
        """Tell whether a picture of this size goes to the model in one piece."""
        if self.fit == "exact":
            return (width_px, height_px) == (self.width, self.height)
        return self.fit == "letterbox" or (width_px <= self.width and height_px <= self.height)

    @property
    def picture_channels(self) -> Literal[1, 3]:
        """Channels of the part's picture, and of its reference if there is one."""
        return 3 if self.channels in (3, 6) else 1


class Outputs(Section):
    """The model's outputs: candidates is K of the contract; nms_iou joins boxes of a class; score_floor cuts noise."""

    candidates: Annotated[int, Field(ge=1, le=1000)]
    nms_iou: Ratio
    score_floor: Ratio


class Tolerance(Section):
    """How far this device's detections may be from the trainer's."""

    min_iou: Ratio
    max_score_difference: Ratio


MOST_HELD_OUT = 1000
MOST_LEARNED_PICTURES = 20_000
PICTURE_DIGITS = 12
"""Of a picture's SHA-256: two of so many pictures have the same ones once in a million bundles."""


class Variant(Section):
    """What the trainer found out about a model of another precision; differences are those to model.onnx.

    tolerance: how far this device's detections with it may be from the golden ones, which are those of model.onnx.
    ap: pooled AP at IoU 0.33 on the held-out groups; ap_drop: how much lower that is.
    parts, parts_changed: held-out parts, and those whose verdict at the manifest's limits is another one.
    method, calibration: how the ranges were chosen, and the SHA-256 of each training picture that they come from.
    kept_float: layers that compute as in model.onnx.
    """

    tolerance: Tolerance
    ap: Ratio
    ap_drop: Annotated[float, Field(ge=-1.0, le=1.0)]
    parts: Annotated[int, Field(ge=1)]
    parts_changed: Annotated[int, Field(ge=0)]
    method: str
    calibration: Annotated[tuple[Digest, ...], Field(strict=False)]
    kept_float: Annotated[tuple[str, ...], Field(strict=False)]


class Lineage(Section):
    """Where the model comes from; metrics are those of the exported model on unseen groups.

    backbone: name and SHA-256 of the pre-trained weights that training began with; None (as in bundles that are older
    than this field) if it began with random ones.
    teacher: name and SHA-256 of the larger net whose answers were learned beside the labels; None if there was none.
    held_out: names of these groups; empty in older bundles, and where there are more than MOST_HELD_OUT.
    learned_from: names of the groups of more than one picture that it was trained on; empty as held_out is.
    learned_pictures: the first 12 hex digits of the SHA-256 of each picture that it was trained on, in rising order,
        one after the other; empty in older bundles, and where there are more than MOST_LEARNED_PICTURES.
    """

    dataset_digest: Digest
    source_commit: str
    trained_at: str
    released_by: str
    metrics: dict[str, Annotated[float, Field(allow_inf_nan=False)]]
    backbone: str | None = None
    teacher: str | None = None
    held_out: Annotated[tuple[str, ...], Field(max_length=MOST_HELD_OUT)] = ()
    learned_from: Annotated[tuple[str, ...], Field(max_length=MOST_HELD_OUT)] = ()
    learned_pictures: Annotated[
        str,
        Field(pattern=rf"^([0-9a-f]{{{PICTURE_DIGITS}}})*$", max_length=PICTURE_DIGITS * MOST_LEARNED_PICTURES),
    ] = ""


class Manifest(Section):
    """What a bundle says about itself; digests: file name -> SHA-256 of every other file in it.

    variants: models of other precisions, each in a file of its own; only in vi.bundle/2, and never empty there.
    """

    schema_: Literal["vi.bundle/1", "vi.bundle/2"] = Field(alias="schema")
    name: Name
    revision: Annotated[int, Field(ge=1)]
    classes: Annotated[tuple[DefectClass, ...], Field(min_length=1, max_length=1000, strict=False)]
    geometry: Geometry
    outputs: Outputs
    tolerance: Tolerance
    lineage: Lineage
    digests: dict[str, Digest]
    variants: dict[VariantName, Variant] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _classes_are_distinct(self) -> "Manifest":
        names = [item.name for item in self.classes]
        if len(set(names)) != len(names):
            raise ValueError(f"class names repeat: {sorted(names)}")
        return self

    @model_validator(mode="after")
    def _variants_belong_to_their_format(self) -> "Manifest":
        if bool(self.variants) != (self.schema_ == SCHEMAS[1]):
            raise ValueError(f"variants are in {SCHEMAS[1]}, where there is at least one, and in no other format")
        return self

    @model_serializer(mode="wrap")
    def _without_what_its_format_lacks(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        content: dict[str, Any] = write(self)
        if not self.variants:
            del content["variants"]
        return content

    def with_variants(self, variants: dict[VariantName, Variant]) -> "Manifest":
        """Return the same manifest with models of other precisions, in the format that this asks for."""
        return self.model_copy(update={"variants": variants, "schema_": SCHEMAS[1] if variants else SCHEMAS[0]})

    def tolerance_of(self, precision: Precision) -> Tolerance:
        """Return how far a device may be from the golden images with the model of this precision.

        Args:
            precision: of a model that the bundle holds.
        """
        return self.tolerance if precision == "f32" else self.variants[precision].tolerance


def file_of(precision: Precision) -> str:
    """Return the name of the model file of a precision."""
    return "model.onnx" if precision == "f32" else f"model_{precision}.onnx"
