"""The appliance's commands as a user types them: output, exit codes, and words instead of tracebacks."""

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

from appliance.__main__ import main
from appliance.bundle.archive import read_bundle, write_bundle
from appliance.bundle.golden import GoldenImage
from appliance.clock import SystemClock
from appliance.events import Verdict
from appliance.health import EXIT_HUNG
from appliance.links.topics import Topics
from appliance.processor import LATENCY_DEVICE
from appliance.stores.ledger import SqliteLedger
from tests import planted
from tests.ledger_inspections import make_inspection, make_trigger
from tests.models import golden_of_all_kinds, spot_detection, spot_picture, tiny_bundle, tiny_manifest, tiny_model
from tests.plant import RECIPE, Plant, write_station
from tests.stations import BOTH_BROKERS, needs_mosquitto, until
from tests.stations import Line as HeardLine

COMMANDS = ("run", "demo", "replay", "check", "prove", "changeover", "bench", "export", "simulate")


def appliance(*words: object, timeout_s: float = 90) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "appliance", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)


def assert_refused_in_words(ended: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    assert ended.returncode == code, ended.stderr
    assert "Traceback" not in ended.stderr
    for word in words:
        assert word in ended.stderr


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """Eight pictures with COCO truth; the spot on 3 is missing in the truth, the one on 5 too faint to be found."""
    folder = tmp_path / "recorded"
    folder.mkdir()
    images, annotations = [], []
    for number in range(8):
        spots = {1: [(1, 1, 200)], 3: [(2, 2, 220)], 5: [(1, 1, 90)]}.get(number, [])
        cv2.imwrite(str(folder / f"{number}.png"), spot_picture(64, 64, spots))
        images.append({"id": number, "file_name": f"{number}.png", "width": 64, "height": 64})
        if number in (1, 5):
            box = [16, 16, 16, 16]
            annotations.append(
                {"id": number, "image_id": number, "category_id": 1, "bbox": box, "area": 256, "iscrowd": 0}
            )
    document = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "spot"}]}
    (folder / "annotations.json").write_text(json.dumps(document))
    return folder


@pytest.fixture
def station(tmp_path: Path) -> Path:
    """A station's configuration without a broker; returns config.yaml."""
    tiny_bundle(tmp_path / "tiny.bundle")
    return write_station(tmp_path)


def change(config: Path, **changes: Any) -> None:
    config.write_text(yaml.safe_dump({**yaml.safe_load(config.read_text()), **changes}))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_and_its_exit_codes(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match=r"^0$"):
        main([command, "--help"])
    assert "exit codes" in capsys.readouterr().out


def test_a_command_explains_itself_as_a_user_calls_it() -> None:
    ended = appliance("demo", "--help")
    assert (ended.returncode, "exit codes" in ended.stdout) == (0, True)


def test_replay_reports_escapes_and_overkill_against_the_truth(recorded: Path, tmp_path: Path) -> None:
    bundle, report = tiny_bundle(tmp_path / "tiny.bundle"), tmp_path / "report.json"
    ended = appliance("replay", recorded, "--bundle", bundle, "--json", report)
    assert ended.returncode == 0, ended.stderr
    document = json.loads(report.read_text())
    assert document["triggers"] == 8
    assert document["losses"] == {"without_verdict": 0}
    assert document["confusion"]["defective"] == {"ACCEPT": 1, "REJECT": 1, "REVIEW": 0, "FAULT": 0}
    assert document["confusion"]["good"] == {"ACCEPT": 5, "REJECT": 1, "REVIEW": 0, "FAULT": 0}
    assert {"accept", "capture", "correct", "infer", "decide", "record", "decided"} <= set(document["latency_ms"])
    assert "escapes 1 of 2, overkill 1 of 6" in ended.stdout


@pytest.mark.parametrize(
    ("limit", "code"), [(("--max-escapes", 1), 0), (("--max-escapes", 0), 1), (("--max-overkill", 0), 1)]
)
def test_replay_says_no_when_a_limit_is_broken(
    recorded: Path, tmp_path: Path, limit: tuple[str, int], code: int
) -> None:
    ended = appliance("replay", recorded, "--bundle", tiny_bundle(tmp_path / "tiny.bundle"), *limit)
    assert ended.returncode == code


def test_replay_gives_a_broken_picture_a_fault_and_goes_on(recorded: Path, tmp_path: Path) -> None:
    (recorded / "2.png").write_bytes(b"\x89PNG broken")
    report = tmp_path / "report.json"
    bundle = tiny_bundle(tmp_path / "tiny.bundle")
    assert appliance("replay", recorded, "--bundle", bundle, "--json", report).returncode == 1
    assert appliance("replay", recorded, "--bundle", bundle, "--max-faults", 1).returncode == 0
    document = json.loads(report.read_text())
    assert document["verdicts"]["FAULT"] == 1
    assert document["reasons"]["camera"] == 1
    assert document["triggers"] == sum(document["verdicts"].values()) == 8


def test_replay_takes_its_view_from_the_recipe(recorded: Path, tmp_path: Path) -> None:
    (view,) = RECIPE["views"]  # type: ignore[misc]
    recipe, report = tmp_path / "side.yaml", tmp_path / "report.json"
    recipe.write_text(yaml.safe_dump(RECIPE | {"views": [view | {"name": "side", "channels": 3}]}))
    bundle = tiny_bundle(tmp_path / "tiny.bundle")
    ended = appliance("replay", recorded, "--bundle", bundle, "--recipe", recipe, "--json", report)
    assert ended.returncode == 0, ended.stderr
    assert json.loads(report.read_text())["verdicts"] == {"ACCEPT": 6, "REJECT": 2, "REVIEW": 0, "FAULT": 0}


def test_pictures_of_several_sizes_are_refused_before_anything_runs(recorded: Path, tmp_path: Path) -> None:
    cv2.imwrite(str(recorded / "4.png"), spot_picture(80, 64))
    bundle = tiny_bundle(tmp_path / "tiny.bundle")
    for words in (("replay", recorded), ("demo", "--parts", 1, "--images", recorded)):
        assert_refused_in_words(appliance(*words, "--bundle", bundle), 78, "4.png has 80x64 px", "0.png has 64x64")


CRASHES = """
import sys, threading
from appliance.__main__ import main
def crash(frame, event, argument):
    if threading.current_thread().name == "inspect:0":
        raise ValueError("unforeseen")
threading.setprofile(crash)  # of each thread that starts from here on
sys.exit(main(sys.argv[1:]))
"""


def test_an_unforeseen_error_in_a_thread_ends_a_replay(recorded: Path, tmp_path: Path) -> None:
    words = ("replay", str(recorded), "--bundle", str(tiny_bundle(tmp_path / "tiny.bundle")))
    ended = subprocess.run(
        [sys.executable, "-c", CRASHES, *words], env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True, text=True, timeout=90, check=False,
    )  # fmt: skip
    assert ended.returncode == EXIT_HUNG, ended.stderr
    assert "ValueError: unforeseen" in ended.stderr


def test_check_finds_a_sound_station_sound(station: Path) -> None:
    planted.write(station.parent / "tiny.bundle", tiny_model(64, 64), golden_of_all_kinds(), tiny_manifest())
    ended = appliance("check", "--config", station, "--json")
    findings = {finding["what"]: finding for finding in json.loads(ended.stdout)}
    computers = ("clock", "processor")  # what they say depends on where the test runs
    wrong = [name for name, finding in findings.items() if not finding["is_ok"] and name not in computers]
    assert not wrong, findings
    assert "; memory in MiB " in findings["device"]["seen"]
    assert findings["processor"]["is_ok"] == (not LATENCY_DEVICE.exists() or os.access(LATENCY_DEVICE, os.W_OK))
    assert "golden images as at the trainer" in findings["runtime and proof"]["seen"]
    assert findings["golden images"]["seen"] == "32, of every kind"
    assert findings["camera top"]["seen"] == "64x64, 1 channel(s)"


@pytest.mark.parametrize("damage", ["camera", "bundle", "recipe", "broker", "configuration", "image store's disk"])
def test_check_names_what_is_wrong_and_what_to_do(station: Path, damage: str) -> None:
    what = damage
    if damage == "camera":
        cv2.imwrite(str(station.parent / "pictures" / "0.png"), spot_picture(32, 32))
        what = "camera top"
    elif damage == "bundle":
        bundle = station.parent / "tiny.bundle"
        bundle.write_bytes(bundle.read_bytes()[:-100])
    elif damage == "recipe":
        (station.parent / "recipe.yaml").write_text(yaml.safe_dump({**RECIPE, "deadline": 5}))
    elif damage == "broker":
        change(station, mqtt={"host": "127.0.0.1", "port": 1})
    elif damage == "image store's disk":
        (station.parent / "images").mkdir()
        change(station, images={"directory": "images/" + "x" * 300})  # the system refuses to look, as without rights
    else:
        change(station, unknown_key=1)
    ended = appliance("check", "--config", station, "--json")
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    found = next(finding for finding in json.loads(ended.stdout) if finding["what"] == what)
    assert not found["is_ok"]
    assert found["seen"] and found["remedy"]


def test_another_version_looks_at_the_software_and_leaves_alone_what_the_line_holds(station: Path) -> None:
    for path in (station.parent / "pictures").iterdir():
        path.unlink()  # its camera
    change(station, mqtt={"host": "127.0.0.1", "port": 1})
    ended = appliance("check", "--config", station, "--software", "--json")
    assert ended.returncode == 0, ended.stdout
    found = [finding["what"] for finding in json.loads(ended.stdout)]
    assert found == ["configuration", "accelerator", "bundle", "recipe", "runtime and proof"]
    change(station, unknown_key=1)
    assert appliance("check", "--config", station, "--software", "--json").returncode == 1


def test_run_refuses_a_configuration_that_a_person_must_change_and_is_not_started_again(station: Path) -> None:
    change(station, queue_sise=3)
    assert_refused_in_words(appliance("run", "--config", station), 78, "queue_sise", "queue_size", "config.yaml:")


def test_run_refuses_a_damaged_bundle(station: Path) -> None:
    bundle = station.parent / "tiny.bundle"
    data = bytearray(bundle.read_bytes())
    data[len(data) // 2] ^= 1
    bundle.write_bytes(data)
    assert_refused_in_words(appliance("run", "--config", station), 65, "tiny.bundle")


def test_run_refuses_a_bundle_that_this_device_does_not_prove(station: Path) -> None:
    honest = read_bundle(tiny_bundle(station.parent / "tiny.bundle"))
    somewhere_else = GoldenImage.from_pixels(spot_picture(64, 64, [(1, 1, 200)]), (spot_detection(2, 2, 200),))
    write_bundle(
        station.parent / "tiny.bundle", honest.manifest, model_onnx=honest.model_onnx,
        golden=[somewhere_else, *honest.golden], baseline=honest.baseline, model_card=honest.model_card,
    )  # fmt: skip
    assert_refused_in_words(appliance("run", "--config", station), 65, "golden/")


def test_run_refuses_a_recipe_without_a_camera_for_each_view(station: Path) -> None:
    change(station, cameras={"side": {"type": "folder", "directory": "pictures"}})
    assert_refused_in_words(appliance("run", "--config", station), 78, "top", "side")


def test_run_refuses_an_unknown_camera_type_with_the_line(station: Path) -> None:
    change(station, cameras={"top": {"type": "telepathy"}})
    assert_refused_in_words(appliance("run", "--config", station), 78, "telepathy", "config.yaml:")


@pytest.mark.parametrize("words", [("replay", "nowhere"), ("demo", "--images", "nowhere", "--parts", "1")])
def test_a_folder_that_is_not_there_is_said_in_words(words: tuple[str, ...], tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "tiny.bundle")
    assert_refused_in_words(appliance(*words, "--bundle", bundle), 78, "nowhere")


def test_an_option_that_would_do_nothing_is_refused(recorded: Path, tmp_path: Path) -> None:
    words = ("demo", "--images", recorded, "--parts", 1, "--defect-rate", 0.15)
    assert_refused_in_words(appliance(*words), 78, "--defect-rate", "--images")
    words = ("simulate", tmp_path / "set", "--parts-per-second", 10)
    assert_refused_in_words(appliance(*words), 78, "--parts-per-second", "--optics")


def test_replay_does_not_count_escapes_where_nobody_knows_the_truth(recorded: Path, tmp_path: Path) -> None:
    (recorded / "annotations.json").unlink()
    ended = appliance("replay", recorded, "--bundle", tiny_bundle(tmp_path / "tiny.bundle"), "--max-escapes", 0)
    assert_refused_in_words(ended, 78, "no truth")


@pytest.mark.parametrize(
    "words",
    [
        ("demo", "--rate", 0), ("demo", "--defect-rate", 2), ("demo", "--seed", -1), ("demo", "--parts", 0),
        ("demo", "--json", "/nowhere/x.json"), ("replay", ".", "--json", "/nowhere/x.json"),
        ("replay", ".", "--limit", 0), ("replay", ".", "--json", "/proc/x.json"),
        ("demo", "--svg", "x" * 300), ("demo", "--svg", "/dev"),
    ],
)  # fmt: skip
def test_an_argument_that_makes_no_sense_is_refused_before_anything_runs(
    words: tuple[object, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match=r"^2$"):
        main([*map(str, words)])
    assert str(words[-2]) in capsys.readouterr().err


def test_a_result_that_cannot_be_written_is_said_after_it_is_shown(recorded: Path, tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "tiny.bundle")
    ended = appliance("replay", recorded, "--bundle", bundle, "--json", "/dev/full")
    assert_refused_in_words(ended, 74, "/dev/full cannot be written: No space left", "name another file")
    assert "escapes 1 of 2" in ended.stdout
    report = tmp_path / "report.json"
    words = ("--images", recorded, "--bundle", bundle, "--parts", 2, "--rate", 20, "--json", report)
    ended = appliance("demo", *words, "--svg", "/dev/full")
    assert_refused_in_words(ended, 74, "/dev/full cannot be written: No space left")
    assert "losses: none" in ended.stdout
    assert json.loads(report.read_text())["triggers"] == 2


def test_a_demo_does_not_mix_with_an_earlier_ones_ledger(recorded: Path, tmp_path: Path) -> None:
    bundle, folder = tiny_bundle(tmp_path / "tiny.bundle"), tmp_path / "kept"
    words = ("demo", "--images", recorded, "--bundle", bundle, "--parts", 2, "--rate", 20, "--directory", folder)
    assert appliance(*words).returncode == 0
    assert_refused_in_words(appliance(*words), 78, str(folder))


@pytest.mark.parametrize("broker", BOTH_BROKERS)
def test_the_demo_ends_by_itself_with_one_verdict_per_trigger(broker: str, recorded: Path, tmp_path: Path) -> None:
    report, picture = tmp_path / "report.json", tmp_path / "screen.svg"
    ended = appliance(
        "demo", "--images", recorded, "--bundle", tiny_bundle(tmp_path / "tiny.bundle"), "--parts", 16, "--rate", 4,
        "--broker", broker, "--json", report, "--svg", picture,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "mqtt://127.0.0.1:" in ended.stdout
    assert "starting the appliance" in ended.stdout
    assert broker in ended.stdout
    document = json.loads(report.read_text())
    assert document["triggers"] == sum(document["verdicts"].values()) == 16
    assert not any(document["losses"].values())
    assert document["quality"]["escapes"] == 2
    assert {"p50", "p95", "p99"} <= set(document["latency_ms"]["round_trip"])
    assert 0 < document["latency_ms"]["frame_to_action"]["p50"] < document["latency_ms"]["round_trip"]["p50"]
    assert "REJECT" in picture.read_text()


@needs_mosquitto
def test_a_station_that_is_asked_to_stop_stops_with_nothing_left_open(tmp_path: Path) -> None:
    with Plant(tmp_path) as plant:
        for number in range(20):
            plant.announce(f"part-{number}", deadline_ms=5000)
        plant.wait_for_outcomes(20)
        plant.wait_for_records(20)
        assert plant.stop() == 0
        assert plant.query("SELECT count(*) FROM open_trigger") == [(0,)]
        verdicts = dict(plant.query("SELECT verdict, count(*) FROM inspection GROUP BY verdict"))
        pictures = list((tmp_path / "images").rglob("*.png"))
        plant.start()
    assert verdicts == {"ACCEPT": 10, "REJECT": 10}
    assert len(pictures) == 10
    rejected = cv2.imread(str(pictures[0]), cv2.IMREAD_GRAYSCALE)
    assert np.array_equal(rejected[:, :, None], spot_picture(64, 64, [(1, 1, 200)]))


@needs_mosquitto
def test_a_running_station_keeps_the_processor_awake_if_it_may_and_says_so(tmp_path: Path) -> None:
    with Plant(tmp_path) as plant:
        until(lambda: "takes parts" in plant.log(), "its word that all is set up, a little after it is online")
        log = plant.log()
        if os.access(LATENCY_DEVICE, os.R_OK | os.W_OK):
            assert LATENCY_DEVICE.read_bytes()[:4] == bytes(4)
            assert "the processor stays awake between parts" in log
        else:
            assert "the processor may sleep between parts" in log
    plant.config["processor"] = {"wake_up_us": None}
    plant.start()
    assert until(lambda: "may sleep between parts, as configured" in plant.log(), "the station's word on it")
    assert plant.stop() == 0


def test_check_finds_an_altered_record(station: Path) -> None:
    ledger_path = station.parent / "ledger.db"
    with SqliteLedger.open(ledger_path, "d", "boot") as ledger:
        for number in range(3):
            trigger = make_trigger(f"t-{number}")
            ledger.accept(trigger)
            ledger.record(make_inspection(trigger, Verdict.REJECT))
    findings = {
        finding["what"]: finding for finding in json.loads(appliance("check", "--config", station, "--json").stdout)
    }
    assert findings["ledger"]["is_ok"]
    connection = sqlite3.connect(ledger_path)
    connection.execute("UPDATE inspection SET record = replace(record, 'REJECT', 'ACCEPT') WHERE seq = 2")
    connection.commit()
    connection.close()
    findings = {
        finding["what"]: finding for finding in json.loads(appliance("check", "--config", station, "--json").stdout)
    }
    assert not findings["ledger"]["is_ok"]
    assert "record 2" in findings["ledger"]["seen"]


@needs_mosquitto
def test_a_running_station_tells_how_it_is(tmp_path: Path) -> None:
    with Plant(tmp_path) as plant:
        heard = HeardLine(plant.broker.port, Topics.of(plant.settings()))
        for number in range(4):
            plant.announce(f"part-{number}", deadline_ms=9000)
        plant.wait_for_outcomes(4)
        plant.wait_for_records(4)
        reply = plant.consumer.command("status").result(20)
        beat = until(lambda: heard.documents(heard.topics.heartbeat), "a heartbeat")[0]
        heard.close()
        assert {plant.records[0].message.clock_synchronised, beat["clock_synchronised"]} == {
            SystemClock().is_synchronised()
        }
    assert reply.ok
    assert reply.result["last_seq"] == 4
    assert reply.result["stopped_because"] == ""
    assert reply.result["record_ms"]["p50"] > 0
    assert reply.result["deliver_ms"]["p50"] > 0
    assert reply.result["images"]["problem"] is None
    assert reply.result["links"][0]["protocol"] == "mqtt5"
