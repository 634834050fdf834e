"""What the arithmetic of a training runs on: a GPU if there is one, else the processor."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from appliance import processor
from appliance.errors import ConfigError
from trainer.threads import usable_cores

MOST_LOADERS = 16
"""Processes that cut crops for one GPU; more than this only wait for it."""


def choose(asked: str) -> str:
    """Return the kind of device of a run.

    Args:
        asked: "cpu", "cuda", or "auto": a GPU if torch sees one.

    Returns:
        "cpu" or "cuda".

    Raises:
        ConfigError: a GPU is asked for and torch sees none.
    """
    sees_gpu = torch.cuda.is_available()
    if asked == "cuda" and not sees_gpu:
        raise ConfigError(
            f"--device cuda: torch {torch.__version__} sees no GPU; install its build for CUDA and the driver, "
            "or take --device cpu"
        )
    return "cuda" if sees_gpu and asked != "cpu" else "cpu"


def own_device(kind: str, rank: int) -> torch.device:
    """Return the device of one process: its own GPU, or one that it shares if there are fewer GPUs than processes.

    Args:
        kind: "cpu" or "cuda".
        rank: of the process among those of the run; under `torchrun` its number on this machine counts instead.
    """
    if kind == "cpu":
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", rank)) % torch.cuda.device_count())


def usual_loaders(kind: str, workers: int) -> int:
    """Return how many processes cut crops beside each process of the training.

    Args:
        kind: "cpu" or "cuda".
        workers: processes of the training.
    """
    if kind == "cpu":
        return 1
    return max(1, min(MOST_LOADERS, usable_cores() // workers))


@contextmanager
def threads_each(count: int) -> Iterator[None]:
    """For the length of a `with` block torch calculates with so many processor threads in each thread begun in it."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def has_fast_bf16(device: torch.device) -> bool:
    """Tell whether a device multiplies bfloat16 in hardware; without that, autocast only costs time."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return not processor.flags().isdisjoint({"avx512_bf16", "amx_bf16"})
