"""Where a run begins: at nothing, or at the end of its last whole epoch if that is the same run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from appliance.errors import ConfigError
from trainer.checkpoint import Checkpoint, averaged_net, load_checkpoint
from trainer.names import listed
from trainer.plan import Plan
from trainer.sizes import Size, SizeName, name_of

_OPTIONS = {"side_px": "--crop", "depth": "--size of depth"}
"""Dials that the command line calls otherwise."""

_SHAPE = ("width", "depth", "detail")
"""Dials that `--size` stands for."""


def beginning(folder: Path, asked: Checkpoint) -> Checkpoint:
    """Return the state of a run's last whole epoch, or of none.

    Args:
        folder: of the run.
        asked: the run that is asked for, before its first step.

    Raises:
        ConfigError: Another run is in the folder, or one of another version of the trainer, or a damaged one.
    """
    last = folder / "last.pt"
    if not last.is_file():
        return asked
    found = load_checkpoint(last)
    if found.holdout != asked.holdout:
        raise ConfigError(
            f"{last}: held out {_told_beside(found.holdout, asked.holdout)}, and now it would be "
            f"{_told_beside(asked.holdout, found.holdout)}; repeat --holdout and --seed, or start another run"
        )
    if found.dataset_digest not in ("", asked.dataset_digest):
        raise ConfigError(f"{last}: was trained on other pictures or labels; restore them, or start another run")
    averaged_net(found, last)  # first, because what an older trainer made cannot be repeated
    differing = differences(found, asked)
    if differing:
        raise ConfigError(f"{last}: was made with {', '.join(differing)}; repeat that, or start another run")
    if not found.source_commit.endswith(asked.source_commit):
        found.source_commit += f", resumed with {asked.source_commit}"
    return found


def of_length(plan: Plan, folder: Path) -> Plan:
    """Return a plan that is as long as the run in a folder: what was derived of its data once, holds for it.

    Args:
        plan: complete; nobody has chosen its length.
        folder: of the run; if none is there, or it followed the clock, the plan stays as it is.

    Raises:
        ConfigError: The run's file is damaged.
    """
    last = folder / "last.pt"
    found = load_checkpoint(last).plan if last.is_file() else {}
    if found.get("epochs") is None:
        return plan
    return replace(plan, **{name: found.get(name, _usual(name)) for name in ("epochs", "passes", "validate_every")})


def _told_beside(groups: tuple[str, ...], others: tuple[str, ...]) -> str:
    """List groups, those first that are not among others: of many only a few are told."""
    both = frozenset(others)
    return listed(sorted(groups, key=lambda name: (name in both, name)))


def differences(found: Checkpoint, asked: Checkpoint) -> list[str]:
    """Say in words which options of two runs differ.

    Args:
        found: the run that is there.
        asked: the run that is asked for.

    Returns:
        One item for each option, such as "--seed 1 (now 2)".
    """
    lines = []
    was_size, now_size = (_size(state) for state in (found, asked))
    told_by_size = _SHAPE if was_size and now_size else ()
    if told_by_size and was_size != now_size:
        lines.append(f"--size {was_size} (now {now_size})")
    for name in sorted(found.plan.keys() | asked.plan.keys()):
        was, now = (state.plan.get(name, _usual(name)) for state in (found, asked))
        if name in told_by_size:
            continue
        if was != now and name == "detail":
            lines.append(f"{was} channels at stride 4 (now {now}; no option changes that)")
        elif was != now:
            option = _OPTIONS.get(name, "--" + name.replace("_", "-"))
            hint = ", or as many processes" if name == "workers" else ""
            lines.append(f"{option} {_told(was)} (now {_told(now)}{hint})")
    if found.classes != asked.classes:
        lines.append(f"the classes {', '.join(found.classes)} (now {', '.join(asked.classes)})")
    if not lines and found.shape != asked.shape:
        lines.append(f"another net, {found.shape} (now {asked.shape})")
    return lines


def _size(state: Checkpoint) -> SizeName | None:
    """Return which size a run's net has; None if its width or its age is of none."""
    return name_of(Size(*(state.plan.get(name, _usual(name)) for name in _SHAPE)))


def _usual(name: str) -> Any:
    """Return what a dial stood at in a run that is older than the dial."""
    return getattr(Plan(), name, None)


def _told(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "not given" if value is None else str(value)
