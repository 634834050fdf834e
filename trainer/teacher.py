"""Who teaches a net: a finished run, whose averaged weights answer on the same crops."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from appliance.errors import ConfigError
from trainer.checkpoint import Checkpoint, averaged_net, load_checkpoint
from trainer.model import Net
from trainer.sizes import NetShape

_SEEN = {1: "grey", 2: "grey beside a reference", 3: "RGB", 6: "RGB beside a reference"}


@dataclass(frozen=True, slots=True, eq=False)
class Teacher:
    """A net that has learned.

    Args:
        name: of its run's folder.
        digest: SHA-256 of its `final.pt`, 64 hexadecimal digits.
        shape: of the net.
        tensors: its averaged weights.
        dataset_digest: of the data that it was trained and judged on; empty if it is not known.
    """

    name: str
    digest: str
    shape: NetShape
    tensors: dict[str, Tensor]
    dataset_digest: str = ""

    def __str__(self) -> str:
        return f"{self.name} sha256:{self.digest}"

    def net(self, device: torch.device) -> Net:
        """Build the net that answers; it learns no more.

        Args:
            device: where the arithmetic runs.

        Returns:
            The net, in evaluation mode.
        """
        net = Net(self.shape)
        net.load_state_dict(self.tensors)
        net.requires_grad_(requires_grad=False)
        return net.eval().to(device)


def find_teacher(run: Path, classes: tuple[str, ...], channels: int, holdout: tuple[str, ...]) -> Teacher:
    """Read the run that is to teach another one.

    Args:
        run: its folder.
        classes: names of the classes of the net that learns, in the order of the labels.
        channels: that this net sees.
        holdout: groups that this net is judged on.

    Returns:
        The teacher.

    Raises:
        ConfigError: There is no finished run, it is damaged, it answers something else, or it has learned from what
            the other one is judged on.
    """
    file = run / "final.pt"
    if not file.is_file():
        raise ConfigError(
            f"{run}: holds no finished run (no final.pt); let it train to its end, or name another with --teacher"
        )
    state = load_checkpoint(file)
    _check(state, file, classes, channels, holdout)
    tensors = averaged_net(state, file).state_dict()
    if not all(torch.isfinite(tensor).all() for tensor in tensors.values()):
        raise ConfigError(f"{file}: holds a number that is none, so it can teach nothing; train it again")
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    return Teacher(run.resolve().name, digest, state.shape, tensors, state.dataset_digest)


def _check(state: Checkpoint, file: Path, classes: tuple[str, ...], channels: int, holdout: tuple[str, ...]) -> None:
    """Refuse a teacher of something else, and one through which the held-out groups would be learned after all."""
    if state.classes != classes:
        raise ConfigError(
            f"{file}: knows the classes {', '.join(state.classes)}, and the data has {', '.join(classes)}; "
            "--teacher needs a run with the same ones in the same order"
        )
    if state.shape.channels != channels:
        seen, asked = (_SEEN.get(count, f"{count} channels") for count in (state.shape.channels, channels))
        raise ConfigError(
            f"{file}: sees {seen}, and this run would see {asked}; choose --channels and --reference as for --teacher"
        )
    learned = sorted(set(holdout) - set(state.holdout))
    if learned:
        more = f" and {len(learned) - 3} more" if len(learned) > 3 else ""
        raise ConfigError(
            f"{file}: did not hold out {', '.join(learned[:3])}{more}, which this run is judged on; its figures would "
            "flatter: repeat the --holdout and --seed of --teacher, or train that one again"
        )
