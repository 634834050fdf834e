"""The benchmarks keep up with what they measure."""

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from appliance.bundle.archive import read_bundle
from appliance.command_messages import CommandReply
from appliance.demo.station import Scene, write_station
from appliance.errors import ConfigError
from appliance.simulator.broker import EmbeddedBroker
from appliance.simulator.dataset import write_dataset
from appliance.stores.ledger import SqliteLedger
from benchmarks import alignment, rollout
from benchmarks.challenger import Row, judged, keeps_its_promise, shadow
from benchmarks.challenger_lines import Candidate
from benchmarks.changeover import PRODUCTS, Run, first_action_ms, judged_wrongly
from benchmarks.ledger import fill
from benchmarks.start import starts
from benchmarks.trainer import little_data, sound_templates, taken_again, tiles, whole_way
from benchmarks.trainer.drawn_tiles import KINDS, draw
from tests.models import spot_picture, tiny_bundle
from tests.references import laid_down
from tests.tiny_boards import board, write_tiny_boards
from tests.tiny_deeppcb import write_tiny_deeppcb
from trainer.datasets.reading import read_dataset
from trainer.datasets.source import Source
from trainer.datasets.split import split_by_group


def test_the_ledger_that_is_measured_is_one_that_a_station_opens(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    fill(path, 100)
    ledger = SqliteLedger.open(path, "device-1", "boot-2", ["plant"])
    assert ledger.last_seq() == 100
    ledger.close()


def test_a_start_that_is_measured_ends_with_a_verdict_and_a_certificate(tmp_path: Path) -> None:
    path, pictures = tiny_bundle(tmp_path / "tiny.bundle"), tmp_path / "pictures"
    pictures.mkdir()
    cv2.imwrite(str(pictures / "0.png"), spot_picture(64, 64))
    with EmbeddedBroker("auto") as broker:
        scene = Scene.recorded(pictures)
        config = write_station(tmp_path / "station", path, read_bundle(path), scene, port=broker.port)
        kept = []
        for is_cold in (True, False):
            found = starts(config, broker.port, 1, is_cold=is_cold)
            assert 0 < found["online_s"]["p50"] < found["first_verdict_s"]["p50"]
            kept.append(list(config.with_name("certificates").iterdir()))
    assert kept[0] == kept[1] != []


def test_a_part_judged_by_another_product_than_the_one_in_force_is_found() -> None:
    first, second = ({"versions": {"product": name, "bundle_digest": name}} for name in PRODUCTS)
    reply = CommandReply(
        device_id="d", command="changeover", ok=True, result={"last_trigger_id": "t1", "product": PRODUCTS[1]}
    )
    run = Run(triggers=["t0", "t1", "t2", "t3"], asked=[(PRODUCTS[1], 1_000_000)], replies=[reply])
    run.records = {"t0": first, "t1": first, "t2": second, "t3": second}
    run.acted_ns = {"t0": 1, "t1": 2, "t2": 4_000_000, "t3": 9_000_000}
    assert judged_wrongly(run) == []
    assert first_action_ms(run) == [3.0]
    run.records |= {"t1": second, "t3": second | {"versions": second["versions"] | {"bundle_digest": PRODUCTS[0]}}}
    assert judged_wrongly(run) == ["t1", "t3"]


def test_a_gate_that_errs_more_often_than_it_says_is_noticed() -> None:
    blind = shadow(Candidate(escapes=1.0))
    figures = judged(Row("SHADOW", "accepts all", False, blind), 3, 0)
    assert (figures["pass"], figures["fail"]) == (0, 3)
    assert figures["fail_parts"][0] <= figures["fail_parts"][1] < 500
    assert keeps_its_promise(Row("SHADOW", "", False, blind), figures)
    assert not keeps_its_promise(Row("SHADOW", "", True, blind), figures)


def test_a_fleet_of_simulated_devices_holds_a_bad_release_where_it_shows(tmp_path: Path) -> None:
    found = rollout.run(tmp_path, 60, rollout.STORIES[:2])
    everywhere, on_lines = (found["stories"][story.name] for story in rollout.STORIES[:2])
    assert (everywhere["phase"], everywhere["furthest_ring"], everywhere["ever_ran_it"]) == ("halted", "lab", 5)
    assert (on_lines["phase"], on_lines["furthest_ring"]) == ("halted", "line")
    assert on_lines["ever_ran_it"] <= on_lines["ring_sizes"]["lab"] + on_lines["ring_sizes"]["line"]
    assert on_lines["still_have_it_after_it"] == {}
    assert found["check"]["nothing_new"]["requests_by_kind"] == {"root": 1.0, "timestamp": 1.0}


_ONE_AFTER_THE_OTHER = """
import runpy, sys
for call in sys.argv[1:]:
    name, *sys.argv[1:] = call.split()
    try:
        runpy.run_module(f"benchmarks.trainer.{name}", run_name="__main__")
    except SystemExit as end:
        print(name, end.code, file=sys.stderr)
"""
"""In one process, because what they import takes seconds."""


@pytest.mark.long
def test_data_that_cannot_be_measured_is_told_in_words(tmp_path: Path) -> None:
    calls = {
        "little_data": "--data nowhere",
        "release": "--data nowhere --bundle no.bundle",
        "sound_templates": "--data nowhere --out sound.txt",
        "taken_again": "--data nowhere --bundle no.bundle",
        "deeppcb": f"--data nowhere --holdout a --runs {tmp_path}",
    }
    command = [sys.executable, "-c", _ONE_AFTER_THE_OTHER, *(f"{name} {words}" for name, words in calls.items())]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    assert "Traceback" not in said
    for name in calls:
        words, _, said = said.partition(f"{name} 78\n")
        assert "nowhere: does not exist" in words, name
        assert words.splitlines()[-1].startswith(f"benchmarks.trainer.{name}: "), name
    assert not said


@pytest.mark.parametrize(
    ("option", "words"), [("--counts", "'x' is no count"), ("--seeds", "'x' is not a whole number")]
)
def test_what_is_no_number_of_pictures_or_seed_is_told_in_words(
    option: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        little_data.main(["--data", "nowhere", option, "25,x"])
    assert end.value.code == 2
    said = capsys.readouterr().err
    assert words in said and "Traceback" not in said


def test_what_a_training_took_is_told_as_far_as_it_was_judged() -> None:
    def epoch(step: int, ap: float | None, mib: int) -> dict[str, object]:
        return {"step": step, "elapsed_s": 2 * step, "peak_memory_mib": mib} | ({} if ap is None else {"ap_pooled": ap})

    told = whole_way.training([epoch(10, None, 5), epoch(20, 0.9, 9), epoch(30, 0.95, 7), epoch(40, 0.94, 8)])
    assert told == {
        "steps": 40,
        "seconds": 80,
        "peak_memory_mib": 9,
        "seconds_to_ap_095": 60,
        "curve": [(20, 0.9), (30, 0.95), (40, 0.94)],
    }
    assert whole_way.training([epoch(10, 0.9, 5)])["seconds_to_ap_095"] is None


def test_a_part_that_is_taken_again_lies_elsewhere_with_its_boxes_and_has_noise_of_its_own() -> None:
    picture, box = spot_picture(64, 64, [(1, 1, 200)]), np.array([[16, 16, 32, 32]], np.float32)
    again, moved = taken_again.take_again(picture, box, np.random.default_rng(3), 1.0)
    assert again.shape == picture.shape and again.dtype == np.uint8
    assert np.abs(moved - box).max() > 0.3
    rows, columns = np.nonzero(again[:, :, 0] > 100)
    framed = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    assert np.abs(moved[0] - framed).max() < 1.5
    assert again[48:, 48:].std() > 1.0
    same, still = taken_again.take_again(picture, box, np.random.default_rng(3), 0.0)
    assert np.array_equal(same, picture) and np.array_equal(still, box)


def test_how_far_off_a_reference_lies_is_told(tmp_path: Path) -> None:
    reference = board(3, side_px=320)[:, :, None]
    for stretch, low, high in ((0.0, 0.0, 0.5), (2.0, 2.0, 3.2)):
        part = laid_down(reference, (0.0, 0.0), 0.0, (stretch, 0.0))
        assert low <= alignment.off_px(reference, part) <= high
    flat = np.full_like(reference, 90)
    assert np.isnan(alignment.off_px(flat, flat))


def test_a_model_that_compares_with_nothing_is_not_measured_beside_references(tmp_path: Path) -> None:
    write_tiny_deeppcb(tmp_path / "pcb", {"a": 1})
    bundle = str(tiny_bundle(tmp_path / "tiny.bundle"))
    with pytest.raises(ConfigError, match="compares with no reference"):
        taken_again.main(["--bundle", bundle, "--data", str(tmp_path / "pcb"), "--json", str(tmp_path / "t.json")])


def test_a_template_with_a_speck_that_its_picture_lacks_is_no_good_part(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_tiny_deeppcb(tmp_path / "pcb", {"a": 3}, side_px=96)
    flawed = tmp_path / "pcb" / "a" / "a" / "1_temp.jpg"
    for number in range(3):
        for kind in ("test", "temp"):
            pixels = board(number)
            pixels[60:70, 50:60] = 255 if (number, kind) == (1, "temp") else pixels[60:70, 50:60]
            cv2.imwrite(str(flawed.with_name(f"{number}_{kind}.jpg")), pixels)
    assert sound_templates.main(["--data", str(tmp_path / "pcb"), "--out", str(tmp_path / "sound.txt")]) == 0
    listed = (tmp_path / "sound.txt").read_text().split()
    assert [Path(name).name for name in listed] == ["0_temp.jpg", "2_temp.jpg"]
    assert f"left out: {flawed}" in capsys.readouterr().out
    judged = read_dataset(Source(tmp_path / "pcb", good_list=tmp_path / "sound.txt"))
    assert sorted(sample.image.name for sample in judged.samples if sample.is_good) == ["0_temp.jpg", "2_temp.jpg"]
    with pytest.raises(ConfigError, match="no picture has another as its reference"):
        sound_templates.main(["--data", str(write_tiny_boards(tmp_path / "c")), "--out", str(tmp_path / "s.txt")])


def test_drawn_tiles_are_the_same_each_time_and_a_data_set_like_a_factory_s(tmp_path: Path) -> None:
    for name, seed in (("one", 3), ("again", 3), ("other", 4)):
        draw(tmp_path / name, 60, seed)
    one, again, other = (sorted((tmp_path / name).iterdir()) for name in ("one", "again", "other"))
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in again]
    assert not {path.read_bytes() for path in one} & {path.read_bytes() for path in other}
    found = read_dataset(Source(tmp_path / "one"))
    assert found.classes == tuple(KINDS)
    assert 0 < sum(not tile.is_good for tile in found.samples) < len(found.samples) / 2
    sizes = [cv2.imread(str(tile.image)).shape[1::-1] for tile in found.samples]
    assert len(set(sizes)) > 50
    for tile, size in zip(found.samples, sizes, strict=True):
        assert (tile.boxes[:, :2] >= 0).all() and (tile.boxes[:, 2:] <= size).all()


def test_tiles_of_another_number_are_not_taken_for_those_asked_for(tmp_path: Path) -> None:
    draw(tmp_path / "tiles", 3, 0)
    with pytest.raises(ConfigError, match="holds 3 tiles, not 4"):
        tiles.main(["--runs", str(tmp_path), "--pictures", "4"])


@pytest.mark.long
def test_a_net_learns_from_little_beside_references(tmp_path: Path) -> None:
    write_dataset(
        tmp_path / "boards",
        12,
        1,
        size=(160, 160),
        defect_rate=0.6,
        parts_per_family=4,
        has_references=True,
        is_quiet=True,
    )
    halves = split_by_group(read_dataset(Source(tmp_path / "boards")), ("family-1-2",))
    few = little_data.take(halves, 3)
    assert sum(not sample.is_good for sample in few.train.samples) == 3
    figures = little_data.fit(few, "auto", steps=1, seed=0, compares=True)
    assert figures["bad"] + figures["good"] == len(halves.validation.samples)
