"""Several processes that fit one net together: each takes a part of every batch, and gradients are averaged.

On one machine the first process starts the others itself; under `torchrun` they are all there already. Every process
takes the same steps; only the first one writes and speaks.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TypeVar, cast

import torch
from torch import distributed, nn

from appliance.errors import ApplianceError
from trainer.followers import FAREWELL_S, Followers
from trainer.progress import console

LONGEST_SILENCE = timedelta(hours=2)
"""A process may judge the held-out groups for this long while the others wait."""

LONGEST_MEETING = timedelta(minutes=2)
"""All are there and ready when they meet; who does not come by then has died."""

Made = TypeVar("Made")


class Team:
    """One process's place among those that fit the net.

    Args:
        rank: of this process, 0 for the first.
        size: number of processes.
    """

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank = rank
        self.size = size

    @property
    def is_first(self) -> bool:
        """Whether this process writes and speaks."""
        return self.rank == 0

    def agree(self, value: float) -> float:
        """Return what the first process says, so that all of them take the same turn."""
        if self.size == 1:
            return value
        said = torch.tensor([value], dtype=torch.float64)
        distributed.broadcast(said, 0)
        return float(said[0])

    def together(self, work: Callable[[], Made]) -> Made:
        """Do something in every process; what one of them cannot do, all of them report in the same words.

        Args:
            work: what each process does.

        Returns:
            What this process made.

        Raises:
            ApplianceError: of the first process that has one.
        """
        made: list[Made] = []
        own: ApplianceError | None = None
        try:
            made.append(work())
        except ApplianceError as error:
            own = error
        for failure in self.everyones(own):
            if failure is not None:
                raise failure
        return made[0]

    def everyones(self, value: Made) -> list[Made]:
        """Return what each process says, by rank."""
        said = [value] * self.size
        if self.size > 1:
            distributed.all_gather_object(said, value)
        return said

    def from_first(self, work: Callable[[], Made]) -> Made:
        """Do something in the first process, and return in all of them what it made.

        Args:
            work: what the first process does.

        Returns:
            What it made.

        Raises:
            ApplianceError: as the first process has it.
        """
        made = [self.together(lambda: work() if self.is_first else None)]
        if self.size > 1:
            distributed.broadcast_object_list(made, 0)
        (told,) = made
        return cast(Made, told)

    def share(self, count: int) -> float:
        """Return this process's part of a sum over all, times their number: the weight of its mean among the means."""
        return count / self.mean(count)

    def mean(self, value: float) -> float:
        """Return the mean of a number over all processes."""
        if self.size == 1:
            return value
        total = torch.tensor([value], dtype=torch.float64)
        distributed.all_reduce(total)
        return float(total[0]) / self.size

    def averaging(self, net: nn.Module) -> nn.Module:
        """Wrap a net so that its gradients are the mean over all processes."""
        if self.size == 1:
            return net
        device = next(net.parameters()).device
        return nn.parallel.DistributedDataParallel(net, device_ids=[device] if device.type == "cuda" else None)


def launched_size() -> int | None:
    """Return how many processes `torchrun` has started, None if it was not used."""
    return int(os.environ["WORLD_SIZE"]) if "RANK" in os.environ and "WORLD_SIZE" in os.environ else None


@contextmanager
def gathered(size: int, follow: Callable[[Team], object]) -> Iterator[Team]:
    """Bring the processes together for the length of a `with` block.

    Args:
        size: how many on this machine; under `torchrun` it is asked instead.
        follow: what each other process does; must be picklable.

    Yields:
        The place of this process.

    Raises:
        DeviceError: another process ended before the work was done.
        ApplianceError: whatever another process reports in words.
    """
    if launched_size():
        distributed.init_process_group(_backend(), timeout=LONGEST_SILENCE)
        try:
            console.quiet = distributed.get_rank() > 0
            yield Team(distributed.get_rank(), distributed.get_world_size())
            distributed.barrier()  # torchrun ends all if one leaves badly: nobody leaves before the first has written
        finally:
            distributed.destroy_process_group()
        return
    if size == 1:
        yield Team()
        return
    with tempfile.TemporaryDirectory(prefix="trainer-team-") as folder:
        meeting = Path(folder) / "meeting"
        others, patience_s = Followers(), 0.0
        try:
            others.start(Path(folder), [partial(_join, meeting, rank, size, follow) for rank in range(1, size)])
            others.await_ready()
            _meet(meeting, 0, size)
            yield Team(0, size)
            patience_s = FAREWELL_S
        except RuntimeError as error:
            cause = others.failure()
            if cause is None:
                raise
            raise cause from error
        finally:
            others.end(patience_s)
            if distributed.is_initialized():
                distributed.destroy_process_group()


def _join(meeting: Path, rank: int, size: int, follow: Callable[[Team], object]) -> None:
    """Work as another process until the first one is done or gone."""
    console.quiet = True
    _meet(meeting, rank, size)
    follow(Team(rank, size))
    distributed.destroy_process_group()


def _meet(meeting: Path, rank: int, size: int) -> None:
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    place = f"file://{meeting}"
    distributed.init_process_group(
        _backend(size), init_method=place, rank=rank, world_size=size, timeout=LONGEST_MEETING
    )
    distributed.distributed_c10d._set_pg_timeout(LONGEST_SILENCE)


def _backend(size: int | None = None) -> str:
    """Return what carries the gradients: NCCL where each process has a GPU of its own, else gloo."""
    here = size or int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return "cpu:gloo,cuda:nccl" if torch.cuda.device_count() >= here else "gloo"
