"""The fleet file: strict, and every mistake in words with its line."""

from pathlib import Path

import pytest

from appliance.errors import ConfigError
from trainer.rollout.fleet import read_fleet

KEYS = [f"{number}f" * 32 for number in range(1, 6)]
FILE = f"""reports: s3://plant/reports
sites:
  ulm:
    bench:
      ulm-lab: {{key: {KEYS[0]}, ring: lab}}
    a:
      ulm-a1: {{key: {KEYS[1]}}}
      ulm-a2: {{key: {KEYS[2]}, ring: out}}
  oslo:
    a:
      oslo-a1: {{key: {KEYS[3]}}}
rings:
  line: {{least_h: 48, least_parts: 5000}}
  quarter: {{percent: 30, halt_devices: 20, gates: {{watch_h: 12}}}}
"""


def read(folder: Path, text: str = FILE) -> object:
    path = folder / "fleet.yaml"
    path.write_text(text)
    return read_fleet(path)


def test_a_fleet_is_read_with_the_rules_that_it_leaves_out(tmp_path: Path) -> None:
    path = tmp_path / "fleet.yaml"
    path.write_text(FILE)
    fleet = read_fleet(path)
    lab, line, quarter, everyone = (fleet.rings.of(ring) for ring in ("lab", "line", "quarter", "all"))
    assert (lab.least_h, lab.gates.watch_h) == (1, 1)
    assert (line.least_h, line.least_parts, line.success_percent) == (48, 5000, 95)
    assert (quarter.least_h, quarter.halt_devices, quarter.gates.watch_h) == (24, 20, 12)
    assert (everyone.halt_percent, everyone.halt_devices, everyone.silent_h) == (2, 2, 72)
    assert [placed.device_id for placed, _ in fleet.taking()] == ["ulm-lab", "ulm-a1", "oslo-a1"]
    assert (fleet.devices["oslo-a1"].site, fleet.devices["oslo-a1"].line) == ("oslo", "a")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("ulm-a2", "oslo-a1", "stands in ulm/a, too"),
        (KEYS[3], KEYS[1], "is that of ulm-a1, too"),
        (KEYS[1], "f" * 63, "fleet.yaml:7: sites.ulm.a.ulm-a1.key"),
        ("ring: lab", "ring: laboratory", "fleet.yaml:5"),
        ("least_h: 48", "least_hours: 48", "did you mean `least_h`"),
        ("percent: 30", "percent: 130", "less than or equal to 100"),
        ("halt_devices: 20", "halt_devices: 0", "greater than or equal to 1"),
        ("watch_h: 12", "challenge_part: 3", "did you mean `challenge_parts`"),
        ("watch_h: 12", "most_overkill: 3", "most_overkill is 3.0; give a share between 0 and 1"),
        ("watch_h: 12", "watch_h: 400", "fleet.yaml:14: rings.quarter.gates: give a most_h over watch_h"),
        ("reports: s3://plant/reports\n", "", "the key `reports` is missing"),
        ("  ulm:\n", "  Ulm:\n", "sites"),
        ("rings:\n", "rings: &a\n", "anchors"),
    ],
)
def test_a_mistake_is_told_with_its_place(tmp_path: Path, old: str, new: str, words: str) -> None:
    assert old in FILE
    with pytest.raises(ConfigError) as told:
        read(tmp_path, FILE.replace(old, new))
    assert words in str(told.value)


def test_a_ring_sets_any_gate_and_the_lab_keeps_its_hour(tmp_path: Path) -> None:
    path = tmp_path / "fleet.yaml"
    path.write_text(f"{FILE}  lab: {{gates: {{challenge_parts: 2, most_overkill: 0.05}}}}\n")
    gates = read_fleet(path).rings.of("lab").gates
    assert (gates.challenge_parts, gates.most_overkill, gates.watch_h, gates.alpha) == (2, 0.05, 1, None)


@pytest.mark.parametrize(
    ("said", "meant"), [("reports", "{here}/reports"), ("/srv/r", "/srv/r"), ("s3://a/b", "s3://a/b")]
)
def test_a_folder_of_reports_lies_beside_the_file(tmp_path: Path, said: str, meant: str) -> None:
    path = tmp_path / "fleet.yaml"
    path.write_text(FILE.replace("s3://plant/reports", said))
    assert read_fleet(path).reports == meant.format(here=tmp_path)


def test_ten_thousand_devices_fit(tmp_path: Path) -> None:
    lines = [f"      d{number}: {{key: {number:062x}ff}}" for number in range(10_000)]
    text = "reports: r\nsites:\n  ulm:\n    a:\n" + "\n".join(lines) + "\n"
    path = tmp_path / "fleet.yaml"
    path.write_text(text)
    assert len(read_fleet(path).devices) == 10_000
