"""The dials of a training run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from appliance.errors import ConfigError
from trainer.sizes import TABLE, NetShape
from trainer.strengths import Strengths

USUAL_STEPS, LEAST_USUAL_STEPS, STEPS_PER_DEFECTIVE = 10_000, 2_000, 40
"""Steps of a run whose length nobody has chosen: at most, at least, and for each defective picture to learn from."""

ENOUGH_STEPS_COMPARING, STEPS_PER_DEFECTIVE_COMPARING = 3_000, 4
"""Beside references such a run has no more than these, or so many for each defective picture where that is more."""

USUAL_BATCH, USUAL_SIDE_PX = 16, 320
LARGEST_RATE, LARGEST_VARIATION, LARGEST_GOOD_SHARE = 1.0, 3.0, 0.9
LARGEST_TEAM = 4
"""Processes that nobody has asked for are no more than this: each has fewer crops to normalise over."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The dials of a run; the rest is derived.

    Args:
        epochs: None when the clock decides.
        passes: over the training pictures in one epoch.
        budget_minutes: end after this long (the schedule then follows the clock, and a repetition is not exact).
        batch: crops per step.
        side_px: side of a crop.
        rate: peak learning rate.
        good_share: share of crops from good parts.
        seed: seed of everything random.
        threads: CPU threads for the arithmetic of one process; another process prepares the pictures.
        workers: processes among which each batch is divided, on all machines together.
        validate_every: epochs between validations.
        width: width of the net (trainer.sizes).
        depth: how many times the residual blocks of the smallest net.
        detail: channels of the net's block at stride 4.
        channels: 1 grey, 3 RGB.
        reference: whether the model sees each picture's reference too.
        device: "cpu" or "cuda".
        weights: name and digest of the file that the net begins with; None if its weights are drawn.
        teacher: name and digest of the run that teaches this one beside the labels; None: nobody does.
        variation: how much crops are disturbed (trainer.disturb): 0 not at all, 1 as usual.
        vary: single strengths that differ from the usual ones, before they are multiplied by the variation.
        patience: end after so many judgements without a better one, with the best weights; None: never before time.
    """

    epochs: int | None = None
    passes: int = 1
    budget_minutes: float | None = None
    batch: int = USUAL_BATCH
    side_px: int = USUAL_SIDE_PX
    rate: float = 3e-3
    good_share: float = 0.15
    seed: int = 0
    threads: int = 1
    workers: int = 1
    validate_every: int = 10
    width: int = TABLE["nano"].width
    depth: int = TABLE["nano"].depth
    detail: int = TABLE["nano"].detail
    channels: int = 1
    reference: bool = False
    device: str = "cpu"
    weights: str | None = None
    teacher: str | None = None
    variation: float = 1.0
    vary: Mapping[str, float] = field(default_factory=dict)
    patience: int | None = None

    @property
    def strengths(self) -> Strengths:
        """How much crops are disturbed at most."""
        return Strengths(**self.vary).times(self.variation)

    def shape(self, classes: int) -> NetShape:
        """Return what the weights of this run's net depend on.

        Args:
            classes: number of defect classes.
        """
        return NetShape(self.input_channels, classes, self.width, self.depth, self.detail)

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
        counts = {"--epochs": self.epochs, "--batch": self.batch, "--threads": self.threads}
        for option, number in (counts | {"--patience": self.patience}).items():
            if number is not None and number < 1:
                raise ConfigError(f"{option} {number}: must be at least 1")
        for option, value, most in (
            ("--rate", self.rate, LARGEST_RATE),
            ("--variation", self.variation, LARGEST_VARIATION),
            ("--good-share", self.good_share, LARGEST_GOOD_SHARE),
        ):
            if not 0 <= value <= most or (option == "--rate" and value == 0):
                raise ConfigError(f"{option} {value}: must be 0 to {most}{', and not 0' * (option == '--rate')}")
        Strengths(**self.vary).check()
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
