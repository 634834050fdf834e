"""The demo's scene and station: what comes past the camera, who knows the truth, and what is refused before it runs."""

import json
from pathlib import Path
from typing import Literal

import cv2
import pytest

from appliance.bundle.archive import read_bundle
from appliance.bundle.picture import size_px
from appliance.cameras.settings import FolderCameraSettings
from appliance.config import load_config
from appliance.demo.line import REMEMBERED_ENDS, DemoLine
from appliance.demo.station import Scene, write_station
from appliance.errors import ConfigError
from appliance.report import MOST_TIMES, Outcome, RecentTimes, Report, Verdict
from appliance.simulator.broker import free_port
from appliance.simulator.conveyor import Conveyor
from tests.models import spot_picture, tiny_bundle
from tests.plant import RECIPE
from tests.turned_picture import QUARTER, turned


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Three pictures of 64x64."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(3):
        cv2.imwrite(str(folder / f"{number}.png"), spot_picture(64, 64))
    return folder


def written(folder: Path, scene: Scene, recipe: Path | None = None) -> tuple[str, FolderCameraSettings]:
    """Write a station for the scene; the view's name, and its camera's settings as the station reads them."""
    bundle = tiny_bundle(folder / "tiny.bundle")
    path = write_station(folder / "station", bundle, read_bundle(bundle), scene, port=None, recipe=recipe)
    config, document = load_config(path)
    (view,) = config.cameras
    return view, document.section(("cameras", view), FolderCameraSettings)


def write_recipe(folder: Path, *views: dict[str, object]) -> Path:
    (view,) = RECIPE["views"]  # type: ignore[misc]
    path = folder / "own.yaml"
    path.write_text(json.dumps(RECIPE | {"views": [view | changes for changes in views]}))
    return path


@pytest.mark.parametrize("content", [b"", b"not a picture"])
def test_a_first_picture_that_will_not_do_is_refused_in_words(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "0.png").write_bytes(content)
    with pytest.raises(ConfigError, match=r"0\.png cannot be decoded; remove it"):
        Scene.recorded(tmp_path)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp"])
def test_pictures_of_several_sizes_are_refused_with_the_first_that_differs(pictures: Path, suffix: str) -> None:
    (pictures / "1.png").write_bytes(b"no picture: its part is a fault, and that is all")
    cv2.imwrite(str(pictures / f"2{suffix}"), spot_picture(80, 48))
    cv2.imwrite(str(pictures / "3.png"), spot_picture(32, 32))
    with pytest.raises(ConfigError, match=rf"/2\{suffix} has 80x48 px and /.*/0\.png has 64x64"):
        Scene.recorded(pictures)


def test_pictures_that_are_not_shown_are_not_looked_at(pictures: Path) -> None:
    cv2.imwrite(str(pictures / "9.png"), spot_picture(80, 48))
    assert Scene.recorded(pictures, most=1).pictures == 1


@pytest.mark.parametrize(("suffix", "read"), [(".png", 64), (".jpg", 4096), (".bmp", 64)])
def test_the_size_is_read_from_the_header_alone(suffix: str, read: int, tmp_path: Path) -> None:
    path = tmp_path / f"0{suffix}"
    cv2.imwrite(str(path), spot_picture(96, 64))
    path.write_bytes(path.read_bytes()[:read])
    assert size_px(path) == (96, 64)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_picture_that_its_camera_has_turned_counts_as_it_is_shown(tmp_path: Path, suffix: str) -> None:
    encoded = cv2.imencode(suffix, spot_picture(96, 64))[1].tobytes()
    (tmp_path / f"0{suffix}").write_bytes(turned(encoded, QUARTER))
    cv2.imwrite(str(tmp_path / "1.bmp"), spot_picture(64, 96))
    assert Scene.recorded(tmp_path).size == (64, 96)


def test_names_that_look_like_numbers_stay_names(pictures: Path, tmp_path: Path) -> None:
    scene = Scene.recorded(pictures)
    names = ["08", "1e5", "0x1F", "null", "true", "\u00e4 \U0001f600", "6:30"]
    scene.camera["groups"] = names
    assert list(written(tmp_path, scene)[1].groups) == names


@pytest.mark.parametrize(("name", "channels"), [("side", 1), ("top", 3)])
def test_the_camera_is_the_one_that_the_recipe_asks_for(
    pictures: Path, tmp_path: Path, name: str, channels: int
) -> None:
    recipe = write_recipe(tmp_path, {"name": name, "channels": channels})
    view, camera = written(tmp_path, Scene.recorded(pictures), recipe)
    assert (view, camera.channels) == (name, channels)


@pytest.mark.parametrize("channels", [2, 6])
def test_a_bundle_that_compares_needs_a_recipe_that_names_the_reference(
    pictures: Path, tmp_path: Path, channels: Literal[2, 6]
) -> None:
    path = tiny_bundle(tmp_path / "tiny.bundle", channels=channels)
    for scene in (Scene.recorded(pictures), Scene.simulated(1, 0.1)):
        with pytest.raises(ConfigError, match=r"tiny\.bundle: compares .* --recipe and a recipe whose view has"):
            write_station(tmp_path / "station", path, read_bundle(path), scene, port=None)
    assert not (tmp_path / "station").exists()
    recipe = write_recipe(tmp_path, {"channels": channels // 2})
    config = write_station(
        tmp_path / "own", path, read_bundle(path), Scene.recorded(pictures), port=None, recipe=recipe
    )
    assert load_config(config)[0].recipe == recipe
    assert not (tmp_path / "own" / "recipe.yaml").exists()


@pytest.mark.parametrize(
    ("views", "words"),
    [
        (({}, {"name": "side"}), r"own\.yaml: has 2 views \(top, side\)"),
        (({"width_px": 80},), r"own\.yaml: view top is agreed as 80x64 px and the pictures have 64x64"),
    ],
)
def test_a_recipe_that_does_not_fit_the_pictures_is_refused_in_words(
    pictures: Path, tmp_path: Path, views: tuple[dict[str, object], ...], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        written(tmp_path, Scene.recorded(pictures), write_recipe(tmp_path, *views))


def test_a_station_tells_the_times_of_its_last_commits() -> None:
    times = RecentTimes(remembered=3)
    assert times.percentiles() == {}
    times.add(9000)
    assert times.percentiles() == {"p50": 9.0, "p95": 9.0, "p99": 9.0, "max": 9.0}
    for spent_us in (1000, 2000, 3000):
        times.add(spent_us)
    assert (times.percentiles()["p50"], times.percentiles()["max"]) == (2.0, 3.0)


def test_a_long_run_counts_every_part_and_remembers_the_times_of_the_last() -> None:
    report, first = Report(triggers=MOST_TIMES + 3), 3
    for number in range(MOST_TIMES + first):
        is_first = number < first
        report.add(Outcome(Verdict.ACCEPT, "complete", is_first, {"infer": 900.0 if is_first else 5.0}, 7.0))
    report.add_time("round_trip", 8.0)
    document = report.document()
    assert document["verdicts"]["ACCEPT"] == document["reasons"]["complete"] == MOST_TIMES + first
    assert (document["quality"]["escapes"], document["losses"]) == (first, {"without_verdict": 0})
    assert document["latency_of_last"] == MOST_TIMES
    assert [document["latency_ms"][stage]["max"] for stage in ("infer", "decided", "round_trip")] == [5.0, 7.0, 8.0]


def test_a_line_that_nobody_answers_counts_every_part_it_diverts() -> None:
    line = DemoLine(free_port(), Scene.simulated(1, 0.0), deadline_ms=600_000)
    parts = REMEMBERED_ENDS + 5
    with line:
        for part in Conveyor(1, parts=parts).schedule():
            line.send(part)
    losses = line.document("none")["losses"]
    assert losses == {"without_verdict": parts, "without_action_in_time": parts, "altered_records": 0}
