"""Where a model was released stands beside its version in MLflow's registry."""

from pathlib import Path

import pytest

from appliance.bundle.archive import read_bundle
from tests.release_desk import Desk, begun
from trainer.mlflow_store import MlflowClient, Model, Store

pytestmark = pytest.mark.long


def register(desk: Desk, bundle: Path) -> MlflowClient:
    """Register a bundle as `trainer export --track` does."""
    address = f"sqlite:///{desk.folder}/mlflow.db"
    store = Store(address, (desk.folder / "mlflow-files").as_uri())
    run = store.open_run("trainer", "run", None)
    store.register(run, Model("boards", (bundle,), "bundle-1", "words", {"bundle_sha256": read_bundle(bundle).digest}))
    return MlflowClient(address)


def test_a_release_is_noted_with_its_place_and_number(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    desk = begun(tmp_path)
    bundle = desk.bundle()
    assert desk.release(bundle, "--track") == 1
    assert "is released, and that is not in the registry" in " ".join(capsys.readouterr().err.split())
    client = register(desk, bundle)
    request = tmp_path / "request.json"
    assert desk.release(bundle, "--track") == 0, "what was published is noted when the command is repeated"
    (version,) = client.search_model_versions("name = 'boards'")
    digest = read_bundle(bundle).digest
    assert version.tags == {
        "bundle_sha256": digest, "release_repository": desk.address, "release_sha256": digest,
        "release_path": "models/boards/boards-1.bundle", "release_seq": "1",
    }  # fmt: skip
    changed = desk.bundle(revision=2)
    client = register(desk, changed)
    assert desk.release(changed, "--request", str(request), keys=("ci",)) == 0
    assert desk.sign("quentin", request) == 0
    words = ["publish", "signed", str(request), *desk.at(), *desk.keyed("online"), "--track", str(tmp_path)]
    from trainer.__main__ import main as trainer

    assert trainer(words) == 0
    tags = {version.tags["release_seq"] for version in client.search_model_versions("name = 'boards'")}
    assert tags == {"1", "2"}
