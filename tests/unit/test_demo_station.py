"""The demo's scene: what comes past the camera, and who knows the truth."""

from pathlib import Path

import pytest

from appliance.demo.station import Scene
from appliance.errors import ConfigError


@pytest.mark.parametrize("content", [b"", b"not a picture"])
def test_a_first_picture_that_will_not_do_is_refused_in_words(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "0.png").write_bytes(content)
    with pytest.raises(ConfigError, match=r"0\.png cannot be decoded; remove it"):
        Scene.recorded(tmp_path)
