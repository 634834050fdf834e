import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import PydanticUndefined

from appliance.cameras.settings import CameraSettings, FolderCameraSettings, OpenCvCameraSettings
from appliance.simulator.camera import SimulatedCameraSettings

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "cameras.md").read_text(encoding="utf-8")
SIMULATOR = (DOCS / "simulator.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
NO_DEFAULT: dict[str, Any] = {
    "": PydanticUndefined,
    "required": PydanticUndefined,
    "one of four": None,
    "none": None,
    "the device's": None,
    "all": (),
}
"""What the tables say where there is no value."""


def documented_defaults(page: str, kind: str) -> dict[str, Any]:
    """Read the tables of settings below the heading that names a type; a row may be of several settings."""
    (section,) = re.findall(rf"(?ms)^## [^\n]*`type: {kind}`\n(.*?)(?=^## |\Z)", page)
    found: dict[str, Any] = {}
    for names, default in re.findall(r"(?m)^\| (`[a-z_`, ]+`) \|[^|]*\|([^|]*)\|", section):
        cell = default.strip()
        keys = re.findall(r"[a-z_]+", names)
        values = [cell] * len(keys) if cell in NO_DEFAULT else re.findall(r"\[[^]]*\]|[^`, ]+", cell)
        found |= {
            key: NO_DEFAULT[value] if value in NO_DEFAULT else yaml.safe_load(value)
            for key, value in zip(keys, values, strict=True)
        }
    return found


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_every_documented_example_is_accepted(example: str) -> None:
    settings: FolderCameraSettings | OpenCvCameraSettings = TypeAdapter(CameraSettings).validate_python(
        yaml.safe_load(example)
    )
    assert settings.type in ("folder", "opencv")


def test_the_example_of_a_simulated_camera_is_accepted() -> None:
    (example,) = re.findall(r"```yaml\n(cameras:.*?)```", SIMULATOR, re.DOTALL)
    assert SimulatedCameraSettings.model_validate(yaml.safe_load(example)["cameras"]["top"]).optics is not None


@pytest.mark.parametrize(
    ("page", "kind", "model"),
    [
        (PAGE, "folder", FolderCameraSettings),
        (PAGE, "opencv", OpenCvCameraSettings),
        (SIMULATOR, "simulated", SimulatedCameraSettings),
    ],
)
def test_each_cameras_tables_name_its_settings_and_their_defaults(page: str, kind: str, model: type[BaseModel]) -> None:
    fields = {name: field.default for name, field in model.model_fields.items() if name != "type"}
    table = documented_defaults(page, kind)
    assert {name: tuple(value) if isinstance(value, list) else value for name, value in table.items()} == fields


@pytest.mark.parametrize(
    ("settings", "says"),
    [({"type": "webcam"}, "folder', 'opencv'"), ({"directory": "x"}, "type"), ({"type": "folder"}, "directory")],
)
def test_an_unknown_camera_is_refused_with_the_known_ones(settings: dict[str, str], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        TypeAdapter(CameraSettings).validate_python(settings)


def test_settings_cannot_be_changed_after_the_start() -> None:
    settings = FolderCameraSettings.model_validate({"type": "folder", "directory": "x"})
    with pytest.raises(ValidationError, match="frozen"):
        settings.channels = 3
