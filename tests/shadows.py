"""A small station with a candidate beside it, for tests: what it sends, shows and has in its ledger."""

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import cv2

from appliance.bundle.manifest import DefectClass
from appliance.events import Challenge
from appliance.ports import TriggerRequest
from appliance.stores.update_queries import ShadowPair, ShadowRun, UpdateReader
from appliance.wiring import Appliance, build
from tests.line import eventually
from tests.models import spot_picture, tiny_bundle
from tests.plant import write_station
from tests.releases import ask, children_of, prove_release, release_file, shadow, with_releases
from tests.slow_model import slow_bundle, slow_picture

QUICK_ENOUGH_S = 5.0
"""A deadline of the line, of a computer on which much else runs."""


def limit(value: float) -> dict[str, Any]:
    return {"classes": (DefectClass(name="spot", severity="major", limit=value),)}


def shadow_station(folder: Path) -> Path:
    """Write a station of one product whose release accepts what it sees: good pictures and spots of 0.78 in turn."""
    path = write_station(folder)
    tiny_bundle(folder / "tiny.bundle", revision=5, **limit(0.95))
    cv2.imwrite(str(folder / "pictures" / "1.png"), spot_picture(64, 64, [(1, 1, 200)]))
    (folder / "releases").mkdir()
    images = {"directory": "images", "accept_one_in": 0, "min_free_mb": 0}
    with_releases(path, images=images)
    return path


def candidate(config: Path, **changes: Any) -> Path:
    """Write and prove the next release, which rejects spots unless it is told otherwise."""
    path = release_file(config.parent / "releases", 6, **{**limit(0.5), **changes})
    prove_release(config, path)
    return path


def show(config: Path, *pictures: Any) -> None:
    """Let the camera show these pictures in turn."""
    for old in (config.parent / "pictures").iterdir():
        old.unlink()
    for number, pixels in enumerate(pictures):
        cv2.imwrite(str(config.parent / "pictures" / f"{number}.png"), pixels)


def part(appliance: Appliance, name: str, known_as: Challenge | None = None) -> float:
    """Send a part; returns the seconds until its verdict is on record."""
    begun = time.monotonic()
    appliance.station.on_trigger(TriggerRequest(f"t-{name}", name, challenge=known_as))
    assert eventually(lambda: appliance.ledger.find(f"t-{name}") is not None)
    return time.monotonic() - begun


def status(appliance: Appliance) -> dict[str, Any]:
    told: dict[str, Any] = ask(appliance, "status")["shadow"]
    return told


def part_with_shadow(appliance: Appliance, name: str) -> None:
    """Send a part that the candidate is free to judge, and wait until it has."""
    before = status(appliance)["judged"]
    part(appliance, name)
    assert eventually(lambda: status(appliance)["judged"] == before + 1), status(appliance)


def children() -> list[int]:
    """Return the process ids of this process's candidates."""
    return children_of(os.getpid())


def pairs(config: Path, digest: str) -> list[ShadowPair]:
    with closing(UpdateReader(config.parent / "ledger.db")) as reader:
        return list(reader.shadow_pairs(digest, 0, 100))


def runs(config: Path, digest: str) -> list[ShadowRun]:
    with closing(UpdateReader(config.parent / "ledger.db")) as reader:
        return list(reader.shadow_runs(digest))


def faults(config: Path) -> int:
    """How many parts had no verdict in time, or no inspection."""
    with closing(sqlite3.connect(f"file:{config.parent / 'ledger.db'}?mode=ro", uri=True)) as rows:
        return int(rows.execute("SELECT count(*) FROM inspection WHERE verdict = 'FAULT'").fetchone()[0])


@contextmanager
def shadowed(config: Path, path: Path) -> Iterator[Appliance]:
    """A running station with that candidate beside it."""
    with build(config) as appliance:
        answer = shadow(appliance, "spots", path)
        assert answer["ok"], answer
        yield appliance


def endless(config: Path) -> Path:
    """Write and prove a candidate that takes minutes for what the camera shows."""
    path = slow_bundle(config.parent / "releases" / "endless.bundle", lasts_s=300.0, revision=6)
    prove_release(config, path)
    show(config, slow_picture())
    return path


def state_of(process: int) -> str:
    """Return what the kernel calls a process's state: T is stopped."""
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
