"""The name of a file below a folder, as a list from elsewhere gives it: it never leads out of that folder."""

from pathlib import PurePosixPath
from typing import Annotated

from pydantic import AfterValidator


def _leads_inside(name: str) -> str:
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or name != "/".join(parts) or ".." in parts or "\0" in name:
        raise ValueError(f"{name!r} is no name of a file below a folder")
    return name


FileName = Annotated[str, AfterValidator(_leads_inside)]
"""Relative, with `/`, never leaving the folder that it is named from."""
