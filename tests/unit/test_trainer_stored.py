"""A version in a store holds each file once, is never written over, and comes back as it was or not at all."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from appliance.errors import StorageError
from tests.processes import PATIENCE_S
from tests.s3_server import BUCKET, CREDENTIALS, S3Server
from tests.stations import until
from tests.tiny_boards import write_tiny_boards
from tests.tiny_deeppcb import write_tiny_deeppcb
from trainer.__main__ import main
from trainer.datasets.address import VersionAddress, place
from trainer.datasets.reading import read_dataset
from trainer.datasets.sample import Dataset
from trainer.datasets.store import Store
from trainer.datasets.stored import StoredSource

pytestmark = pytest.mark.long

SAID = ["--why", "a test", "--who", "A. P."]
S3 = f"s3://{BUCKET}/sets"


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with S3Server() as running:
        yield running


@pytest.fixture(params=["s3", "local"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where to store: a prefix of its own on the server, or a folder."""
    if request.param == "local":
        return str(tmp_path / "store")
    request.getfixturevalue("server")
    return f"{S3}-{tmp_path.name}"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_tiny_boards(tmp_path / "data").parent


def keep(data: Path, address: str, *words: str) -> str:
    """Store a data set; returns ADDRESS@VERSION as it was told."""
    target = data.parent / "told"
    target.mkdir(exist_ok=True)
    assert main(["data", "version", "--data", str(data), "--to", address, *SAID, *words]) == 0
    assert main(["data", "version", "--data", str(data), "--out", str(target), *SAID]) == 0
    (path,) = target.glob("*.json")
    name = path.stem
    shutil.rmtree(target)
    return f"{address}@{name}"


def brought(version: str, cache: Path) -> Dataset:
    found = place(version)
    assert isinstance(found, VersionAddress)
    return read_dataset(StoredSource(found, cache))


def contents(dataset: Dataset) -> list[tuple[str, bytes, str, bytes, bytes, bytes | None]]:
    return sorted(
        (
            sample.image.name,
            sample.image.read_bytes(),
            sample.group,
            *(
                array[np.lexsort(np.c_[sample.boxes, sample.labels].T)].tobytes()
                for array in (sample.boxes, sample.labels)
            ),
            sample.reference and sample.reference.read_bytes(),
        )
        for sample in dataset.samples
    )


def outlines_and_origins(data: Path) -> list[tuple[str, list[object], object]]:
    samples = sorted(read_dataset(data, for_version=True).samples, key=lambda sample: sample.image.name)
    return [(sample.image.name, sorted(sample.outlines), sample.origin) for sample in samples]


def test_what_was_stored_comes_back_as_it_was(data: Path, address: str, tmp_path: Path) -> None:
    stored = brought(keep(data, address), tmp_path / "cache")
    assert stored.classes == read_dataset(data).classes
    assert contents(stored) == contents(read_dataset(data))


def test_cameras_come_back_and_are_taken_over_by_an_import(data: Path, address: str, tmp_path: Path) -> None:
    content = json.loads((data / "annotations.json").read_text())
    for image in content["images"][1:]:
        image["camera"] = ("left", "right")[image["id"] % 2]
    (data / "annotations.json").write_text(json.dumps(content))
    stored = brought(keep(data, address), tmp_path / "cache")
    assert main(["data", "import", "--from", "coco", str(data), "--out", str(tmp_path / "set")]) == 0
    wanted = {sample.image.name: sample.camera for sample in read_dataset(data).samples}
    assert set(wanted.values()) == {"", "left", "right"}
    for each in (stored, read_dataset(tmp_path / "set")):
        assert {sample.image.name: sample.camera for sample in each.samples} == wanted


def test_outlines_and_who_drew_them_come_back_through_a_store_a_copy_and_an_import(data: Path, tmp_path: Path) -> None:
    content = json.loads((data / "annotations.json").read_text())
    content["images"][0]["origin"] = {"verdicts": [{"who": "Ann", "at": "2026-11-10T08:00:00.000Z"}]}
    for item in content["annotations"]:
        x, y, width, height = item["bbox"]
        item["segmentation"] = [[x, y, x + width, y, x, y + height], [x, y, x + 1, y, x, y + 1]]
    (data / "annotations.json").write_text(json.dumps(content))
    stored = keep(data, str(tmp_path / "store"))
    assert main(["data", "pull", stored, "--out", str(tmp_path / "pulled")]) == 0
    assert main(["data", "import", "--from", "coco", str(data), "--out", str(tmp_path / "set")]) == 0
    wanted = outlines_and_origins(data)
    assert any(outlines for _, outlines, _ in wanted) and any(origin for _, _, origin in wanted)
    for folder in ("pulled", "set"):
        assert outlines_and_origins(tmp_path / folder) == wanted
    assert keep(tmp_path / "pulled", str(tmp_path / "again")).endswith(stored[-16:])


def test_copper_and_references_come_back_too(tmp_path: Path, address: str) -> None:
    data = write_tiny_deeppcb(tmp_path / "data", {"a": 2, "b": 1}).parent
    stored = brought(keep(data, address), tmp_path / "cache")
    assert stored.copper == read_dataset(data).copper
    assert contents(stored) == contents(read_dataset(data))
    good = [sample for sample in stored.samples if sample.is_good]
    assert good
    assert all(sample.reference == sample.image for sample in good)


def test_no_file_is_stored_twice_also_by_the_next_version(
    data: Path, address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(data / "000.png", data / "copy.png")
    content = json.loads((data / "annotations.json").read_text())
    content["images"].append({"id": 99, "file_name": "copy.png", "group": "family0"})
    (data / "annotations.json").write_text(json.dumps(content))
    first = keep(data, address)
    assert "12 files sent, 0 were there" in capsys.readouterr().out
    content["annotations"].pop()
    cv2.imwrite(str(data / "new.png"), np.full((96, 96), 7, np.uint8))
    content["images"].append({"id": 100, "file_name": "new.png", "group": "family1"})
    (data / "annotations.json").write_text(json.dumps(content))
    second = keep(data, address, "--parent", first)
    told = capsys.readouterr().out
    assert "1 files sent, 12 were there" in told
    assert "1 added, 1 relabelled" in told
    assert main(["data", "diff", first, second, "--json", str(tmp_path / "d.json")]) == 0
    changes = json.loads((tmp_path / "d.json").read_text())["changes"]
    assert [(item["kind"], item["name"]) for item in changes] == [("added", "new.png"), ("relabelled", "010.png")]


def test_a_stored_version_is_never_written_over(
    data: Path, address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    version = keep(data, address)
    assert main(["data", "version", "--data", str(data), "--to", address, "--why", "other", "--who", "x"]) == 78
    assert f"{version}: this data has this version already" in capsys.readouterr().err
    assert main(["data", "diff", version, version, "--json", str(tmp_path / "d.json")]) == 0
    assert json.loads((tmp_path / "d.json").read_text())["changes"] == []


def test_of_two_that_store_at_once_one_is_refused(address: str) -> None:
    store = Store(address)
    store.add_version("0123456789abcdef", b"first")
    with pytest.raises(StorageError):
        store.add_version("0123456789abcdef", b"second")
    assert Store(address).version("0123456789abcdef") == "first"


def test_versions_of_several_addresses_are_compared(data: Path, server: S3Server, tmp_path: Path) -> None:
    there, here = keep(data, f"{S3}-compared"), keep(data, str(tmp_path / "store"))
    assert main(["data", "diff", there, here, "--json", str(tmp_path / "d.json")]) == 0
    assert json.loads((tmp_path / "d.json").read_text())["changes"] == []


def test_a_killed_upload_leaves_no_version_and_the_next_one_sends_the_rest(
    tmp_path: Path, server: S3Server, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_tiny_boards(tmp_path / "data", pictures=40, groups=4).parent
    address = f"{S3}-killed"
    words = ["data", "version", "--data", str(data), "--to", address, *SAID]
    before = len(server.sent)
    server.hold_after(10)
    child = subprocess.Popen([sys.executable, "-m", "trainer", *words], env={**os.environ, **server.environment()})
    try:
        assert server.is_full.wait(100)
        until(lambda: len(server.sent) >= before + 10, "those that came before are written", PATIENCE_S)
    finally:
        child.kill()
    assert child.wait() < 0
    before += 10
    there = [key for key in server.stored() if key.startswith("sets-killed/")]
    assert len(there) == 10
    assert not any("/versions/" in key for key in there)
    server.answer_again()
    version = keep(data, address)
    sent = [path for path in server.sent[before:] if "sets-killed" in path]
    assert len(set(sent)) == len(sent)
    assert sent[-1].endswith(f"/versions/{version[-16:]}.json")
    assert len(sent) <= 31
    assert len(brought(version, tmp_path / "cache").samples) == 40


def test_what_is_missing_or_damaged_is_told_and_put_back(
    data: Path, server: S3Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    address = f"{S3}-damaged"
    version = keep(data, address)
    keys = [key for key in server.stored() if key.startswith("sets-damaged/objects/")]
    kept = server.client().get_object(Bucket=BUCKET, Key=keys[1])["Body"].read()
    server.client().delete_object(Bucket=BUCKET, Key=keys[0])
    server.client().put_object(Bucket=BUCKET, Key=keys[1], Body=kept[:-1] + b"?")
    report = tmp_path / "found.json"
    assert main(["data", "verify", version, "--json", str(report)]) == 1
    assert {kind: len(names) for kind, names in json.loads(report.read_text()).items()} == {"missing": 1, "damaged": 1}
    told = capsys.readouterr().err
    assert "1 missing: " in told
    assert keys[1].removeprefix("sets-damaged/") in told
    words = ["train", "--data", version, "--cache", str(tmp_path / "cache"), "--out", str(tmp_path / "run")]
    assert main(words) == 78
    assert "1 missing: " in capsys.readouterr().err
    server.client().delete_object(Bucket=BUCKET, Key=keys[1])
    assert main(["data", "version", "--data", str(data), "--to", address, *SAID]) == 0
    assert "2 files sent, 10 were there" in capsys.readouterr().out
    assert main(["data", "verify", version]) == 0
    assert len(brought(version, tmp_path / "cache").samples) == 12


def test_a_damaged_file_of_the_cache_is_brought_again_and_a_sound_one_is_not(
    data: Path, server: S3Server, tmp_path: Path
) -> None:
    version, cache = keep(data, f"{S3}-cached"), tmp_path / "cache"
    first = contents(brought(version, cache))
    objects = sorted(path for path in (cache / "objects").rglob("*") if path.is_file())
    assert len(objects) == 12
    objects[0].write_bytes(objects[0].read_bytes()[:-1])
    objects[1].unlink()
    whole = objects[2].stat().st_mtime_ns
    assert contents(brought(version, cache)) == first
    assert objects[2].stat().st_mtime_ns == whole


def test_training_export_and_evaluation_take_a_version(data: Path, server: S3Server, tmp_path: Path) -> None:
    version, cache = keep(data, f"{S3}-trained"), ["--cache", str(tmp_path / "cache")]
    run, bundle = str(tmp_path / "run"), str(tmp_path / "b.bundle")
    short = ["--epochs", "30", "--batch", "4", "--crop", "64", "--workers", "1"]
    assert main(["train", "--data", version, *cache, "--out", run, *short]) == 0
    assert main(["export", run, "--out", bundle, "--precisions", "f32", "--no-stress", "--few-golden", "a test"]) == 0
    assert main(["evaluate", "--bundle", bundle, "--data", version, *cache]) == 0
    assert json.loads((tmp_path / "run" / "source.json").read_text())["data"] == version


def test_a_pulled_version_is_a_folder_of_its_own(data: Path, address: str, tmp_path: Path) -> None:
    version, out = keep(data, address), tmp_path / "pulled"
    assert main(["data", "pull", version, "--out", str(out), "--cache", str(tmp_path / "cache")]) == 0
    assert contents(read_dataset(out)) == contents(read_dataset(data))
    assert not any(path.is_symlink() for path in out.rglob("*"))
    assert main(["data", "pull", version, "--out", str(out)]) == 78


def test_an_imported_set_that_names_pictures_elsewhere_is_stored_whole(data: Path, tmp_path: Path) -> None:
    assert main(["data", "import", "--from", "coco", str(data), "--out", str(tmp_path / "coco")]) == 0
    stored = brought(keep(tmp_path / "coco", str(tmp_path / "store")), tmp_path / "cache")
    assert contents(stored) == contents(read_dataset(data))


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["data", "verify", "{store}@0123456789abcdef"], 78, "no such version; the ones there are "),
        (["data", "verify", "{data}"], 78, "names no stored version"),
        (["data", "verify", "nothing://x@0123456789abcdef"], 78, "no address that can be read here"),
        (["train", "--data", "{version}", "--list", "a.txt", "--out", "r"], 78, "a version says itself what it holds"),
        (["data", "verify", "{version}0123456789abcdef0123456789abcdef0123456789abcdef"], 78, "holds other data"),
        (["data", "verify", "s3://no-such-bucket/x@0123456789abcdef"], 74, "bucket does not exist"),
        (["data", "version", "--data", "{data}", "--to", "s3://no-such-bucket/x", *SAID], 74, "bucket does not exist"),
    ],
)
def test_a_mistake_is_said_in_words(
    data: Path,
    server: S3Server,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    code: int,
    says: str,
) -> None:
    store = str(tmp_path / "store")
    version = keep(data, store)
    capsys.readouterr()
    assert main([word.format(store=store, data=data, version=version) for word in words]) == code
    assert says in capsys.readouterr().err


WEIGHTS = ["--weights", "s3://x/y", "--weights-digest", "sha256:" + 64 * "0"]


@pytest.mark.parametrize(
    ("words", "code", "remedy"),
    [
        (["data", "version", "--to", "s3://x/y", *SAID], 74, "check the address"),
        (["train", "--out", "run", *WEIGHTS], 78, "name another file"),
    ],
)
def test_a_server_that_is_gone_is_said_in_words(data: Path, words: list[str], code: int, remedy: str) -> None:
    nobody = '{"endpoint_url": "http://127.0.0.1:9", "config_kwargs": {"connect_timeout": 1}}'
    environment = {**os.environ, **CREDENTIALS, "AWS_MAX_ATTEMPTS": "1", "FSSPEC_S3": nobody}
    command = [sys.executable, "-m", "trainer", *words, "--data", str(data)]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=data.parent)
    assert ended.returncode == code, ended.stderr
    assert "Traceback" not in ended.stderr
    assert "s3://x/y: " in ended.stderr
    assert remedy in ended.stderr
