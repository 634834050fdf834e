"""When to stop early: a run that its judgements no longer praise, ends with the weights that they praised most."""

from __future__ import annotations

from pathlib import Path

from trainer.checkpoint import Checkpoint, averaged_net, load_checkpoint, save_checkpoint
from trainer.learner import Learner
from trainer.model import Net
from trainer.team import Team

BEST = "best.pt"


def remember(run: Learner, ap: float, folder: Path) -> None:
    """Note a judgement, and keep the weights if it is the best so far.

    Args:
        run: as it was judged.
        ap: pooled AP of the held-out groups.
        folder: of the run.

    Raises:
        StorageError: The disk is full or refuses.
    """
    if ap > run.state.best_ap:
        run.state.best_ap, run.state.judged_since_best = ap, 0
        save_checkpoint(folder / BEST, run.snapshot())
    else:
        run.state.judged_since_best += 1


def has_run_out(state: Checkpoint, patience: int | None, team: Team) -> bool:
    """Tell, in all processes alike, whether too many judgements have passed without a better one.

    Args:
        state: of the run.
        patience: so many may pass; None: any number.
        team: those who learn together.
    """
    return patience is not None and team.agree(state.judged_since_best) >= patience


def praised(run: Learner, patience: int | None, folder: Path) -> tuple[Checkpoint, Net]:
    """Return the weights that a run ends with: the best that were judged if it could lose patience, else the last.

    Args:
        run: at its end.
        patience: of the plan.
        folder: of the run.

    Returns:
        A checkpoint, and its averaged net.

    Raises:
        ConfigError: The file of the best weights is damaged.
    """
    if patience is None or run.state.best_ap < 0:
        return run.snapshot(), run.average
    state = load_checkpoint(folder / BEST)
    return state, averaged_net(state, folder / BEST)
