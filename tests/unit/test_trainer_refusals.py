"""A mistake in data or options gets words before any work, and never a traceback."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.arguments import new_file
from appliance.bundle.whole_file import write_whole
from appliance.errors import ConfigError, StorageError
from tests.small_disk import small_disk
from tests.tiny_boards import write_tiny_boards
from tests.turned_picture import HALF_ROUND, turned
from trainer.__main__ import main, parser
from trainer.checkpoint import Checkpoint, save_checkpoint
from trainer.datasets.reading import dataset_digest, read_dataset
from trainer.datasets.split import split_by_group
from trainer.export import ExportOptions
from trainer.files import append_json, write_json
from trainer.plan import Plan
from trainer.preflight import doubts, model_geometry
from trainer.progress import tracked
from trainer.sizes import NetShape

Content = dict[str, Any]


def _boards(folder: Path, change: Callable[[Content], object] = lambda content: None, side_px: int = 96) -> Path:
    path = write_tiny_boards(folder, side_px=side_px)
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    return path


def _train(data: Path, run: Path, *options: str) -> int:
    dials = ["--epochs", "1", "--batch", "4", "--crop", "64", "--workers", "1", "--holdout", "family0"]
    return main(["train", "--data", str(data), "--out", str(run), *dials, *options])


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Scratch!", r"categories\[1\]: 'Scratch!' and 'scratch' would both be 'scratch'; rename one"),
        ("scratch", r"categories\[1\]: the name 'scratch' is used twice"),
        ("", r"categories\[1\]: '' is no name"),
        ("?\n", r"categories\[1\]: .* is no name"),
    ],
)
def test_a_class_that_no_bundle_could_hold_is_refused_when_it_is_read(tmp_path: Path, name: str, words: str) -> None:
    path = _boards(tmp_path, lambda content: content["categories"][1].update(name=name))
    with pytest.raises(ConfigError, match=words):
        read_dataset(path)


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        (Plan(budget_minutes=0.0), "--budget-minutes 0.0"),
        (Plan(budget_minutes=-1.0), "--budget-minutes -1.0"),
        (Plan(budget_minutes=float("nan")), "--budget-minutes nan"),
        (Plan(budget_minutes=float("inf")), "--budget-minutes inf"),
        (Plan(epochs=1, seed=-1), "--seed -1"),
        (Plan(epochs=1, seed=2**63), "--seed"),
        (Plan(epochs=1, side_px=32, batch=1), "--crop 32 with --batch 1"),
        (Plan(epochs=1, side_px=0), "--crop 0"),
        (Plan(epochs=1, side_px=-64), "--crop -64"),
        (Plan(epochs=1, batch=0), "--batch 0"),
    ],
)
def test_an_impossible_number_is_refused_by_its_option(plan: Plan, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        plan.check()


@pytest.mark.parametrize(
    "options", [["--seed", "-1"], ["--crop", "32", "--batch", "1"], ["--channels", "1", "--seed", str(2**70)]]
)
def test_an_impossible_number_ends_the_command_before_anything_is_written(tmp_path: Path, options: list[str]) -> None:
    path = _boards(tmp_path / "data")
    assert _train(path, tmp_path / "run", *options) == 78
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("place", ["file", "file/run"])
def test_a_run_is_not_put_into_a_file(tmp_path: Path, place: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("mine")
    assert _train(_boards(tmp_path / "data"), tmp_path / place) == 78
    assert "is a file or lies in one" in capsys.readouterr().err
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("place", ["missing/figures.json", "data", "x" * 300, "/proc/figures.json"])
def test_figures_that_could_not_be_written_are_refused_before_the_training(
    tmp_path: Path, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = _boards(tmp_path / "data")
    with pytest.raises(SystemExit) as ended:
        _train(path, tmp_path / "run", "--json", str(tmp_path / place))
    assert ended.value.code == 2
    assert "--json" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (ExportOptions("Demo Board", 1, "a", {}), "--name 'Demo Board'"),
        (ExportOptions("demo", 1, "a", {"scrath": "minor"}), "--severity: no class scrath"),
        (ExportOptions("demo", 1, "a", {}, golden=501), "--golden 501"),
        (ExportOptions("demo", 1, "a", {}, golden=31), '--golden 31: a proof wants 32; .* --few-golden "WHY"'),
    ],
)
def test_an_option_that_no_bundle_could_hold_is_refused_before_the_work(options: ExportOptions, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        options.check(("scratch", "dent"))


def test_a_picture_that_vanishes_is_named(tmp_path: Path) -> None:
    dataset = read_dataset(_boards(tmp_path))
    (tmp_path / "003.png").unlink()
    with pytest.raises(ConfigError, match=r"003\.png: cannot be read"):
        dataset_digest(dataset)


@pytest.mark.long
def test_a_full_disk_is_a_storage_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full")
    with pytest.raises(StorageError, match="full"):
        save_checkpoint(full, Checkpoint({}, NetShape(1, 1, 8), ("a",)))
    with pytest.raises(StorageError, match="full"):
        append_json(full, {"loss": 1.0})
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "log.jsonl").symlink_to(full)
    assert _train(_boards(tmp_path / "data"), tmp_path / "run") == 74
    assert "check space and rights" in capsys.readouterr().err


def test_a_file_that_does_not_fit_leaves_the_earlier_one_and_no_half_of_itself(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 1 << 16) as disk:
        write_whole(disk / "last.pt", b"earlier")
        with pytest.raises(StorageError, match=r"last\.pt cannot be written: No space left"):
            write_whole(disk / "last.pt", bytes(1 << 17))
        assert {path.name: path.read_bytes() for path in disk.iterdir()} == {"last.pt": b"earlier"}


def test_nothing_but_the_file_that_was_named_is_touched(tmp_path: Path) -> None:
    (tmp_path / "figures.draft").write_text("mine")
    new_file(str(tmp_path / "figures.json"))
    assert [path.name for path in tmp_path.iterdir()] == ["figures.draft"]
    write_whole(tmp_path / "figures.json", b"{}")
    new_file(str(tmp_path / "figures.json"))
    found = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert found == {"figures.draft": "mine", "figures.json": "{}"}


@pytest.mark.long
def test_what_could_not_be_measured_is_null(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def only_scratches(content: Content) -> None:
        held = {image["id"] for image in content["images"] if image["group"] == "family0"}
        for annotation in content["annotations"]:
            if annotation["image_id"] in held:
                annotation["category_id"] = 1

    path = _boards(tmp_path / "data", only_scratches)
    assert _train(path, tmp_path / "run", "--json", str(tmp_path / "figures.json")) == 0
    for file in (tmp_path / "figures.json", tmp_path / "run" / "figures.json"):
        assert json.loads(file.read_text(), parse_constant=pytest.fail)["ap_classes"]["dent"] is None
    for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=pytest.fail)
    assert "the held-out groups have no dent" in " ".join(capsys.readouterr().err.split())


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=3),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    )
)
def test_any_figures_make_json_that_every_reader_takes(
    tmp_path_factory: pytest.TempPathFactory, content: object
) -> None:
    path = tmp_path_factory.mktemp("json") / "figures.json"
    write_json(path, {"figures": content})
    json.loads(path.read_text(), parse_constant=pytest.fail)


def test_a_device_is_written_to_and_not_replaced() -> None:
    write_json(Path("/dev/null"), {"ap": 1.0})
    assert not Path("/dev/null").is_file()


def _without_good(content: Content) -> None:
    bad = {annotation["image_id"] for annotation in content["annotations"]}
    content["images"] = [image for image in content["images"] if image["id"] in bad]


def _without_defects_in_family0(content: Content) -> None:
    held = {image["id"] for image in content["images"] if image["group"] == "family0"}
    content["annotations"] = [a for a in content["annotations"] if a["image_id"] not in held]


def test_data_that_could_never_be_judged_is_not_trained_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _train(_boards(tmp_path / "data", _without_defects_in_family0), tmp_path / "run") == 78
    assert "held-out groups have no defect" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("name", "short"), [("Missing Hole", "missing_hole"), ("x" * 65, "x" * 64), ("a.b", "a.b")])
def test_a_class_gets_the_name_that_a_bundle_can_hold(tmp_path: Path, name: str, short: str) -> None:
    path = _boards(tmp_path, lambda content: content["categories"][1].update(name=name))
    assert read_dataset(path).classes == ("scratch", short)


@pytest.mark.long
def test_a_bracket_in_a_name_is_a_bracket(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def rename(content: Content) -> None:
        content["categories"][1].update(name="[/b]dent")
        for image in content["images"]:
            image["group"] += "[/i]"

    assert _train(_boards(tmp_path / "data", rename), tmp_path / "run", "--holdout", "family0[/i]") == 0
    told = capsys.readouterr()
    assert "class '[/b]dent' is called b_dent" in told.err
    assert "family0[/i]" in told.out


@pytest.mark.long
def test_data_without_a_good_part_is_trained_on_with_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _train(_boards(tmp_path / "data", _without_good), tmp_path / "run") == 0
    assert "beware: no picture is of a good part" in capsys.readouterr().err


@pytest.mark.long
@pytest.mark.parametrize(
    ("shift", "moved", "words"),
    [
        (4, 12, "beware: no pixel of any training picture is brighter than 15 of 255"),
        (4, 2, "beware: no pixel of 1 of 8 training pictures is brighter than 8 of 255"),
        (8, 12, ""),
    ],
)
def test_twelve_bits_at_the_lower_end_of_sixteen_are_not_learned_from_in_silence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], shift: int, moved: int, words: str
) -> None:
    data = _boards(tmp_path / "data")
    for picture in sorted(data.parent.glob("*.png"))[:moved]:
        stored = cv2.imread(str(picture), cv2.IMREAD_GRAYSCALE).astype(np.uint16)
        cv2.imwrite(str(picture), stored << shift)
    assert _train(data, tmp_path / "run") == 0
    said = capsys.readouterr().err
    assert words in said and ("beware: no pixel" in said) is bool(words)


def test_pictures_that_a_note_turns_are_told_before_anything_is_learned(tmp_path: Path) -> None:
    data = _boards(tmp_path)
    picture = next(data.parent.glob("*.png"))
    picture.write_bytes(turned(picture.read_bytes(), HALF_ROUND))
    split = split_by_group(read_dataset(data), ("family0",))
    said = doubts(split, model_geometry(split.whole(), 1))
    assert any("1 of 12 pictures that were looked at are shown otherwise" in it and str(picture) in it for it in said)


def test_what_is_doubtful_is_said(tmp_path: Path) -> None:
    def thin(content: Content) -> None:
        content["annotations"][0]["bbox"][2] = 3

    split = split_by_group(read_dataset(_boards(tmp_path, thin)), ("family0",))
    assert any(
        "1 of 18 boxes are thinner than 8 pixels" in words for words in doubts(split, model_geometry(split.whole(), 1))
    )


@pytest.mark.parametrize(
    ("boxes", "picture_px", "step_px", "is_said"),
    [
        (100, 96, 0, False),
        (101, 96, 0, True),
        (101, 1400, 0, True),  # in tiles of 640 pixels, of which one has them all
        (101, 1400, 120, False),
        (101, 1280, 110, True),  # still taken in one piece
    ],
)
def test_more_defects_than_the_model_tells_of_what_it_takes_at_once_are_doubtful(
    tmp_path: Path, boxes: int, picture_px: int, step_px: int, is_said: bool
) -> None:
    def crowd(content: Content) -> None:
        first = content["annotations"][0]
        others = [entry for entry in content["annotations"] if entry["image_id"] != first["image_id"]]
        at = [divmod(number, 11) for number in range(boxes)]
        crowded = [first | {"id": 1000 + n, "bbox": [x * step_px, y * step_px, 20, 20]} for n, (x, y) in enumerate(at)]
        content["annotations"] = others + crowded

    path = _boards(tmp_path, crowd)
    file = tmp_path / "000.png"
    more_px = picture_px - 96
    pixels = cv2.copyMakeBorder(cv2.imread(str(file)), 0, more_px, 0, more_px, cv2.BORDER_REPLICATE)
    assert cv2.imwrite(str(file), pixels)
    split = split_by_group(read_dataset(path), ("family0",))
    told = doubts(split, model_geometry(split.whole(), 1))
    assert any("1 pictures have more boxes than the 100 that the model tells" in it for it in told) == is_said


def test_a_bar_shows_only_what_takes_long(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(tracked(range(5), "quick")) == list(range(5))
    assert list(tracked(np.arange(5).tolist(), "slow", shown_after_s=0.0)) == list(range(5))
    captured = capsys.readouterr()
    assert "slow" in captured.err
    assert "100%" in captured.err
    assert "quick" not in captured.err
    assert not captured.out


@pytest.mark.parametrize(
    ("words", "epochs", "minutes"),
    [("40", None, 40.0), ("1.5min", None, 1.5), ("2 minutes", None, 2.0), ("60epochs", 60, None), ("1 epoch", 1, None)],
)
def test_a_budget_is_minutes_or_epochs(words: str, epochs: int | None, minutes: float | None) -> None:
    given = parser().parse_args(["train", "--data", "x", "--out", "y", "--budget", words])
    assert (given.epochs, given.budget_minutes) == (epochs, minutes)


@pytest.mark.parametrize("words", ["soon", "1.5epochs", "-3", "4h"])
def test_a_budget_that_is_none_is_refused(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["train", "--data", "x", "--out", "y", f"--budget={words}"])
    assert ended.value.code == 2
    assert f"{words!r} is no length; give minutes as in 40min, or 60epochs" in capsys.readouterr().err
