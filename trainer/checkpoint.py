"""What a run needs to go on after a kill, in one file that is either the old one or the new one."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import struct
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from appliance.bundle.whole_file import write_whole
from appliance.errors import ConfigError
from trainer.model import Net
from trainer.sizes import NetShape

DAMAGE = (RuntimeError, ValueError, TypeError, LookupError, EOFError, struct.error, pickle.UnpicklingError)
"""What torch raises when it reads anything but a checkpoint."""


@dataclass(slots=True)
class Checkpoint:
    """The state of a run between two epochs.

    Args:
        plan: the run's dials as a dict.
        shape: what the weights depend on.
        classes: names of the classes, in the order of the labels.
        epoch: epochs done.
        step: steps done.
        elapsed_ns: time spent so far.
        holdout: names of the groups that the weights were never fitted to.
        dataset_digest: of both halves; empty if the run is older than this field.
        source_commit: of the trainer that fitted the weights.
        trained_at: when they were last fitted, ISO 8601 in UTC.
        best_ap: best pooled AP of a judgement so far, if the run can lose patience; below 0 before the first.
        judged_since_best: judgements since then.
        weights: state of the net in training.
        average: state of the averaged net, the one that is exported.
        optimizer: state of the optimizer.
    """

    plan: dict[str, Any]
    shape: NetShape
    classes: tuple[str, ...]
    epoch: int = 0
    step: int = 0
    elapsed_ns: int = 0
    holdout: tuple[str, ...] = ()
    dataset_digest: str = ""
    source_commit: str = "unknown"
    trained_at: str = ""
    best_ap: float = -1.0
    judged_since_best: int = 0
    weights: dict[str, Tensor] = field(default_factory=dict)
    average: dict[str, Tensor] = field(default_factory=dict)
    optimizer: dict[str, Any] = field(default_factory=dict)

    @property
    def averaged_digest(self) -> str:
        """SHA-256 in hexadecimal of the averaged weights alone: of equal ones it is equal, whenever they were made."""
        found = hashlib.sha256()
        for name, tensor in sorted(self.average.items()):
            found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            found.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        return found.hexdigest()


def save_checkpoint(path: Path, state: Checkpoint) -> None:
    """Write a checkpoint by atomic rename.

    Args:
        path: replaced only when the new file is complete on disk.
        state: what to write.

    Raises:
        StorageError: The disk is full or refuses.
    """
    content = {name: getattr(state, name) for name in Checkpoint.__slots__}
    content["shape"] = state.shape.as_dict()
    buffer = io.BytesIO()  # torch would hide what the disk says
    torch.save(content, buffer)
    write_whole(path, buffer.getvalue())


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint; tensors and plain values only, never code.

    Args:
        path: `last.pt` or `final.pt` of a run.

    Returns:
        What the run had learned when it was written.

    Raises:
        ConfigError: The file is missing or is no checkpoint of this trainer.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        content["shape"] = NetShape(**content["shape"])
        if "holdout" not in content:
            content |= _written_beside(path)
        return Checkpoint(**content)
    except OSError as error:
        raise ConfigError(
            f"{error.filename or path}: cannot be read: {error.strerror}; train first, or name another run"
        ) from error
    except DAMAGE as error:
        raise ConfigError(f"{path}: is no checkpoint of this trainer ({error}); train again") from error


def averaged_net(state: Checkpoint, source: Path) -> Net:
    """Build the net that is exported.

    Args:
        state: a checkpoint.
        source: its file, for the message.

    Returns:
        The net with the averaged weights.

    Raises:
        ConfigError: The weights belong to another version of the net.
    """
    net = Net(state.shape)
    try:
        net.load_state_dict(state.average)
    except RuntimeError as error:
        raise ConfigError(f"{source}: was trained by another version of the trainer; train again") from error
    return net


def _written_beside(path: Path) -> dict[str, Any]:
    """Take from beside a checkpoint what older ones did not hold themselves: the groups, and the time."""
    told = json.loads((path.parent / "source.json").read_text(encoding="utf-8"))
    written_at = datetime.fromtimestamp(path.stat().st_mtime, tz=timezone.utc)
    return {"holdout": tuple(told["holdout"]), "trained_at": written_at.isoformat(timespec="seconds")}
