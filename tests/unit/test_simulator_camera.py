"""The simulated camera shows what its settings say, staged drift too."""

import json
from pathlib import Path

import pytest
import yaml

from appliance.clock import SystemClock
from appliance.demo.station import Scene
from appliance.documents import Document, parse_document
from appliance.errors import ConfigError
from appliance.events import Frame, Trigger
from appliance.simulator.camera import SimulatedCamera, SimulatedCameraSettings

SMALL = {"type": "simulated", "width": 320, "height": 240, "defect_rate": 0}
EXAMPLE = Path(__file__).parents[2] / "docs" / "drift.yaml"


def document(folder: Path, **changes: object) -> Document:
    return parse_document(folder / "camera.yaml", json.dumps(SMALL | changes).encode())


def settings(folder: Path, **changes: object) -> SimulatedCameraSettings:
    return document(folder, **changes).into(SimulatedCameraSettings)


def shown(of: SimulatedCameraSettings, number: int) -> Frame:
    clock = SystemClock()
    camera = SimulatedCamera("top", of, clock)
    camera.open()
    frame = camera.capture(Trigger("t", f"1-{number:06d}", clock.utc(), clock.monotonic_ns(), 10**12), 1.0)
    camera.close()
    return frame


def test_a_lamp_ages_before_the_camera(tmp_path: Path) -> None:
    (tmp_path / "drift.yaml").write_text("lamp_brightness: [[0, 1], [60, 0.4]]")
    ageing = settings(tmp_path, optics="drift.yaml", parts_per_second=2)
    light = [float(shown(ageing, number).pixels.mean()) for number in (0, 60, 120, 500)]
    assert light[1] == pytest.approx(0.7 * light[0], rel=0.1)
    assert light[2] == pytest.approx(0.4 * light[0], rel=0.1)
    assert light[3] == pytest.approx(light[2], rel=0.1)
    steady = settings(tmp_path)
    assert float(shown(steady, 500).pixels.mean()) == pytest.approx(light[0], rel=0.1)


def test_the_demo_s_station_has_the_script_with_the_line_s_own_seconds(tmp_path: Path) -> None:
    (tmp_path / "drift.yaml").write_text("lamp_brightness: [[0, 1], [10, 0.4]]")
    scene = Scene.simulated(1, 0.0, tmp_path / "drift.yaml", rate_hz=4.0)
    written = parse_document(Path("elsewhere/config.yaml"), yaml.safe_dump(scene.camera).encode())
    of_the_station = written.into(SimulatedCameraSettings)
    assert scene.line is not None
    assert (shown(of_the_station, 40).pixels == scene.line.part(40).pixels).all()
    assert shown(of_the_station, 40).pixels.mean() < 0.5 * shown(of_the_station, 0).pixels.mean()


def test_the_documented_script_ages_the_lamp_out_of_the_demo_s_limits() -> None:
    line = Scene.simulated(1, 0.0, EXAMPLE, rate_hz=4.0).line
    recipe = yaml.safe_load((Path(__file__).parents[2] / "appliance/recipes/demo_board.yaml").read_text())
    least = recipe["views"][0]["image_limits"]["brightness_min"]
    assert line is not None
    assert line.part(0).pixels.mean() > least > line.part(4 * 120).pixels.mean()


def test_size_and_contrast_of_the_defects_reach_the_line(tmp_path: Path) -> None:
    style = settings(tmp_path, defect_size_px=[6, 9], contrast=0.4).line().style
    assert (style.size_px, style.contrast) == ((6, 9), 0.4)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"optics": "drift.yaml"}, "add it"),
        ({"parts_per_second": 4}, "no effect without optics"),
        ({"optics": "drift.yaml", "parts_per_second": 0}, "parts_per_second: expected greater than 0"),
        ({"defect_size_px": [30, 10]}, "swap the two"),
        ({"defect_size_px": [30]}, "defect_size_px"),
        ({"contrast": 1.5}, "contrast: expected less than or equal to 1"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(changes: dict[str, object], words: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=words):
        settings(tmp_path, **changes)


def test_a_wrong_script_is_told_with_its_line_when_the_camera_is_made(tmp_path: Path) -> None:
    (tmp_path / "drift.yaml").write_text("gain_db: 0\nlamp: 1\n")
    with pytest.raises(ConfigError, match=r"drift.yaml:2: lamp: unknown parameter"):
        shown(settings(tmp_path, optics="drift.yaml", parts_per_second=2), 0)
