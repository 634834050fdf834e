"""The training pictures as pixels: decoded once and held once on each machine, however many processes learn there."""

from __future__ import annotations

import errno
import mmap
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from appliance.errors import DeviceError, StorageError
from trainer.datasets.sample import Sample
from trainer.progress import tracked
from trainer.references import load_input, misplaced_pairs
from trainer.team import Team
from trainer.threads import in_threads, usable_cores

Pixels: TypeAlias = NDArray[np.uint8]


def decode(samples: Sequence[Sample], channels: int) -> Iterator[Pixels]:
    """Decode what a model of so many channels is shown of each sample, on all cores; warn of misplaced references.

    Args:
        samples: of the training half.
        channels: 1 (grey) or 3 (RGB); 2 or 6 with the reference behind the picture.

    Yields:
        uint8 [height, width, channels], in the order of the samples.

    Raises:
        ConfigError: A file is missing or damaged.
    """
    decoded = in_threads(partial(load_input, channels=channels), samples, usable_cores())
    yield from tracked(decoded, "decode the pictures", len(samples))
    misplaced_pairs.tell()


def decode_together(samples: Sequence[Sample], channels: int, team: Team) -> Sequence[Pixels]:
    """Decode the pictures in one process of each machine; the others there read the same memory.

    Every process must call it. Where a system has no memory without a file, or does not tell its processes apart (Linux
    has both), each decodes for itself.

    Args:
        samples: of the training half, the same in each process.
        channels: as `decode` takes them.
        team: the processes that learn together.

    Returns:
        uint8 [height, width, channels] of each sample; not to be written to.

    Raises:
        ConfigError: A file is missing or damaged.
        StorageError: The memory does not suffice.
        DeviceError: A process may not read the memory of another one.
    """
    machines = team.everyones(_machine() if team.size > 1 else None)
    if None in machines:
        return team.together(lambda: list(decode(samples, channels)))
    first_here = machines.index(machines[team.rank])
    own = team.together(lambda: _keep(decode(samples, channels)) if team.rank == first_here else None)
    kept = team.everyones(own)[first_here]
    if kept is None:
        raise RuntimeError("the first process of a machine keeps its pictures")
    try:
        return team.together(lambda: _views(kept))  # returns when all have mapped them
    finally:
        if own:
            os.close(own.descriptor)


@dataclass(frozen=True, slots=True)
class _Kept:
    """Pictures one behind the other in the memory of a process: where, and how large each is."""

    process: int
    descriptor: int
    shapes: tuple[tuple[int, ...], ...]

    @property
    def path(self) -> Path:
        return Path(f"/proc/{self.process}/fd/{self.descriptor}")


def _machine() -> tuple[str, int] | None:
    """Tell apart what shares no memory or cannot name each other's processes: machines, and containers on one."""
    if not hasattr(os, "memfd_create"):
        return None
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
        return boot, Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        return None


def _keep(pictures: Iterable[Pixels]) -> _Kept:
    descriptor = os.memfd_create("training pictures")
    shapes = []
    try:
        with open(descriptor, "wb", closefd=False) as memory:
            for pixels in pictures:
                memory.write(np.ascontiguousarray(pixels).data)
                shapes.append(pixels.shape)
    except BaseException as error:
        os.close(descriptor)
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.ENOMEM):
            raise StorageError("the memory does not suffice for the training pictures; take fewer") from error
        raise
    return _Kept(os.getpid(), descriptor, tuple(shapes))


def _views(kept: _Kept) -> Sequence[Pixels]:
    try:
        with kept.path.open("rb") as memory:
            held = mmap.mmap(memory.fileno(), 0, prot=mmap.PROT_READ)
    except OSError as error:
        raise DeviceError(
            f"process {os.getpid()} may not read the pictures of process {kept.process} ({error.strerror}); start both "
            "as the same user, or train with --workers 1"
        ) from error
    ends = np.cumsum([int(np.prod(shape)) for shape in kept.shapes])
    whole = np.frombuffer(held, np.uint8)
    parts = np.split(whole, ends[:-1])
    return [part.reshape(shape) for part, shape in zip(parts, kept.shapes, strict=True)]
