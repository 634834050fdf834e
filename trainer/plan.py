"""The dials of a training run."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from appliance.errors import ConfigError
from trainer.datasets.sample import Dataset
from trainer.datasets.split import Split

USUAL_STEPS = 10_000
"""Steps of a run whose length nobody has chosen."""

USUAL_BATCH, USUAL_SIDE_PX, LARGEST_SIDE_PX = 16, 320, 640
LARGEST_TEAM = 4
"""Processes that nobody has asked for are no more than this: each has fewer crops to normalise over."""

DEFECT_ROOM = 1.6
"""A crop's side over the longer side of a large defect (all but one in ten are smaller)."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The dials of a run; the rest is derived.

    Args:
        epochs: passes over the training pictures; None when the clock decides.
        budget_minutes: end after this long (the schedule then follows the clock, and a repetition is not exact).
        batch: crops per step.
        side_px: side of a crop.
        rate: peak learning rate.
        good_share: share of crops from good parts.
        seed: seed of everything random.
        threads: CPU threads for the arithmetic of one process; one more prepares the pictures.
        workers: processes on this machine among which each batch is divided.
        validate_every: epochs between validations.
        width: width of the net.
        channels: 1 grey, 3 RGB.
        reference: whether the model sees each picture's reference too.
    """

    epochs: int | None = None
    budget_minutes: float | None = None
    batch: int = USUAL_BATCH
    side_px: int = USUAL_SIDE_PX
    rate: float = 3e-3
    good_share: float = 0.15
    seed: int = 0
    threads: int = 1
    workers: int = 1
    validate_every: int = 10
    width: int = 48
    channels: int = 1
    reference: bool = False

    @property
    def input_channels(self) -> int:
        """Channels that the net sees: those of the picture, and as many of its reference."""
        return self.channels * (2 if self.reference else 1)

    def check(self) -> None:
        """Refuse a plan that cannot be carried out.

        Raises:
            ConfigError: Two options exclude each other or a value is out of range; the message names the option.
        """
        if self.epochs is not None and self.budget_minutes is not None:
            raise ConfigError("give either --epochs or --budget-minutes, not both")
        if self.budget_minutes is not None and not 0 < self.budget_minutes < math.inf:
            raise ConfigError(f"--budget-minutes {self.budget_minutes}: must be a number of minutes above 0")
        if not 0 <= self.seed < 2**63:
            raise ConfigError(f"--seed {self.seed}: must be 0 or more, and below 2^63")
        for option, number in (("--epochs", self.epochs), ("--batch", self.batch), ("--threads", self.threads)):
            if number is not None and number < 1:
                raise ConfigError(f"{option} {number}: must be at least 1")
        if not 1 <= self.workers <= self.batch:
            raise ConfigError(f"--workers {self.workers}: must be 1 to {self.batch}, the crops of a step")
        if self.side_px < 32:
            raise ConfigError(f"--crop {self.side_px}: must be at least 32")
        if self.batch * (self.side_px // 32) ** 2 < 2:
            raise ConfigError(
                f"--crop {self.side_px} with --batch {self.batch}: leaves one value to normalise; enlarge one of them"
            )
        if self.side_px % 32:
            raise ConfigError(f"--crop {self.side_px}: must be a multiple of 32")
        if self.width % 8:
            raise ConfigError(f"--width {self.width}: must be a multiple of 8; of 16 it is fastest")


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
    without = [sample for sample in split.whole().samples if sample.reference is None]
    if reference == "yes" and without:
        raise ConfigError(f"--reference yes: {without[0].image} names no reference; name one for each picture")
    side_px = side_px or _side_px(split.train)
    batch = batch or max(4, round(USUAL_BATCH * (USUAL_SIDE_PX / side_px) ** 2))
    plan = replace(asked, side_px=side_px, batch=batch, reference=reference != "no" and not without)
    plan.check()
    if plan.epochs is None and plan.budget_minutes is None:
        bad = sum(not sample.is_good for sample in split.train.samples)
        steps = max(1, round(bad / (1 - plan.good_share) / batch))
        plan = replace(plan, epochs=-(-USUAL_STEPS // steps))
    return plan


def _side_px(train: Dataset) -> int:
    """Return a side in which all but the largest defects have room."""
    sides = [float((box[2:] - box[:2]).max()) for sample in train.samples for box in sample.boxes]
    wanted = DEFECT_ROOM * float(np.quantile(sides, 0.9)) if sides else 0.0
    return int(min(LARGEST_SIDE_PX, max(USUAL_SIDE_PX, -(-wanted // 32) * 32)))
