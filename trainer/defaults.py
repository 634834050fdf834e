"""What nobody has chosen is derived from the data: crop, batch, reference, length."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from appliance.errors import ConfigError
from trainer.datasets.sample import Dataset, picture_size
from trainer.datasets.split import Split
from trainer.pictures import steps_per_pass
from trainer.plan import (
    ENOUGH_STEPS_COMPARING,
    LEAST_USUAL_STEPS,
    STEPS_PER_DEFECTIVE,
    STEPS_PER_DEFECTIVE_COMPARING,
    USUAL_BATCH,
    USUAL_SIDE_PX,
    USUAL_STEPS,
    Plan,
)
from trainer.progress import tracked
from trainer.strengths import Strengths

LARGEST_SIDE_PX = 640

DEFECT_ROOM = 1.6
"""A crop's side over the longer side of a large defect: of each class, all but one in ten are smaller."""

DUST_SHARE_OF_A_DEFECT = 1 / 3
"""Of the smallest defect's shorter side: a larger speck could be taken for one."""

LEAST_JUDGEMENTS = 15
"""Of a run whose length nobody has chosen, so that a short one can be followed, and lose patience."""

LEAST_STEPS = 50
"""Of an epoch, so that little data does not mean thousands of epochs with a checkpoint each."""


def complete(asked: Plan, split: Split, *, side_px: int | None, batch: int | None, reference: str) -> Plan:
    """Derive from the data what nobody has chosen.

    Args:
        asked: what was chosen, and what never depends on the data.
        split: both halves.
        side_px: side of a crop, or None.
        batch: crops per step, or None: as many pixels as 16 crops of 320.
        reference: "yes", "no", or "auto": if every picture names one.

    Returns:
        The plan of the run.

    Raises:
        ConfigError: A reference is asked for and a picture names none.
    """
    compares = uses_reference(split.whole(), reference)
    side_px = side_px or usual_side_px(split.train)
    batch = batch or max(4, round(USUAL_BATCH * (USUAL_SIDE_PX / side_px) ** 2))
    vary = {**usual_strengths(split.train), **asked.vary}
    plan = replace(asked, side_px=side_px, batch=batch, reference=compares, vary=vary)
    plan.check()
    if plan.epochs is None:
        steps = steps_per_pass(split.train, plan)
        plan = replace(plan, passes=-(-LEAST_STEPS // steps))
        if plan.budget_minutes is None:
            epochs = max(1, round(usual_steps(split.train, compares) / (plan.passes * steps)))
            often = min(plan.validate_every, max(1, epochs // LEAST_JUDGEMENTS))
            plan = replace(plan, epochs=epochs, validate_every=often)
    return plan


def usual_steps(train: Dataset, compares: bool) -> int:
    """Return how long to learn where nobody has chosen that: a run longer than that learns nothing more.

    Args:
        train: the training half.
        compares: whether the model sees each picture's reference too, which needs fewer views of each defect.
    """
    defective = sum(not sample.is_good for sample in train.samples)
    steps = max(LEAST_USUAL_STEPS, STEPS_PER_DEFECTIVE * defective)
    if compares:
        steps = min(steps, max(ENOUGH_STEPS_COMPARING, STEPS_PER_DEFECTIVE_COMPARING * defective))
    return min(USUAL_STEPS, steps)


def uses_reference(dataset: Dataset, reference: str) -> bool:
    """Return whether each picture is learned beside its reference.

    Args:
        dataset: all of it.
        reference: "yes", "no", or "auto": if every picture names one.

    Raises:
        ConfigError: A reference is asked for and a picture names none.
    """
    without = next((sample for sample in dataset.samples if sample.reference is None), None)
    if reference == "yes" and without:
        raise ConfigError(f"--reference yes: {without.image} names no reference; name one for each picture")
    return reference != "no" and without is None


def lone_pictures(dataset: Dataset, reference: str) -> str:
    """Say in words that some pictures name no reference while others do.

    Args:
        dataset: all of it.
        reference: as `uses_reference` takes it.

    Returns:
        The words; empty if none or all name one, or if it was said whether the model compares.
    """
    without = [sample for sample in dataset.samples if sample.reference is None]
    if reference != "auto" or len(without) in (0, len(dataset.samples)):
        return ""
    return (
        f"{len(without)} of {len(dataset.samples)} pictures name no reference, the first {without[0].image}: so the "
        "model does not compare. Name one for each, leave these out, or take --reference no"
    )


def usual_side_px(train: Dataset) -> int:
    """Return a crop's side in which large defects of every class have room, 320 to 640.

    Above 320 no larger than the largest picture, because the rest of the crop would be empty.

    Args:
        train: the training half.

    Raises:
        ConfigError: A picture cannot be read.
    """
    wanted = 0.0
    for label in range(len(train.classes)):
        boxes = np.concatenate([np.zeros((0, 4), np.float32), *(s.boxes[s.labels == label] for s in train.samples)])
        if len(boxes):
            wanted = max(wanted, DEFECT_ROOM * float(np.quantile((boxes[:, 2:] - boxes[:, :2]).max(axis=1), 0.9)))
    if wanted > USUAL_SIDE_PX:
        wanted = min(wanted, largest_side_px(train))
    return int(min(LARGEST_SIDE_PX, max(USUAL_SIDE_PX, -(-wanted // 32) * 32)))


def largest_side_px(train: Dataset) -> int:
    """Return the longest side of all pictures: a crop of more can only be filled up, or put together from several.

    Args:
        train: the training half.

    Raises:
        ConfigError: A picture cannot be read.
    """
    return max(max(picture_size(s.image, "the data set")) for s in tracked(train.samples, "picture sizes"))


def usual_strengths(train: Dataset) -> dict[str, float]:
    """Return the strengths that this data asks for where they are not the usual ones.

    Pictures of binarised copper are made after the light: no shadow is left on them, no smear, and no part lies askew.
    A speck of dust, which is no defect, has no more than a third of the smallest defect.

    Args:
        train: the training half.
    """
    if train.copper is not None:
        return dict.fromkeys(("shadow_percent", "motion_px", "dust_px", "turn_deg"), 0.0)
    sides = [float((sample.boxes[:, 2:] - sample.boxes[:, :2]).min()) for sample in train.samples if len(sample.boxes)]
    largest_px = min(sides, default=math.inf) * DUST_SHARE_OF_A_DEFECT
    return {"dust_px": round(largest_px, 2)} if largest_px < Strengths().dust_px else {}
