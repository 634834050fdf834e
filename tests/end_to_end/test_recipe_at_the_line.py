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
from appliance.agent_line import MqttLine
from appliance.agent_station import Station
from appliance.bundle.recipe_package import write_recipe_package
from appliance.bundle.whole_file import write_whole
from appliance.update.slots import digest_of
from tests.agent_place import GATES
from tests.certificates import make_certificates, needs_openssl
from tests.end_to_end.test_update_at_the_line import parts_passing
from tests.plant import RECIPE, START_S, Plant
from tests.stations import needs_mosquitto, until
from tests.tiny_releases import NAME
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

    @property
    def model(self) -> Path:
        return self.folder / "agent" / "slots" / "models" / NAME / "current.bundle"

    def offer(self, seq: int, path: Path, **gates: Any) -> str:
        release = self.fleet.publish_recipe("spots", seq, path.read_bytes())
        self.fleet.assign(release, gates=GATES | gates)
        return str(release["sha256"])

    def adopt(self) -> tuple[str, str]:
        """Let the agent have the model, then the recipe, as a person does; returns what both are."""
        self.write(recipe="recipe.yaml")
        assert self.agent("adopt", str(self.fleet.bundle(1)), "--name", NAME, "--by", "Ann") == 0
        self.write(recipe=str(self.current))
        assert self.agent("adopt", str(self.recipe(1)), "--name", "spots", "--by", "Ann") == 0
        return self.on_disk()

    def write(self, **changes: Any) -> None:
        self.plant.config |= changes
        write_whole(self.folder / "plant" / "config.yaml", yaml.safe_dump(self.plant.config).encode())

    def on_disk(self) -> tuple[str, str]:
        """Model and recipe that a start would take."""
        return digest_of(self.model), digest_of(self.current)

    def at_the_line(self) -> tuple[str, str]:
        """Model and recipe that judge."""
        station = Station.read(self.folder / "plant" / "config.yaml")
        slots = self.folder / "agent" / "slots"
        model, recipe = MqttLine(station, slots / "models"), MqttLine(station, slots / "recipes", "recipe")
        return model.in_force(NAME), recipe.in_force("spots")

    def agent(self, *words: str) -> int:
        return main(["agent", *words, "--config", str(self.folder / "agent.yaml")])

    def status(self, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
        capsys.readouterr()
        assert self.agent("status", "--json") == 0
        return dict(json.loads(capsys.readouterr().out))

    def updates(self, capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
        return list(self.status(capsys)["updates"])

    def update(self, capsys: pytest.CaptureFixture[str], kind: str = "recipe", state: str = "IDLE") -> dict[str, Any]:
        """Call the agent until the newest update of a kind is in a state; returns the update."""
        seen = list[dict[str, Any]]()

        def is_there() -> bool:
            assert self.agent("update") == 0
            seen[:] = [each for each in self.updates(capsys) if each["kind"] == kind]
            return bool(seen and seen[0]["state"] == state)

        until(is_there, f"the update is in {state}", 150)
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
        model = slots / "models" / NAME / "current.bundle"
        return {"bundle": str(model), "recipe": "recipe.yaml", "releases": str(slots)}

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
        yield Factory(folder, fleet, plant)


def test_a_recipe_is_adopted_updated_and_taken_back_and_a_bad_one_is_stopped_in_shadow(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with factory(tmp_path) as made:
        _, old = made.adopt()
        assert "current.recipe is spots version 1: certificate" in capsys.readouterr().out
        with made.plant as plant, parts_passing(plant):
            assert plant.consumer.wait_until_online(START_S), plant.log()
            new = made.offer(2, made.recipe(2, classes={"spot": {"reject_limit": 0.45}}))
            update = made.update(capsys)
            assert (update["outcome"], made.on_disk()[1]) == ("success", new), update
            assert update["parts"] >= 4
            made.offer(3, made.recipe(3, classes={"spot": {"reject_limit": 0.99}}))
            update = made.update(capsys)
            assert (update["outcome"], made.on_disk()[1]) == ("quarantined", new), update
            assert [state for _, state, _ in update["steps"]][6] == "SHADOW"
            assert "CANARY" not in [state for _, state, _ in update["steps"]]
            assert made.agent("rollback", "--kind", "recipe", "--by", "Ann") == 0
            assert f"release 2 of spots is rolled back: spots is release {old[:12]} again" in capsys.readouterr().out
            assert made.on_disk() == made.at_the_line()
        assert plant.query(CHANGES) == [("configuration", 0, 1, 0), ("agent", 1, 2, 0), ("agent", 2, 1, 1)]
        assert plant.query("SELECT count(*) FROM inspection WHERE verdict = 'FAULT'") == [(0,)]
        versions = plant.query("SELECT DISTINCT json_extract(record, '$.versions.recipe_version') FROM inspection")
        assert sorted(versions) == [(1,), (2,)]


def test_a_model_goes_back_after_the_recipe_that_came_later_and_both_end_as_they_were(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with factory(tmp_path) as made:
        before = made.adopt()
        with made.plant as plant, parts_passing(plant):
            assert plant.consumer.wait_until_online(START_S), plant.log()
            model = made.fleet.publish(2, made.fleet.bundle(2).read_bytes())
            recipe = made.fleet.publish_recipe("spots", 2, made.recipe(2, deadline_ms=4900).read_bytes())
            made.fleet.assign(model, recipe, gates=GATES)
            update = made.update(capsys)
            assert (update["outcome"], made.on_disk()) == ("success", (model["sha256"], recipe["sha256"])), update
            assert made.agent("rollback", "--by", "Ann") == 1
            words = "nothing to roll back: release 2 of recipe spots came later, and was proved with it; roll that back"
            assert words in capsys.readouterr().err
            assert made.at_the_line() == made.on_disk() == (model["sha256"], recipe["sha256"])
            assert made.agent("rollback", "--kind", "recipe", "--by", "Ann") == 0
            assert made.agent("rollback", "--by", "Ann") == 0
            assert made.at_the_line() == made.on_disk() == before
        assert plant.query("SELECT count(*) FROM inspection WHERE verdict = 'FAULT'") == [(0,)]


@pytest.mark.parametrize("state", ["SHADOW", "CANARY", "WATCH"])
def test_a_model_goes_back_at_once_while_a_recipe_is_tried_with_it_and_the_recipe_is_not_to_blame(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], state: str
) -> None:
    with factory(tmp_path) as made:
        before = made.adopt()
        with made.plant as plant, parts_passing(plant):
            assert plant.consumer.wait_until_online(START_S), plant.log()
            model = made.fleet.offer(2, gates=GATES)
            assert made.update(capsys, "model")["outcome"] == "success"
            made.offer(2, made.recipe(2, deadline_ms=4900), **{f"{state.lower()}_parts": 100_000})
            made.update(capsys, state=state)
            assert made.agent("rollback", "--by", "Ann") == 0
            assert made.at_the_line() == made.on_disk() == before
            assert list(made.status(capsys)["quarantine"]) == [model]
        assert plant.query("SELECT count(*) FROM inspection WHERE verdict = 'FAULT'") == [(0,)]


def test_a_damaged_file_of_the_device_is_waited_for_and_blamed_on_no_release(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with factory(tmp_path) as made:
        made.adopt()
        with made.plant as plant, parts_passing(plant):
            assert plant.consumer.wait_until_online(START_S), plant.log()
            whole = made.model.read_bytes()
            made.model.resolve().write_bytes(whole[:-9])
            new = made.offer(2, made.recipe(2, deadline_ms=4900))
            update = made.update(capsys, state="PROVE")
            assert (update["outcome"], update["tries"]) == ("running", 0)
            assert "what this device has is damaged" in update["waits_for"]
            made.model.resolve().write_bytes(whole)
            assert made.update(capsys)["outcome"] == "success"
            assert made.on_disk()[1] == new


def test_a_folder_of_releases_without_the_recipes_is_told_when_the_recipe_is_adopted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with factory(tmp_path) as made:
        made.write(releases=str(tmp_path / "agent" / "slots" / "models"), recipe=str(made.current))
        assert made.agent("adopt", str(made.recipe(1)), "--name", "spots", "--by", "Ann") == 78
        words = f"does not lie in the station's `releases`; let that be {tmp_path / 'agent' / 'slots'}"
        assert words in capsys.readouterr().err


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
        (of_another_product, "VERIFY", "the file is recipe stains, and recipe spots is in force here"),
        (without_a_limit_that_the_model_has, "PROVE", "has no class `scratch`"),
    ],
)
def test_a_signed_recipe_that_cannot_judge_here_is_refused_before_the_line_hears_of_it(
    content: Callable[[Factory], bytes], at: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with factory(tmp_path) as made:
        before = made.adopt()
        with made.plant:
            path = tmp_path / "wrong.recipe"
            path.write_bytes(content(made))
            made.offer(2, path)
            update = made.update(capsys)
        states = [state for _, state, _ in update["steps"]]
        assert (made.on_disk(), "SHADOW" in states, at in states) == (before, False, True)
        assert words in update["reason"]
        assert made.plant.query(CHANGES) == [("configuration", 0, 1, 0)]
