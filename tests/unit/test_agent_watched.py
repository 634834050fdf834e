"""Who looks at a running agent sees how far a proof is and how long it still takes; who wants it ended, ends it."""

import json
import re
import signal
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from appliance.update.reports import read_report
from tests.agent_place import REPORT, device_at_a_broker, workers
from tests.certificates import needs_openssl
from tests.planted import slow_everywhere
from tests.stations import needs_mosquitto, until
from tests.unit.test_agent_commands import SCHEMA, Plant

pytestmark = [needs_openssl, needs_mosquitto, pytest.mark.long]
PATIENCE_S = 60


def test_a_slow_proof_is_seen_by_everybody_and_a_rollback_ends_its_process(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with device_at_a_broker(tmp_path) as place:
        old, plant = place.adopt(), Plant(place)
        slow_everywhere(place.fleet.folder / "tiny-2.bundle", rounds=2000)
        place.offer(2)
        process = place.start()

        def far() -> list[dict[str, Any]]:
            told = [each["releases"][0] for each in plant.told if each["releases"]]
            return [each for each in told if each["left_s"] is not None]

        until(far, "the plant is told how long it takes", PATIENCE_S)
        first = far()[0]
        assert (first["state"], first["outcome"]) == ("PROVE", "running")
        assert 0 < first["progress_percent"] < 100
        capsys.readouterr()
        assert place.agent("status", "--json") == 0
        (update,) = json.loads(capsys.readouterr().out)["updates"]
        assert update["progress_percent"] >= first["progress_percent"]
        assert update["left_s"] is not None
        assert place.agent("status") == 0
        words = r"update of tiny to release 2: running in PROVE, \d+ %, (about \d+ (s|min)|less than 10 s) left"
        assert re.search(words, capsys.readouterr().out)

        (worker,) = workers(process)
        (child,) = map(int, Path(f"/proc/{worker}/task/{worker}/children").read_text().split())
        assert "onnxruntime" in Path(f"/proc/{child}/maps").read_text()
        assert place.agent("rollback", "--by", "Ann") == 0
        assert "release 2 of tiny is rolled back" in capsys.readouterr().out
        assert not Path(f"/proc/{child}").exists()
        assert place.in_force() == old
        last = plant.until_told("it was given up", outcome="failed", reason="rolled back by Ann")["releases"][0]
        assert (last["progress_percent"], last["left_s"]) == (None, None)

        until(lambda: b"rolled back by Ann" in place.server.put.get(REPORT, [b""])[-1], "it is reported", PATIENCE_S)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        plant.line.close()
        for each in plant.told:
            Draft202012Validator(json.loads(SCHEMA.read_text())).validate(each)
        assert place.agent("status", "--json") == 0
        found = json.loads(capsys.readouterr().out)
        assert read_report(place.server.put[REPORT][-1], REPORT, found["public_key"]).releases[0].outcome == "failed"
        assert found["updates"][0]["progress_percent"] is None
