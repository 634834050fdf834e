import re
from pathlib import Path

import pytest
import yaml
from pydantic import TypeAdapter, ValidationError

from appliance.cameras.settings import CameraSettings, FolderCameraSettings, OpenCvCameraSettings

PAGE = (Path(__file__).parents[2] / "docs" / "cameras.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_every_documented_example_is_accepted(example: str) -> None:
    settings: FolderCameraSettings | OpenCvCameraSettings = TypeAdapter(CameraSettings).validate_python(
        yaml.safe_load(example)
    )
    assert settings.type in ("folder", "opencv")


@pytest.mark.parametrize("model", [FolderCameraSettings, OpenCvCameraSettings])
def test_every_setting_is_documented(model: type[FolderCameraSettings] | type[OpenCvCameraSettings]) -> None:
    assert not [name for name in model.model_fields if f"`{name}`" not in PAGE]


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
