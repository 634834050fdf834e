"""What every mapping in a file must be, whether a person wrote it (YAML) or a program (JSON)."""

from pathlib import Path
from typing import Annotated, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationInfo


class Section(BaseModel):
    """Base of every mapping in a file: frozen, strict, unknown keys and NaN refused."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)


def _beside_the_document(path: Path, info: ValidationInfo) -> Path:
    if not path.parts:
        raise ValueError("an empty path; name a file or a folder")
    folder = (info.context or {}).get("folder")
    return path if folder is None else folder / path


LocatedPath: TypeAlias = Annotated[Path, AfterValidator(_beside_the_document)]
"""A path in a document: absolute, or relative to the folder that the document lies in (never to the working one)."""
