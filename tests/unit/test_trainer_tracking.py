"""What MLflow holds of a run, in a real database and in a real server; and that neither can stop a training."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

from appliance.bundle.archive import read_bundle
from appliance.errors import ConfigError
from tests.mlflow_server import MlflowServer
from tests.processes import wait_for_moment
from tests.tiny_boards import write_tiny_boards
from trainer.__main__ import main
from trainer.backbone import pack
from trainer.datasets.reading import read_dataset
from trainer.datasets.split import Split, split_by_group
from trainer.mlflow_store import MlflowClient
from trainer.model import Net
from trainer.plan import Plan
from trainer.sizes import NetShape
from trainer.tracking import Tracking, place_of
from trainer.train import train

pytestmark = pytest.mark.long

PLAN = Plan(epochs=4, batch=4, side_px=64, width=8, threads=1, validate_every=2, seed=3)


def boards(folder: Path) -> Split:
    return split_by_group(read_dataset(write_tiny_boards(folder)), ("family0",))


def epochs_of(client: MlflowClient, run_id: str, name: str) -> list[float]:
    return sorted(point.step for point in client.get_metric_history(run_id, name))


def note(run: Path) -> dict[str, object]:
    return dict(json.loads((run / "tracking.json").read_text()))


@pytest.fixture(scope="module")
def tracked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run and its bundle, told by the commands to a database beside the run."""
    root = tmp_path_factory.mktemp("tracked")
    write_tiny_boards(root / "data", pictures=20, groups=5)
    dials = ["--holdout", "family0,family1", "--epochs", "20", "--batch", "4", "--crop", "64", "--workers", "1"]
    assert main(["train", "--data", str(root / "data"), "--out", str(root / "run"), *dials, "--track"]) == 0
    words = ["export", str(root / "run"), "--out", str(root / "tiny.bundle"), "--name", "tiny", "--revision", "7"]
    words += ["--few-golden", "a test"]
    assert main([*words, "--no-stress", "--track"]) == 0
    return root


def test_where_no_limit_is_the_best_no_escapes_and_overkill_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_tiny_boards(tmp_path / "data")
    net, weights = Net(NetShape(channels=1, classes=2)), tmp_path / "beyond.safetensors"
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.fill_(3e38 if parameter.ndim == 1 else 1.0)  # its answers are no numbers
    weights.write_bytes(pack(net, {}))
    dials = ["--holdout", "family0", "--epochs", "1", "--batch", "4", "--crop", "64", "--workers", "1"]
    words = ["train", "--data", str(tmp_path / "data"), "--out", str(tmp_path / "run"), *dials]
    assert main([*words, "--weights", str(weights), "--track", "--json", str(tmp_path / "told.json")]) == 0
    for file in (tmp_path / "run" / "figures.json", tmp_path / "told.json"):
        figures = json.loads(file.read_text())
        assert (figures["best"]["limit"], figures["parts"]) == (None, None)
    assert "escapes and overkill not known there" in " ".join(capsys.readouterr().out.split())
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    told = client.get_run(str(note(tmp_path / "run")["run_id"])).data.metrics
    assert not {"final_escapes", "final_overkill"} & told.keys()


def test_a_run_is_told_whole_to_a_database_beside_it(tracked: Path) -> None:
    client = MlflowClient(f"sqlite:///{tracked}/mlflow.db")
    run = client.get_run(str(note(tracked / "run")["run_id"]))
    log = [json.loads(line) for line in (tracked / "run" / "log.jsonl").read_text().splitlines()]
    figures = json.loads((tracked / "run" / "figures.json").read_text())
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "run"
    assert (run.data.params["epochs"], run.data.params["side_px"], run.data.params["rate"]) == ("20", "64", "0.003")
    assert run.data.tags["dataset_digest"] == read_bundle(tracked / "tiny.bundle").manifest.lineage.dataset_digest
    assert run.data.tags["holdout"] == "family0, family1"
    assert {"source_commit", "python", "torch", "processor"} <= run.data.tags.keys()
    assert epochs_of(client, run.info.run_id, "loss") == [entry["step"] for entry in log]
    judged = [(entry["step"], entry["ap_pooled"]) for entry in log if "ap_pooled" in entry]
    told = client.get_metric_history(run.info.run_id, "ap_pooled")
    assert sorted((point.step, point.value) for point in told) == judged
    assert run.data.metrics["final_ap_pooled"] == pytest.approx(figures["ap_pooled"])
    files = [item.path for item in client.list_artifacts(run.info.run_id)]
    assert {"figures.json", "log.jsonl", "precision_recall.svg", "pictures"} <= set(files)
    assert len(client.list_artifacts(run.info.run_id, "pictures")) == 6


def test_a_bundle_is_registered_with_its_digest_its_figures_and_its_card(tracked: Path, tmp_path: Path) -> None:
    client = MlflowClient(f"sqlite:///{tracked}/mlflow.db")
    bundle = read_bundle(tracked / "tiny.bundle")
    (version,) = client.search_model_versions("name = 'tiny'")
    assert version.run_id == note(tracked / "run")["run_id"]
    assert (version.tags["bundle_sha256"], version.tags["revision"]) == (bundle.digest, "7")
    assert float(version.tags["ap_pooled_iou33"]) == pytest.approx(
        bundle.manifest.lineage.metrics["ap_pooled_iou33"], rel=1e-4
    )
    assert version.description.startswith("# tiny, revision 7")
    stored = client.download_artifacts(version.run_id, "bundle-7/tiny.bundle", str(tmp_path))
    assert Path(stored).read_bytes() == (tracked / "tiny.bundle").read_bytes()


_KILLED = """
import sys
from pathlib import Path
from tests.unit.test_trainer_tracking import PLAN, boards
from trainer.tracking import Tracking, place_of
from trainer.train import train
root = Path(sys.argv[1])
train(boards(root / "data"), PLAN, root / "run", observer=Tracking(place_of("", root / "run"), root / "run"))
"""


def test_a_killed_run_goes_on_as_the_same_run(tmp_path: Path) -> None:
    split = boards(tmp_path / "data")
    command = [sys.executable, "-c", _KILLED, str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=os.environ | {"PYTHONPATH": str(Path.cwd())})
    try:
        wait_for_moment(process, (tmp_path / "run" / "last.pt").is_file)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not (tmp_path / "run" / "final.pt").exists(), "killed too late to show anything"
    before = note(tmp_path / "run")
    tracking = Tracking(place_of("", tmp_path / "run"), tmp_path / "run")
    train(split, PLAN, tmp_path / "run", resume=True, observer=tracking)
    assert note(tmp_path / "run")["run_id"] == before["run_id"]
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    assert client.get_run(str(before["run_id"])).info.status == "FINISHED"
    assert len(set(epochs_of(client, str(before["run_id"]), "loss"))) == 4
    assert len(client.search_runs([client.get_run(str(before["run_id"])).info.experiment_id])) == 1


def test_a_line_that_was_only_begun_when_the_power_went_does_not_end_a_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    split, run = boards(tmp_path / "data"), tmp_path / "run"

    class Stopped(Tracking):
        def sees_epoch(self, entry: Mapping[str, float]) -> None:
            super().sees_epoch(entry)
            if entry["epoch"] == 2:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(split, PLAN, run, observer=Stopped(place_of("", run), run))
    with (run / "log.jsonl").open("ab") as log:
        log.write(b'{"epoch": 3, "lo\xff')
    assert train(split, PLAN, run, resume=True, observer=Tracking(place_of("", run), run)) is not None
    lines = (run / "log.jsonl").read_bytes().splitlines()
    assert [json.loads(line)["epoch"] for line in lines[:2] + lines[3:]] == [1, 2, 3, 4]
    assert " ".join(capsys.readouterr().err.split()).count("1 line is no JSON") == 1
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    assert len(epochs_of(client, str(note(run)["run_id"]), "loss")) == 4


class Disturbed(Tracking):
    """Kills or starts the server after an epoch."""

    def __init__(self, server: MlflowServer, folder: Path, *, killed_after: int, back_after: int | None) -> None:
        super().__init__(place_of(server.address, folder), folder)
        self._server, self._killed_after, self._back_after = server, killed_after, back_after

    def sees_epoch(self, entry: Mapping[str, float]) -> None:
        super().sees_epoch(entry)
        if entry["epoch"] == self._killed_after:
            self._server.kill()
        if entry["epoch"] == self._back_after:
            self._server.start()


@pytest.mark.timeout(240)
def test_a_server_takes_the_run_and_what_it_missed_while_it_was_gone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    split, run = boards(tmp_path / "data"), tmp_path / "run"
    with MlflowServer(tmp_path / "server") as server:
        client = MlflowClient(server.address)
        figures = train(split, PLAN, run, observer=Disturbed(server, run, killed_after=1, back_after=None))
        said = capsys.readouterr().err.replace("\n", " ")
        assert figures is not None
        assert (run / "final.pt").is_file()
        assert said.count("does not take the run") == 1
        assert "log.jsonl has it all" in said
        server.start()
        run_id = str(note(run)["run_id"])
        assert len(epochs_of(client, run_id, "loss")) == 1
        train(split, PLAN, run, resume=True, observer=Tracking(place_of(server.address, run), run))
        assert len(epochs_of(client, run_id, "loss")) == 4
        assert client.get_run(run_id).info.status == "FINISHED"
        assert {item.path for item in client.list_artifacts(run_id)} >= {"precision_recall.svg", "pictures"}

        other = tmp_path / "other"
        train(split, PLAN, other, observer=Disturbed(server, other, killed_after=1, back_after=3))
        assert len(epochs_of(client, str(note(other)["run_id"]), "loss")) == 4


def test_a_server_that_was_never_there_stops_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    nobody = place_of("http://127.0.0.1:9", run)
    assert train(boards(tmp_path / "data"), PLAN, run, observer=Tracking(nobody, run)) is not None
    assert capsys.readouterr().err.count("does not take the run") == 1
    assert len((run / "log.jsonl").read_text().splitlines()) == 4


def test_a_bundle_that_cannot_be_registered_is_written_and_said(
    tracked: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["export", str(tracked / "run"), "--out", str(tracked / "other.bundle")]
    words += ["--precisions", "f32", "--no-stress", "--few-golden", "a test"]
    assert main([*words, "--track", "http://127.0.0.1:9"]) == 1
    assert "is written but not registered: http://127.0.0.1:9" in capsys.readouterr().err
    assert read_bundle(tracked / "other.bundle").manifest.name == "run"


def test_a_password_in_an_address_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="MLFLOW_TRACKING_PASSWORD"):
        place_of("https://me:secret@server/mlflow", tmp_path)


def test_the_place_is_the_one_told_or_beside_the_run(tmp_path: Path) -> None:
    assert place_of("", tmp_path / "run").address == f"sqlite:///{tmp_path}/mlflow.db"
    assert place_of(str(tmp_path / "here"), tmp_path / "run").address == f"sqlite:///{tmp_path}/here/mlflow.db"
    assert place_of("https://server/mlflow", tmp_path).address == "https://server/mlflow"
    script = "from pathlib import Path; from trainer.tracking import place_of; print(place_of('', Path('run')).address)"
    environment = os.environ | {"MLFLOW_TRACKING_URI": "https://plant:5000", "PYTHONPATH": str(Path.cwd())}
    ended = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "https://plant:5000"


def test_a_database_that_is_none_is_said_in_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mlflow.db").write_text("no database")
    run = tmp_path / "run"
    assert train(boards(tmp_path / "data"), PLAN, run, observer=Tracking(place_of("", run), run)) is not None
    assert "not a database" in capsys.readouterr().err.replace("\n", " ")


_TELEMETRY = """
from trainer.mlflow_store import Store
from mlflow.telemetry import get_telemetry_client
print(get_telemetry_client())
"""


def test_nothing_is_told_to_the_makers_of_the_library() -> None:
    silent = ("MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK", "CI")
    environment = {name: value for name, value in os.environ.items() if name not in silent}
    environment["PYTHONPATH"] = str(Path.cwd())
    command = [sys.executable, "-c", _TELEMETRY]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "None"
