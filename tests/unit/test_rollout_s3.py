"""A rollout whose repository and reports lie in an object store."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.errors import ConfigError
from tests.fleet import AT_ONCE, NEW, FleetDesk, told
from tests.s3_server import BUCKET, S3Server
from trainer.rollout.book import Book

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def store() -> Iterator[S3Server]:
    with S3Server() as running:
        yield running


@pytest.fixture
def fleet(store: S3Server, tmp_path: Path) -> FleetDesk:
    made = FleetDesk(tmp_path, address=f"s3://{BUCKET}/{tmp_path.name}/updates")
    made.write_fleet(AT_ONCE, reports=f"s3://{BUCKET}/{tmp_path.name}/reports")
    return made


def put(store: S3Server, fleet: FleetDesk, content: bytes) -> None:
    place = f"{fleet.desk.folder.name}/reports/lab-1.json"
    store.client().put_object(Bucket=BUCKET, Key=place, Body=content)


def test_a_rollout_goes_on_by_what_devices_put_into_a_bucket(store: S3Server, fleet: FleetDesk) -> None:
    assert fleet.start() == 0
    put(store, fleet, b"")
    assert fleet.run("advance") == 0
    assert fleet.status()["refused_now"] == {"lab-1": "broken"}, "an empty file is no report, and stops nothing"
    put(store, fleet, fleet.reporters["lab-1"].report(told(fleet.chosen[NEW], "success"), assignment_seq=2))
    assert fleet.run("advance") == 0
    assert len(fleet.told()) == 5


def test_two_who_change_a_rollout_at_once_do_not_undo_each_other(fleet: FleetDesk) -> None:
    """A bucket has no lock: the second finds another record than it has read."""
    assert fleet.start() == 0
    steering = fleet.steering()
    standing = fleet.desk.standing()
    mine = Book(fleet.desk.address, fleet.desk.root)
    leaf = mine.read("r1", standing)
    assert fleet.run("pause") == 0
    with pytest.raises(ConfigError, match="somebody else has changed this rollout"):
        mine.write(leaf.record, leaf, standing, steering.signers)
    assert fleet.status()["phase"] == "paused"
