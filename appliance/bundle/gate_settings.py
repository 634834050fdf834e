"""How much worse a candidate may be, and how sure of it the gates must be (argued for in docs/challenger.md)."""

import math
from dataclasses import dataclass, fields
from typing import Annotated

from pydantic import Field

from appliance.bundle.section import Section
from appliance.errors import ConfigError

SHARES = (
    "alpha",
    "beta",
    "most_escapes",
    "most_overkill",
    "most_disagreement",
    "most_imbalance",
    "most_faults",
    "most_missed",
    "most_late",
    "most_skipped",
)
LARGEST_SCORE_SHIFT = 0.25
MOST_CANARY_SHARE = 0.5

Count = Annotated[int, Field(ge=0, le=1_000_000_000)]


@dataclass(frozen=True, slots=True, kw_only=True)
class GateSettings:
    """What SHADOW, CANARY and WATCH ask of a candidate; an assignment's `gates` has keys of the same names.

    alpha: probability of passing a candidate that is as bad as allowed or worse in one respect.
    beta: probability of failing one that is within what is allowed in every respect.
    shadow_parts, canary_parts, watch_parts: no PASS before so many; watch_h: nor before so many hours of production.
    patience: a gate that is undecided after so many times its parts fails.
    most_escapes: of the parts that the model in force rejects, those that the candidate accepts; of each class, too.
    most_overkill: of the parts that the model in force accepts, those that the candidate does not.
    most_disagreement: of all parts, those with another verdict.
    most_imbalance: of all parts, what may be diverted more, or less, than by the model in force.
    most_faults, most_missed, most_late: of all parts, those without an answer from the candidate, those over their
    deadline, those over the latency budget. most_skipped: of all parts, those that the candidate was too busy for.
    most_score_shift: mean difference of the top scores, up or down, on accepted and on rejected parts.
    most_crashes: of the candidate's process; one more fails.
    canary_factor: in CANARY, imbalance, faults, missed and late may be so many times as much as in WATCH.
    least_reject_ratio: of the reference's share of diverted parts; fewer are as suspicious as more; 0: do not ask.
    challenge_parts: known bad parts that must have been found before PASS of CANARY, and of WATCH.
    most_good_rejected: known good parts that may be diverted, in each gate; one more fails.
    longest_pause_s: a longer time without a part counts as this long. most_h: undecided after so many hours fails.
    """

    alpha: float = 0.01
    beta: float = 0.001
    shadow_parts: int = 500
    canary_parts: int = 200
    watch_parts: int = 2000
    watch_h: float = 24.0
    patience: float = 40.0
    most_escapes: float = 0.10
    most_overkill: float = 0.03
    most_disagreement: float = 0.05
    most_imbalance: float = 0.02
    most_faults: float = 0.01
    most_missed: float = 0.01
    most_late: float = 0.01
    most_skipped: float = 0.9
    most_score_shift: float = 0.1
    most_crashes: int = 2
    canary_factor: float = 3.0
    least_reject_ratio: float = 0.25
    challenge_parts: int = 0
    most_good_rejected: int = 1
    longest_pause_s: float = 600.0
    most_h: float = 336.0

    def __post_init__(self) -> None:
        """Refuse what no gate can judge by.

        Raises:
            ConfigError: a value is out of its range; whoever wrote the assignment or the configuration must correct it.
        """
        for each in fields(self):
            value = getattr(self, each.name)
            if not math.isfinite(value) or value < 0:
                raise ConfigError(f"gates: {each.name} is {value}; give a number that is not negative")
        for name in SHARES:
            if not 0 < getattr(self, name) < 1:
                raise ConfigError(f"gates: {name} is {getattr(self, name)}; give a share between 0 and 1")
        if self.least_reject_ratio >= 1:
            raise ConfigError(f"gates: least_reject_ratio is {self.least_reject_ratio}; give a share under 1, or 0")
        if not 0 < self.most_score_shift <= LARGEST_SCORE_SHIFT:
            raise ConfigError(
                f"gates: most_score_shift is {self.most_score_shift}; give one over 0 and up to {LARGEST_SCORE_SHIFT}"
            )
        if self.canary_factor < 1 or self.canary_factor * self._largest_of_canary > MOST_CANARY_SHARE:
            raise ConfigError(
                f"gates: canary_factor is {self.canary_factor}; give at least 1, and so little that no share in CANARY "
                f"is over {MOST_CANARY_SHARE}"
            )
        if min(self.shadow_parts, self.canary_parts, self.watch_parts, self.patience) < 1:
            raise ConfigError("gates: shadow_parts, canary_parts, watch_parts and patience must be at least 1")
        if self.most_h <= self.watch_h or self.longest_pause_s == 0:
            raise ConfigError("gates: give a most_h over watch_h, and a longest_pause_s over 0")

    @property
    def _largest_of_canary(self) -> float:
        return max(self.most_imbalance, self.most_faults, self.most_missed, self.most_late)


class Gates(Section):
    """How much a release must show before it stays: parts judged in shadow, on the line, and watched afterwards.

    What is not given is as in appliance.bundle.gate_settings.
    """

    shadow_parts: Count
    canary_parts: Count
    watch_parts: Count
    watch_h: Annotated[float, Field(ge=0, le=8760)]
    alpha: float | None = None
    beta: float | None = None
    patience: float | None = None
    most_escapes: float | None = None
    most_overkill: float | None = None
    most_disagreement: float | None = None
    most_imbalance: float | None = None
    most_faults: float | None = None
    most_missed: float | None = None
    most_late: float | None = None
    most_skipped: float | None = None
    most_score_shift: float | None = None
    most_crashes: int | None = None
    canary_factor: float | None = None
    least_reject_ratio: float | None = None
    challenge_parts: int | None = None
    most_good_rejected: int | None = None
    longest_pause_s: float | None = None
    most_h: float | None = None

    def settings(self) -> GateSettings:
        """Return what the gates judge by.

        Raises:
            ConfigError: no gate can judge by that; whoever wrote the assignment must correct it.
        """
        return GateSettings(**self.model_dump(exclude_none=True))
