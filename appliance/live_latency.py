"""What live parts took in the model, and what their time there is held to."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LatencyTerms:
    """What a part's time in the model is held to; another release of a product has other terms.

    product: that the part is one of.
    certificate: id of the one by which its engine judges.
    budget_ms: that all of the part's pictures together may take in the model, the same for each part of these terms.
    """

    product: str
    certificate: str
    budget_ms: float


@dataclass(frozen=True, slots=True)
class LiveLatency:
    """What live parts of a product took in the model: milliseconds a part, and the budget that they must keep."""

    product: str
    certificate: str
    runs: int
    p50_ms: float
    p99_ms: float
    budget_ms: float

    @property
    def terms(self) -> LatencyTerms:
        """Whose times these are."""
        return LatencyTerms(self.product, self.certificate, self.budget_ms)

    @property
    def is_within(self) -> bool:
        """Whether 99 in 100 parts were fast enough."""
        return self.p99_ms <= self.budget_ms
