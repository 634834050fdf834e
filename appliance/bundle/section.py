"""What every mapping in a file must be, whether a person wrote it (YAML) or a program (JSON)."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """Base of every mapping in a file: frozen, strict, unknown keys and NaN refused."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)
