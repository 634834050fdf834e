"""Which source made a net: asked when it is trained, because nobody can tell afterwards."""

from __future__ import annotations

import subprocess
from pathlib import Path


def source_commit(package: Path = Path(__file__).parent) -> str:
    """Return the commit of the trainer's source.

    Args:
        package: the folder of the source.

    Returns:
        The commit; with "+changes" if a file of its work tree differs from it; "unknown" if the source lies in no
        repository, or only beside one (an installed package in somebody's project).
    """
    commit = _git(package, "rev-parse", "HEAD")
    if not commit or not _git(package, "ls-files", "--", "__init__.py"):
        return "unknown"
    return commit + ("+changes" if _git(package, "status", "--porcelain", "--untracked-files=no") else "")


def _git(folder: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
