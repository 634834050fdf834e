"""One generated picture with its truth; everything in it is drawn from (seed, index)."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from trainer.model import PAD_VALUE
from trainer.references import misplaced
from trainer.surfaces.artwork import Board, comb, frayed, perforation, print_, silhouette
from trainer.surfaces.fields import Field, Mask
from trainer.surfaces.flaws import FLAWS, Flaw
from trainer.surfaces.light import Rig, draw_rig, drifted, shoot
from trainer.surfaces.materials import MATERIALS, laminate
from trainer.surfaces.structure import PART_NAMES, TRACK_NAMES, Structure, plant

VERSION = "1"
"""Of the generator: another one draws other pictures from the same seed."""

CLASSES = ("scratch", "crack", "pit", "blob", "stain", "chip", "missing", "excess",
           "hole", "bite", "cut", "island", "spur", "bridge")  # fmt: skip

SOUND_SHARE, REFERENCE_SHARE = 0.33, 0.5
"""Shares of the samples without any defect, and with a reference."""

MOST_DEFECTS = 4
BOX_MARGIN_PX = 2
LEAST_BOX_PX = 8
APART_PX = 5
_TRIES = 4


@dataclass(frozen=True, slots=True, eq=False)
class SurfaceSample:
    """A generated picture.

    Args:
        pixels: uint8 [side, side, 2]: the picture, and its reference without defects (or PAD_VALUE everywhere).
        boxes: float32 [N, 4], x1 y1 x2 y2 in pixels.
        labels: int64 [N], index into CLASSES.
        mask: uint8 [side, side], 0 where nothing was planted, else 1 + label.
        material: of which surface.
    """

    pixels: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    mask: Mask
    material: str


@dataclass(slots=True)
class _Scene:
    """A surface under even light, sound and with what was planted so far."""

    sound: Field
    broken: Field
    roughness: float
    rig: Rig
    part: Mask | None
    mask: Mask
    boxes: list[tuple[int, int, int, int]]
    labels: list[int]


def generate(seed: int, index: int, side: int = 256, has_reference: bool | None = None) -> SurfaceSample:
    """Draw a sample.

    Args:
        seed: of the whole set, 0 or more.
        index: of the sample, 0 or more.
        side: of the picture in pixels, a multiple of 32.
        has_reference: whether the second channel is a reference; None draws it. The picture is the same either way.

    Returns:
        The sample; the same arguments give the same one.
    """
    rng = np.random.default_rng((seed, index))
    paired = bool(rng.random() < REFERENCE_SHARE)
    material = str(rng.choice([*MATERIALS, "board"], p=[0.2, 0.13, 0.14, 0.11, 0.42]))
    rig = draw_rig(rng, binary_share=0.3 if material == "board" else 0.0)
    structure = _structure(material, rig, side, rng)
    wanted = 0 if rng.random() < SOUND_SHARE else int(rng.integers(1, MOST_DEFECTS + 1))
    scene = _scene(material, structure, rig, side, rng, wanted)
    picture = shoot(scene.broken, rig, rng)
    reference = np.full_like(picture, PAD_VALUE)
    if paired if has_reference is None else has_reference:
        other = drifted(rig, rng) if rng.random() < 0.75 or rig.is_binary else draw_rig(rng)
        reference = misplaced(shoot(scene.sound, other, rng)[:, :, None], rng)[:, :, 0]
    return SurfaceSample(
        np.stack((picture, reference), axis=2),
        np.array(scene.boxes, np.float32).reshape(-1, 4),
        np.array(scene.labels, np.int64),
        scene.mask,
        material,
    )


def _structure(material: str, rig: Rig, side: int, rng: np.random.Generator) -> Structure | Field:
    """Draw a sound surface: with a structure, or a field of grey values where it has none."""
    level = rng.uniform(45, 205)
    if material == "board":
        return _board(rig, side, rng)
    field = level + MATERIALS[material](rng, side)
    kind = rng.random()
    if material == "fabric" or kind > 0.65:
        return np.asarray(field, np.float32)
    other = level + rng.choice([-1, 1]) * rng.uniform(35, 110)
    if not 12 < other < 245:
        other = 2 * level - other
    back = np.asarray(np.clip(other, 8, 247) + rng.uniform(0.2, 1) * laminate(rng, side), np.float32)
    soft = rng.uniform(0.5, 1.2)
    if kind < 0.35:
        mask, names = silhouette(rng, side), PART_NAMES
    else:
        pattern = perforation if kind < 0.47 else comb if kind < 0.55 else print_
        mask, names = pattern(rng, side), TRACK_NAMES
    return Structure(mask, back, np.asarray(field, np.float32), soft, names, float(field.std()))


def _board(rig: Rig, side: int, rng: np.random.Generator) -> Structure:
    board = Board(rng, side)
    copper = frayed(rng, board.copper)
    is_dark = rng.random() < 0.5
    if rig.is_binary:
        ground, track = (255.0, 0.0) if is_dark else (0.0, 255.0)
        flat = np.zeros((side, side), np.float32)
        return Structure(copper, flat + np.float32(ground), flat + np.float32(track), 0.6, TRACK_NAMES, 0.0)
    ground = rng.uniform(25, 130)
    track = ground + rng.uniform(30, 120)
    if is_dark:
        ground, track = track, ground
    pad = track + rng.uniform(0, 50) if rng.random() < 0.5 else track
    tone = track + (min(pad, 250) - track) * board.pads.astype(np.float32)
    material = np.asarray(tone + laminate(rng, side), np.float32)
    grain = laminate(rng, side)
    soft = rng.uniform(0.5, 1.1)
    return Structure(copper, np.float32(ground) + grain, material, soft, TRACK_NAMES, float(grain.std()))


def _scene(
    material: str, drawn: Structure | Field, rig: Rig, side: int, rng: np.random.Generator, wanted: int
) -> _Scene:
    """Plant as many defects as wanted, or as there is room for."""
    mask = np.zeros((side, side), np.uint8)
    if not isinstance(drawn, Structure):
        scene = _Scene(drawn, drawn.copy(), float(drawn.std()), rig, None, mask, [], [])
        plain = wanted
    else:
        sound = drawn.render()
        part = drawn.mask.copy() if drawn.names is PART_NAMES else None
        scene = _Scene(sound, sound, drawn.roughness, rig, part, mask, [], [])
        share = 0.45 if part is not None else 0.85
        of_structure = wanted if rig.is_binary else int((rng.random(wanted) < share).sum())
        for _ in range(of_structure):
            _plant_in_structure(scene, drawn, rng)
        if scene.boxes:
            scene.broken = drawn.render()
        elif wanted > of_structure:
            scene.broken = sound.copy()
        plain = wanted - of_structure
    for _ in range(plain):
        _plant_flaw(scene, material, rng)
    return scene


def _plant_in_structure(scene: _Scene, structure: Structure, rng: np.random.Generator) -> None:
    before = structure.mask
    planted = plant(structure, rng)
    if planted is None:
        return
    name, removed = planted
    left, top, width, height = cv2.boundingRect(removed)
    if not _note(scene, name, removed, left, top, width, height):
        structure.mask = before


def _plant_flaw(scene: _Scene, material: str, rng: np.random.Generator) -> None:
    choices = FLAWS[material]
    name, draw = choices[int(rng.integers(len(choices)))]
    flaw = draw(rng, scene.rig.angle)
    side = scene.mask.shape[0]
    height, width = flaw.shape.shape
    if max(height, width) > side:
        return
    shape = (flaw.shape > 0.25).astype(np.uint8)
    if not cv2.countNonZero(shape):
        return
    for _ in range(_TRIES):
        top, left = int(rng.integers(0, side - height + 1)), int(rng.integers(0, side - width + 1))
        window = (slice(top, top + height), slice(left, left + width))
        if scene.part is not None and not scene.part[window][shape > 0].all():
            continue
        x, y, wide, high = cv2.boundingRect(shape)
        if _note(scene, name, shape, left + x, top + y, wide, high, (left, top)):
            scene.broken[window] = _blended(scene.broken[window], flaw, scene, rng)
            return


def _blended(surface: Field, flaw: Flaw, scene: _Scene, rng: np.random.Generator) -> Field:
    """Put a defect on a piece of surface; its contrast stands out from the surface and from the noise."""
    least = max(12.0, 1.5 * scene.roughness, 3.0 * scene.rig.noise) * (1 + 0.5 * scene.rig.blur_px)
    contrast = min(120.0, least * float(np.exp(rng.uniform(0, 1.5))))
    level = float(cv2.mean(surface)[0])
    tone = level + flaw.tone * contrast
    if not 5 < tone < 250:  # there is no room above or below
        tone = level - flaw.tone * contrast
    sign = 1.0
    middle = float(flaw.shade.sum()) * contrast / max(1.0, float(flaw.shape.sum()))
    if not 0 < level + middle < 250:
        sign = -1.0
    mixed = surface * (1 - flaw.cover) + np.float32(np.clip(tone, 0, 255)) * flaw.cover
    return np.asarray(mixed + np.float32(sign * contrast) * flaw.shade, np.float32)


def _note(
    scene: _Scene, name: str, shape: Mask, left: int, top: int, width: int, height: int, at: tuple[int, int] = (0, 0)
) -> bool:
    """Write a defect down unless it is too near to another one."""
    side = scene.mask.shape[0]
    margin_x, margin_y = (max(BOX_MARGIN_PX, -(-(LEAST_BOX_PX - length) // 2)) for length in (width, height))
    box = (max(0, left - margin_x), max(0, top - margin_y),
           min(side, left + width + margin_x), min(side, top + height + margin_y))  # fmt: skip
    near = APART_PX
    for x1, y1, x2, y2 in scene.boxes:
        if box[0] < x2 + near and x1 < box[2] + near and box[1] < y2 + near and y1 < box[3] + near:
            return False
    label = CLASSES.index(name)
    window = scene.mask[at[1] : at[1] + shape.shape[0], at[0] : at[0] + shape.shape[1]]
    window[shape > 0] = 1 + label
    scene.boxes.append(box)
    scene.labels.append(label)
    return True
