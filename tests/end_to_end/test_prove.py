"""appliance prove as a user types it, check beside it, and the start that finds its certificate."""

import json
import os
import platform
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator

from appliance.__main__ import main
from appliance.bundle.archive import read_bundle, write_bundle
from appliance.bundle.golden import GoldenImage
from appliance.bundle.manifest import Tolerance
from appliance.certification.certificate import read_certificate
from appliance.links.topics import Topics
from tests.models import golden_of_all_kinds, spot_detection, spot_picture, tiny_bundle, tiny_manifest, tiny_model
from tests.plant import RECIPE, Plant, write_station
from tests.planted import (
    int8_gone_bad,
    int8_that_answers_nan,
    int8_that_finds_more,
    slow_everywhere,
    tolerates,
    write,
    wrong_normalisation,
)
from tests.products import with_products, write_products
from tests.stations import Line, needs_mosquitto, until

SCHEMAS = Path(__file__).parents[2] / "docs" / "schemas"


@pytest.fixture
def station(tmp_path: Path) -> Path:
    tiny_bundle(tmp_path / "tiny.bundle")
    return write_station(tmp_path)


def certificates(config: Path) -> list[Path]:
    return sorted((config.parent / "certificates").glob("*.json"))


def test_prove_prints_what_was_proved_and_keeps_the_certificate(station: Path, tmp_path: Path) -> None:
    written = tmp_path / "c.json"
    command = [sys.executable, "-m", "appliance", "prove", "--config", str(station), "--json", str(written)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr
    (kept,) = certificates(station)
    certificate = read_certificate(kept.read_bytes(), "kept")
    assert read_certificate(written.read_bytes(), "written") == certificate
    assert (certificate.result.runs, certificate.result.images) == (200, 3)
    lacks = "only 3 golden images speak for the proof, 32 should; what they are there for is not said"
    assert (certificate.result.golden_lacks, certificate.summary().golden_lacks) == (lacks, lacks)
    for words in (
        "proved now: there is no certificate of this device yet", certificate.id[:12], "tiny revision 1",
        "spots version 1", "onnxruntime", "kernel", "p99", "budget", "only 3 golden images", "at once",
        "overlap from 0.900, scores 0.020 off", "3 detections: overlap from 1.0000",
        "overlap from 0.9; scores 0.02 off",
    ):  # fmt: skip
        assert words in ended.stdout, words


def test_prove_finds_a_valid_certificate_and_proves_again_only_if_asked(
    station: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["prove", "--config", str(station)]) == 0
    assert main(["prove", "--config", str(station)]) == 0
    assert "the certificate is valid" in capsys.readouterr().out
    assert len(certificates(station)) == 1
    assert main(["prove", "--config", str(station), "--again"]) == 0
    assert "proved now: a new proof was asked for" in capsys.readouterr().out
    assert len(certificates(station)) == 2


def test_of_several_products_each_gets_a_certificate_or_the_one_that_is_named(
    station: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    products = with_products(yaml.safe_load(station.read_text()), write_products(station.parent))
    station.write_text(yaml.safe_dump(products))
    written = station.parent / "written.json"
    assert main(["prove", "--config", str(station), "--product", "tolerant", "--json", str(written)]) == 0
    assert read_certificate(written.read_bytes(), "written").subject.recipe == "tolerant"
    assert main(["prove", "--config", str(station)]) == 0
    told = capsys.readouterr().out
    assert "product plain\nproved now" in told
    assert "product tolerant\nthe certificate is valid" in told
    assert len(certificates(station)) == 2
    for words, why in (
        (("--json", str(station.parent / "both.json")), "name a --product, one of plain, tolerant"),
        (("--product", "odd"), "no such product; there is plain, tolerant"),
    ):
        assert main(["prove", "--config", str(station), *words]) == 78
        assert why in capsys.readouterr().err


def test_a_product_that_is_refused_does_not_keep_the_next_one_from_its_proof(
    station: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    products = with_products(yaml.safe_load(station.read_text()), write_products(station.parent))
    wrong_normalisation(station.parent / "wrong.bundle")
    products["products"] = {
        "odd": {"recipe": "plain.yaml", "bundle": "wrong.bundle"},
        "lost": {"recipe": "lost.yaml", "bundle": "tiny.bundle"},
        "plain": products["products"]["plain"],
    }
    station.write_text(yaml.safe_dump(products, sort_keys=False))
    assert main(["prove", "--config", str(station)]) == 65, "the first refusal's"
    told = capsys.readouterr()
    assert "appliance: product odd: bundle tiny revision 1 does not do here" in told.err
    assert "appliance: product lost: " in told.err
    assert "product plain\nproved now" in told.out
    assert len(certificates(station)) == 1


def test_prove_says_what_a_void_certificate_is_void_for(station: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["prove", "--config", str(station)])
    station.write_text(yaml.safe_dump(yaml.safe_load(station.read_text()) | {"runtime": {"threads": 3}}))
    assert main(["prove", "--config", str(station)]) == 0
    assert "the number of threads was" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("plant", "code"), [(wrong_normalisation, 65), (lambda path: slow_everywhere(path, rounds=400), 75)]
)
def test_a_refused_bundle_gets_no_certificate_and_the_usual_exit_code(
    station: Path, plant: object, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    plant(station.parent / "tiny.bundle")  # type: ignore[operator]
    hurried = RECIPE | {"deadline_ms": 11, "answer_reserve_ms": 10} if code == 75 else RECIPE
    (station.parent / "recipe.yaml").write_text(yaml.safe_dump(hurried))
    assert main(["prove", "--config", str(station)]) == code
    assert "The running bundle stays" in capsys.readouterr().err
    assert certificates(station) == []


@pytest.mark.parametrize(
    ("min_iou", "difference", "words"),
    [
        (0.0, 1.0, "overlap by 0 (at least 0.9 is asked for) and scores 1 off (at most 0.02 may be)"),
        (0.89, 0.02, "its manifest tolerates boxes that overlap by 0.89 (at least 0.9 is asked for). The running"),
        (0.9, 0.021, "its manifest tolerates scores 0.021 off (at most 0.02 may be). The running"),
    ],
)
def test_no_manifest_may_tolerate_more_than_any_may(
    station: Path, min_iou: float, difference: float, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    tolerates(station.parent / "tiny.bundle", Tolerance(min_iou=min_iou, max_score_difference=difference))
    assert main(["prove", "--config", str(station)]) == 65
    assert words in capsys.readouterr().err
    assert certificates(station) == []


def golden(grey: int) -> GoldenImage:
    return GoldenImage.from_pixels(spot_picture(64, 64, [(1, 1, grey)]), (spot_detection(1, 1, grey),))


EMPTY = GoldenImage.from_pixels(spot_picture(64, 64), ())
FAINT, CLEAR = golden(115), golden(200)
"""Scores 0.45 and 0.78; the bundle's limit and the recipe's are 0.5."""


@pytest.mark.parametrize(
    ("images", "words"),
    [
        ([EMPTY], "none of its golden images is rejected, so that a model that finds nothing would do"),
        ([EMPTY, FAINT] * 16, "none of its golden images is rejected"),
        ([CLEAR] * 32, "none of its golden images is accepted, so that a model that rejects every part would do"),
    ],
)
def test_a_bundle_whose_golden_images_decide_nothing_gets_no_certificate(
    station: Path, images: list[GoldenImage], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write(station.parent / "tiny.bundle", tiny_model(64, 64), images, tiny_manifest())
    assert main(["prove", "--config", str(station)]) == 65
    assert f"bundle tiny revision 1 cannot be proved: {words}" in capsys.readouterr().err
    assert certificates(station) == []


@pytest.mark.parametrize(
    ("images", "limits"),
    [
        ([EMPTY, CLEAR], {}),
        ([EMPTY, CLEAR], {"reject_limit": 0.95}),
        ([EMPTY, FAINT], {"reject_limit": 0.42}),
        ([EMPTY, FAINT], {"reject_limit": 0.95, "accept_limit": 0.42}),
    ],
)
def test_two_golden_images_are_enough_to_decide_something_here_or_at_the_trainer(
    station: Path, images: list[GoldenImage], limits: dict[str, float]
) -> None:
    write(station.parent / "tiny.bundle", tiny_model(64, 64), images, tiny_manifest())
    (station.parent / "recipe.yaml").write_text(yaml.safe_dump(RECIPE | {"classes": {"spot": limits}}))
    assert main(["prove", "--config", str(station)]) == 0


@pytest.mark.parametrize(("min_iou", "judges"), [(0.6, "int8"), (0.59, "f32")])
def test_a_model_with_8_bits_has_a_bound_of_its_own(station: Path, min_iou: float, judges: str) -> None:
    wide, usual = (Tolerance(min_iou=least, max_score_difference=off) for least, off in ((min_iou, 0.3), (0.9, 0.02)))
    tolerates(station.parent / "tiny.bundle", usual, wide)
    settings = {"runtime": {"precision": "int8", "threads": 1}}
    station.write_text(yaml.safe_dump(yaml.safe_load(station.read_text()) | settings))
    assert main(["prove", "--config", str(station)]) == 0
    (kept,) = certificates(station)
    certificate = read_certificate(kept.read_bytes(), "kept")
    assert certificate.means.precision == judges
    assert [each for each in certificate.refused if "of its int8 model its manifest tolerates" not in each] == []
    assert len(certificate.refused) == (judges == "f32")


@pytest.mark.parametrize(
    ("plant", "judges", "words"),
    [
        (int8_gone_bad, "fp16", "bundle tiny revision 1 does not do here what it did at the trainer: golden/000.png: "),
        (int8_that_finds_more, "f32", "at the trainer: AP against model.onnx is 0.8333 (at least 0.997). The running"),
        (
            int8_that_answers_nan,
            "f32",
            "the model answered with scores that are NaN or not within 0..1; it may not judge",
        ),
    ],
)
def test_a_model_with_8_bits_that_may_not_judge_is_followed_by_another_and_prove_says_so(
    station: Path, plant: Callable[[Path], Path], judges: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    plant(station.parent / "tiny.bundle")
    settings = {"runtime": {"precision": "int8", "threads": 1}}
    station.write_text(yaml.safe_dump(yaml.safe_load(station.read_text()) | settings))
    assert main(["prove", "--config", str(station)]) == 0
    told = capsys.readouterr().out
    (kept,) = certificates(station)
    certificate = read_certificate(kept.read_bytes(), "kept")
    assert (certificate.subject.asked, certificate.means.precision) == ("int8", judges)
    (refused,) = certificate.refused
    assert refused.startswith("int8: ")
    assert words in refused
    assert f"refused {refused}" in told
    assert certificate.summary().refused == [refused]


def test_kinds_of_golden_images_are_counted(station: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = station.parent / "tiny.bundle"
    honest = read_bundle(path)
    golden = [
        replace(image, kind=kind) for image, kind in zip(honest.golden, ("clear_good", "dark", "dark"), strict=True)
    ]
    write_bundle(
        path, honest.manifest, model_onnx=honest.model_onnx, golden=golden, baseline=honest.baseline,
        model_card=honest.model_card,
    )  # fmt: skip
    assert main(["prove", "--config", str(station)]) == 0
    assert "1 clear good, 2 dark" in capsys.readouterr().out


def test_check_tells_the_certificate_and_does_not_prove_again(
    station: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["prove", "--config", str(station)])
    capsys.readouterr()
    main(["check", "--config", str(station), "--json"])
    (kept,) = certificates(station)
    findings = json.loads(capsys.readouterr().out)
    seen, golden = (
        next(each["seen"] for each in findings if each["what"] == what)
        for what in ("runtime and proof", "golden images")
    )
    assert f"certificate {read_certificate(kept.read_bytes(), 'kept').id[:12]} of " in seen
    assert " is valid" in seen
    assert golden == "only 3 golden images speak for the proof, 32 should; what they are there for is not said"
    (station.parent / "recipe.yaml").write_text(yaml.safe_dump(RECIPE | {"version": 2}))
    main(["check", "--config", str(station)])
    assert "proved now: the recipe's version was 1 and is 2 now" in capsys.readouterr().out


@pytest.mark.parametrize(("side_px", "pictures"), [(64, 1), (128, 4)])
def test_check_tells_what_the_certificate_leaves_for_taking_the_picture(
    station: Path, side_px: int, pictures: int, capsys: pytest.CaptureFixture[str]
) -> None:
    (view,) = yaml.safe_load(yaml.safe_dump(RECIPE["views"]))
    recipe = RECIPE | {"views": [view | {"width_px": side_px, "height_px": side_px, "tiles": {"overlap_px": 0}}]}
    (station.parent / "recipe.yaml").write_text(yaml.safe_dump(recipe | {"deadline_ms": 900}))
    main(["check", "--config", str(station)])
    (kept,) = certificates(station)
    left_ms = 900 - 100 - pictures * read_certificate(kept.read_bytes(), "kept").result.latency_ms.p99
    assert f"; {left_ms:.0f} ms of a part's 900 ms are left for taking its picture" in capsys.readouterr().out


def test_check_names_what_the_golden_images_do_not_tell(station: Path, capsys: pytest.CaptureFixture[str]) -> None:
    golden = [image for image in golden_of_all_kinds() if image.kind not in ("dark", "near_limit")]
    write(station.parent / "tiny.bundle", tiny_model(64, 64), golden, tiny_manifest())
    assert main(["check", "--config", str(station), "--json"]) == 1
    findings = {finding["what"]: finding for finding in json.loads(capsys.readouterr().out)}
    assert findings["runtime and proof"]["is_ok"], "it may judge all the same"
    assert findings["golden images"] == {
        "what": "golden images",
        "is_ok": False,
        "seen": "only 22 golden images speak for the proof, 32 should; no golden image is there for: near limit, dark",
        "remedy": "export the bundle anew with such pictures (trainer export), or know that its proof says little",
    }


@needs_mosquitto
def test_a_running_station_publishes_its_certificate_and_the_next_start_finds_it(tmp_path: Path) -> None:
    with Plant(tmp_path) as plant:
        (kept,) = certificates(tmp_path / "config.yaml")
        certificate = read_certificate(kept.read_bytes(), "kept")
        line = Line(plant.broker.port, Topics.of(plant.settings()))
        meta = until(lambda: line.documents(line.topics.meta), "meta")[-1]
        line.close()
        plant.announce("part-1", deadline_ms=5000)
        plant.wait_for_records(1)
        assert plant.records[0].message.versions["certificate"] == certificate.id
        assert meta["certificate"] == certificate.summary().model_dump(mode="json")
        assert meta["certificate"]["device"]["kernel"] == platform.release()
        Draft202012Validator(json.loads((SCHEMAS / "meta.json").read_text())).validate(meta)
        assert main(["prove", "--config", str(tmp_path / "config.yaml")]) == 0, "beside the running station"
        plant.stop()
        plant.start()
        assert plant.consumer.wait_until_online(40)
        plant.announce("part-2", deadline_ms=20_000)
        plant.wait_for_records(2, timeout_s=40)
        first, second = (record.message for record in plant.records)
        assert second.boot_id != first.boot_id
        assert second.versions["certificate"] == certificate.id
        assert certificates(tmp_path / "config.yaml") == [kept]


def test_systemd_hears_that_a_start_that_proves_goes_on(station: Path, tmp_path: Path) -> None:
    address = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(address))
        systemd.settimeout(30)
        command = [sys.executable, "-m", "appliance", "run", "--config", str(station)]
        process = subprocess.Popen(command, env={**os.environ, "NOTIFY_SOCKET": str(address)})
        heard = [systemd.recv(100).decode()]
        while heard[-1] != "READY=1":
            heard.append(systemd.recv(100).decode())
        process.terminate()
        assert process.wait(30) == 0
    assert heard[0] == "EXTEND_TIMEOUT_USEC=60000000"
