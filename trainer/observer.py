"""Who looks on while a run goes: a tracking server, or a search that gives up on what does not get better."""

from __future__ import annotations

from collections.abc import Mapping

from trainer.checkpoint import Checkpoint
from trainer.datasets.sample import Dataset
from trainer.model import Net
from trainer.validate import Figures


class Observer:
    """Sees a run from its first process; this one looks away. What it raises ends the run."""

    def begins(self, state: Checkpoint) -> None:
        """See where the run begins: at nothing, or at the end of an epoch."""

    def sees_epoch(self, entry: Mapping[str, float]) -> None:
        """See what the log gets after an epoch; `ap_pooled` is there when the held-out groups were judged."""

    def ends(self, figures: Figures, net: Net, held_out: Dataset) -> None:
        """See the final figures, and the net that they are of."""
