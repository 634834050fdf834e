"""A real file system of a few megabytes, so that a full disk is a full disk."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

MAY_MOUNT = 1 << 21
"""CAP_SYS_ADMIN in the mask of a process's rights; a container without privileges does not have it."""


@contextmanager
def small_disk(folder: Path, size_bytes: int) -> Iterator[Path]:
    """Mount a tmpfs of this size on the folder; skip the test where that is not allowed."""
    folder.mkdir()
    rights = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("CapEff:"))
    if not int(rights.split()[1], 16) & MAY_MOUNT:
        pytest.skip("mounting a small file system needs rights that this user or container does not have")
    options = f"size={size_bytes}"
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True,
                             text=True, check=False)  # fmt: skip
    if mounted.returncode != 0:
        pytest.skip(f"a small file system cannot be mounted: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Take every free byte of the disk; delete the returned file to give them back."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size_bytes in (1 << 16, 1 << 12, 1 << 8, 1):
            try:
                while file.write(b"x" * size_bytes) == size_bytes:
                    pass
            except OSError:
                continue
    return ballast
