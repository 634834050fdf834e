"""What was derived of a run, for the person who starts it."""

from __future__ import annotations

from dataclasses import asdict

from trainer.datasets.split import Split
from trainer.pictures import steps_per_pass
from trainer.plan import Plan


def in_words(plan: Plan, split: Split) -> str:
    """Say what was derived of a run.

    Args:
        plan: complete.
        split: both halves.
    """
    steps = plan.passes * steps_per_pass(split.train, plan)
    length = f"{plan.epochs} epochs" if plan.budget_minutes is None else f"{plan.budget_minutes:g} minutes, in epochs"
    early = "" if plan.patience is None else f", ended after {plan.patience} judgements without a better one"
    strengths = ", ".join(f"{name} {value:g}" for name, value in asdict(plan.strengths).items())
    processes, threads = _so_many(plan.workers, "process", "es"), _so_many(plan.threads, "thread", "s")
    return (
        f"it learns for {length} of {steps} steps, judged after every {plan.validate_every} epochs{early}; on "
        f"{plan.device}, by {processes} of {threads}; learning rate {plan.rate:g} at most; "
        f"{100 * plan.good_share:g} % of the crops show good parts; seed {plan.seed}\n"
        f"crops vary by {strengths}"
    )


def _so_many(count: int, name: str, more: str) -> str:
    return f"{count} {name}{more * (count != 1)}"
