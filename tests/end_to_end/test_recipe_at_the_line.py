"""Recipes by signed updates, at a real station and a real broker, called as people call the agent."""

import json
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from appliance.__main__ import main
from appliance.agent_station import Station
from appliance.bundle.recipe_package import write_recipe_package
from appliance.update.slots import digest_of
from tests.agent_place import GATES
from tests.certificates import make_certificates, needs_openssl
from tests.end_to_end.test_update_at_the_line import parts_passing
from tests.plant import RECIPE, START_S, Plant
from tests.stations import needs_mosquitto, until
from tests.update_agent import DEVICE, SITE, Fleet
from tests.update_server import UpdateServer

pytestmark = [needs_openssl, needs_mosquitto, pytest.mark.long]

CHANGES = "SELECT who, from_revision, to_revision, is_rollback FROM release_change WHERE kind = 'recipe' ORDER BY id"


@dataclass
class Factory:
    """A station at a broker, the device's agent.yaml, and the repository."""

    folder: Path
    fleet: Fleet
    plant: Plant

    @property
    def current(self) -> Path:
        return self.folder / "agent" / "slots" / "recipes" / "spots" / "current.recipe"

    def recipe(self, version: int, **changes: Any) -> Path:
        content = yaml.safe_dump(RECIPE | {"version": version} | changes).encode()
        path = self.folder / f"spots-{version}.recipe"
        path.write_bytes(write_recipe_package("spots", version, content, []))
        return path

    def offer(self, seq: int, path: Path) -> str:
        release = self.fleet.publish_recipe("spots", seq, path.read_bytes())
        self.fleet.assign(release, gates=GATES)
        return str(release["sha256"])

    def agent(self, *words: str) -> int:
        return main(["agent", *words, "--config", str(self.folder / "agent.yaml")])

    def updates(self, capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
        capsys.readouterr()
        assert self.agent("status", "--json") == 0
        return list(json.loads(capsys.readouterr().out)["updates"])

    def update(self, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
        """Call the agent until nothing is under way; returns the update."""
        seen = []

        def has_ended() -> bool:
            assert self.agent("update") == 0
            seen[:] = self.updates(capsys)
            return bool(seen[0]["state"] == "IDLE")

        until(has_ended, "the update has ended", 150)
        return seen[0]


@contextmanager
def factory(folder: Path) -> Iterator[Factory]:
    make_certificates(folder, {"server": "ca"})
    fleet, place = Fleet(folder), folder / "plant"
    place.mkdir()
    (folder / "floor").mkdir()
    (folder / "root.json").write_bytes(fleet.repository.root_bytes())
    slots = folder / "agent" / "slots"

    def products(_: Path) -> dict[str, Any]:
        recipe = slots / "recipes" / "spots" / "current.recipe"
        return {"bundle": "tiny.bundle", "recipe": str(recipe), "releases": str(slots)}

    with UpdateServer(fleet.repository.files) as server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "server.crt", folder / "server.key")
        server.use_tls(context)
        plant, address = Plant(place, products=products), server.url.replace("http:", "https:")
        keys = {
            "metadata_url": f"{address}/metadata", "targets_url": f"{address}/targets", "root": "root.json",
            "state": "agent", "floor": "floor/floor.json", "ca_file": "ca.crt", "reserve_mb": 0,
            "built_at": "2026-01-01T00:00:00Z", "station": "plant/config.yaml",
            "assignment": {"site": SITE, "device_id": DEVICE}, "poll_min": 0.01, "look_s": 0.05,
        }  # fmt: skip
        (folder / "agent.yaml").write_text(yaml.safe_dump(keys))
        (place / "config.yaml").write_text(yaml.safe_dump(plant.config))
        yield Factory(folder, fleet, plant)


def test_a_recipe_is_adopted_updated_and_taken_back_and_a_bad_one_is_stopped_in_shadow(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with factory(tmp_path) as made:
        assert made.agent("adopt", str(made.recipe(1)), "--name", "spots", "--by", "Ann") == 0
        assert "current.recipe is spots version 1: certificate" in capsys.readouterr().out
        old = digest_of(made.current)
        with made.plant as plant, parts_passing(plant):
            assert plant.consumer.wait_until_online(START_S), plant.log()
            new = made.offer(2, made.recipe(2, classes={"spot": {"reject_limit": 0.45}}))
            update = made.update(capsys)
            assert (update["outcome"], update["kind"], digest_of(made.current)) == ("success", "recipe", new), update
            assert update["parts"] >= 4
            blind = made.offer(3, made.recipe(3, classes={"spot": {"reject_limit": 0.99}}))
            update = made.update(capsys)
            assert (update["outcome"], digest_of(made.current)) == ("quarantined", new), update
            assert [state for _, state, _ in update["steps"]][6] == "SHADOW"
            assert "CANARY" not in [state for _, state, _ in update["steps"]]
            for certificate in Station.read(plant.folder / "config.yaml").config.certificates.iterdir():
                certificate.unlink()  # as if the model had changed since: nothing is proved with the recipe before
            assert made.agent("rollback", "--kind", "recipe", "--by", "Ann") == 0
            assert f"release 2 of spots is rolled back: spots is release {old[:12]} again" in capsys.readouterr().out
            assert digest_of(made.current) == old
        assert plant.query(CHANGES) == [("configuration", 0, 1, 0), ("agent", 1, 2, 0), ("agent", 2, 1, 1)]
        assert plant.query("SELECT count(*) FROM inspection WHERE verdict = 'FAULT'") == [(0,)]
        versions = plant.query("SELECT DISTINCT json_extract(record, '$.versions.recipe_version') FROM inspection")
        assert sorted(versions) == [(1,), (2,)]
    assert blind not in (old, new)


def damaged(made: Factory) -> bytes:
    return made.recipe(2).read_bytes()[:-5]


def of_another_product(made: Factory) -> bytes:
    content = yaml.safe_dump(RECIPE | {"version": 2, "name": "stains"}).encode()
    return write_recipe_package("stains", 2, content, [])


def without_a_limit_that_the_model_has(made: Factory) -> bytes:
    return made.recipe(2, classes={"scratch": {"reject_limit": 0.5}}).read_bytes()


@pytest.mark.parametrize(
    ("content", "at", "words"),
    [
        (damaged, "VERIFY", "is no package of a recipe"),
        (of_another_product, "VERIFY", "it is a release of stains, and spots is in force"),
        (without_a_limit_that_the_model_has, "PROVE", "has no class `scratch`"),
    ],
)
def test_a_signed_recipe_that_cannot_judge_here_is_refused_before_the_line_hears_of_it(
    content: Callable[[Factory], bytes], at: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with factory(tmp_path) as made:
        assert made.agent("adopt", str(made.recipe(1)), "--name", "spots", "--by", "Ann") == 0
        old = digest_of(made.current)
        with made.plant:
            path = tmp_path / "wrong.recipe"
            path.write_bytes(content(made))
            made.offer(2, path)
            update = made.update(capsys)
        states = [state for _, state, _ in update["steps"]]
        assert (digest_of(made.current), "SHADOW" in states, at in states) == (old, False, True)
        assert words in update["reason"]
        assert made.plant.query(CHANGES) == [("configuration", 0, 1, 0)]
