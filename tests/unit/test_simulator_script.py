"""Staged drift: a script says exactly what the optics are at any time, or says what is wrong with it."""

import json
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.documents import parse_document
from appliance.errors import ConfigError
from appliance.simulator.optics import Optics
from appliance.simulator.script import Keyframes, OpticsScript, load_script, parse_script

AGEING = """
lamp_brightness: [[0, 1.0], [100, 0.6]]   # an ageing lamp
shift_x_px: [[50, 0], [50, 25]]           # a knocked camera
dust_specks: [[0, 0], [10, 0], [20, 8]]
dust_seed: 5
"""


def scripted(text: str) -> OpticsScript:
    return parse_script(parse_document(Path("test.yaml"), text.encode()))


def written(folder: Path, text: str) -> Path:
    file = folder / "drift.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def test_values_run_straight_between_keyframes(tmp_path: Path) -> None:
    script = load_script(written(tmp_path, AGEING))
    assert script.at(0).lamp_brightness == 1.0
    assert script.at(50).lamp_brightness == pytest.approx(0.8)
    assert script.at(15).dust_specks == pytest.approx(4.0)
    assert script.at(7).dust_seed == 5


def test_values_stay_before_the_first_and_after_the_last_keyframe(tmp_path: Path) -> None:
    script = load_script(written(tmp_path, AGEING))
    assert script.at(-5).lamp_brightness == 1.0
    assert script.at(1e9).lamp_brightness == pytest.approx(0.6)


def test_two_keyframes_at_one_time_are_a_step(tmp_path: Path) -> None:
    script = load_script(written(tmp_path, AGEING))
    assert script.at(49.999).shift_x_px == 0
    assert script.at(50.001).shift_x_px == 25


def test_what_is_not_scripted_keeps_its_default(tmp_path: Path) -> None:
    assert load_script(written(tmp_path, AGEING)).at(60).exposure_us == Optics().exposure_us


def test_a_script_by_part_depends_on_the_number_only(tmp_path: Path) -> None:
    by_part = load_script(written(tmp_path, AGEING)).by_part(parts_per_second=10)
    assert by_part(500).lamp_brightness == pytest.approx(0.8)
    assert by_part(500) == by_part(500)


@pytest.mark.parametrize("name", [item.name for item in fields(Optics)])
def test_every_parameter_of_the_optics_can_be_scripted(name: str) -> None:
    default = getattr(Optics(), name)
    script = scripted(f"{name}: [[0, {default}], [10, {1600 if name.endswith('_k') else 1}]]")
    assert getattr(script.at(0), name) == default
    assert getattr(script.at(10), name) == (1600 if name.endswith("_k") else 1)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("lamp: 1", "unknown parameter 'lamp'"),
        ("lamp_brightness: bright", "not a number"),
        ("lamp_brightness: true", "not a number"),
        ("lamp_brightness: .nan", "not a number"),
        ("lamp_brightnes: 1", "did you mean `lamp_brightness`?"),
        ("lamp_brightness: -1", "outside 0..10"),
        ("lamp_brightness: [[0, 1], [5, 11]]", "outside 0..10"),
        ("lamp_brightness: []", "no keyframes"),
        ("lamp_brightness: [1, 2]", "write [second, value]"),
        ("lamp_brightness: [[5, 1], [2, 1]]", "sort the keyframes"),
        ("[1, 2]", "must hold `key: value` lines"),
        ("a: [", "not YAML"),
        ("gain_db: 0\nlamp_brightness: [[0, 1],\n  [5, 11]]", "drift.yaml:3: lamp_brightness[1]: 11 is outside"),
        ("gain_db: 0\ngain_db: 6", "drift.yaml:2:"),
        ("gain_db: &six 6\nshift_x_px: *six", "drift.yaml:1: anchors"),
    ],
)
def test_a_wrong_script_is_refused_with_file_and_remedy(tmp_path: Path, text: str, told: str) -> None:
    file = written(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_script(file)
    assert told in str(caught.value)
    assert str(file) in str(caught.value)


def test_a_missing_script_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_script(tmp_path / "none.yaml")


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
def test_any_document_gives_a_script_or_a_config_error(document: object) -> None:
    try:
        script = scripted(json.dumps(document))
    except ConfigError as error:
        assert str(error).startswith("test.yaml:")
    else:
        assert script.at(0) == Optics()


@given(
    points=st.lists(st.tuples(st.floats(0, 1e6), st.floats(-100, 100)), min_size=1, max_size=6),
    second=st.floats(-10, 1e7),
)
def test_values_never_leave_the_span_of_the_keyframes(points: list[tuple[float, float]], second: float) -> None:
    points.sort()
    track = Keyframes(tuple(point[0] for point in points), tuple(point[1] for point in points))
    values = [point[1] for point in points]
    assert min(values) - 1e-6 <= track.at(second) <= max(values) + 1e-6
