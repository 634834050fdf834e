"""Two releases at once: the second one is told to try again, and nothing else of it is refused."""

from concurrent.futures import Future
from pathlib import Path

from appliance.wiring import build
from tests.models import tiny_bundle
from tests.plant import write_station
from tests.releases import prove_release, release, release_file, sha256, with_releases


def test_a_second_release_is_told_to_try_again_while_the_first_one_is_loaded(tmp_path: Path) -> None:
    config = write_station(tmp_path)
    tiny_bundle(tmp_path / "tiny.bundle", revision=5)
    with_releases(config)
    newer = release_file(tmp_path / "releases", 6)
    prove_release(config, newer)
    request = {"product": "spots", "bundle": str(newer), "sha256": sha256(newer), "by": "A. Person"}
    with build(config) as appliance:
        first = appliance.station.on_command("release", request)
        second = appliance.station.on_command("release", request)
        assert isinstance(first, Future)
        assert first.result(30)["changed"]
        assert isinstance(second, dict)
        assert (second["ok"], second["try_again"]) == (False, True)
        assert "another release is being loaded" in second["error"]
        again = release(appliance, "spots", newer)
    assert (again["ok"], again["changed"]) == (True, False)
