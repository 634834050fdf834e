"""python-tuf's source release, in which its own tests are: `make tuf-tests`, which is this file, fetches it.

Nothing of it is kept in this repository, and the installed library stays as it is.
"""

import subprocess
import sys
import tarfile
from pathlib import Path

RELEASE = "7.0.1"
"""Whose tests; the library that they are run with is the one that is installed."""

ARCHIVE = Path(sys.prefix) / "python-tuf" / f"tuf-{RELEASE}.tar.gz"


def fetch() -> None:
    """Download the sources of the release; say if they cannot be had."""
    command = [sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check", "--no-deps",
               "--no-binary=:all:", "-d", str(ARCHIVE.parent), f"tuf=={RELEASE}"]  # fmt: skip
    if subprocess.run(command, check=False, capture_output=True).returncode:
        print(f"the sources of tuf {RELEASE} cannot be fetched here: its tests are not run")  # noqa: T201


def why_no_sources() -> str:
    """Return what is missing to run python-tuf's own tests here, or nothing."""
    return "" if ARCHIVE.is_file() else f"the sources of tuf {RELEASE} are not here: make tuf-tests"


def unpack(folder: Path) -> Path:
    """Unpack the sources (why_no_sources); returns their folder."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    return folder / f"tuf-{RELEASE}"


if __name__ == "__main__":
    fetch()
