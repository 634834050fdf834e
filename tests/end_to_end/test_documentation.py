"""Every command that README and docs show is run here; a new one must be added to the table below."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from appliance.demo.station import SHIPPED_BUNDLE
from appliance.simulator.broker import find_mosquitto
from appliance.simulator.dataset import write_dataset
from tests.models import tiny_bundle
from tests.plant import PLACE, Plant, write_station

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PROGRAMS = ("make", "appliance", "trainer", "calibrate", "pip", "git")

RUN_AS: dict[str, str] = yaml.safe_load((Path(__file__).parent / "documented_commands.yaml").read_text())


def documented() -> set[str]:
    found: set[str] = set()
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL):
            found |= {" ".join(line.split()) for line in block.splitlines() if line.strip()}
        inline = re.findall(r"`([a-z]+ [^`\n]+)`", text)
        found |= {" ".join(command.split()) for command in inline if command.split()[0] in PROGRAMS}
    return found


def test_every_documented_command_is_in_the_table() -> None:
    assert documented() <= set(RUN_AS)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder: a station, boards to train on, fresh ones to judge on."""
    folder = tmp_path_factory.mktemp("work")
    tiny_bundle(folder / "tiny.bundle")
    write_station(folder)
    write_dataset(folder / "boards", 24, 1, parts_per_family=2, is_quiet=True)
    write_dataset(folder / "fresh", 8, 2, parts_per_family=2, is_quiet=True)
    return folder


@pytest.mark.timeout(300)
@pytest.mark.parametrize("command", [command for command, run_as in RUN_AS.items() if not run_as.startswith("not run")])
def test_a_documented_command_does_what_it_is_documented_for(command: str, work: Path) -> None:
    words = shlex.split(RUN_AS[command].replace("{work}", str(work)).replace("{root}", str(ROOT)))
    if "demo" in words and not SHIPPED_BUNDLE.exists():
        pytest.fail("the demo's bundle is missing: make demo-bundle")
    if words[0] == "make":
        words, folder = [*words, f"VENV={sys.prefix}"], ROOT
    else:
        words, folder = [str(Path(sys.executable).parent / words[0]), *words[1:]], work
    ended = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=280, check=False)
    not_ok = re.findall(r"(?m)^NOT OK +(\S+)", ended.stdout)  # nothing may set this computer's clock: no fault of ours
    assert ended.returncode == (1 if not_ok == ["clock"] else 0), ended.stdout[-2000:] + ended.stderr[-2000:]
    assert "Traceback" not in ended.stderr


def test_the_demo_of_the_readme_writes_its_report(work: Path) -> None:
    report = work / "report.json"
    if not report.exists():
        pytest.skip("the documented command did not run before")
    document = json.loads(report.read_text())
    assert document["triggers"] == sum(document["verdicts"].values()) == 20
    assert not any(document["losses"].values())


@pytest.mark.skipif(find_mosquitto() is None, reason="mosquitto is not installed")
def test_a_documented_station_runs(tmp_path: Path) -> None:
    with Plant(tmp_path) as plant:
        plant.announce("part-1", deadline_ms=5000)
        plant.wait_for_outcomes(1)
    assert "part-1" in plant.outcomes


@pytest.mark.skipif(find_mosquitto() is None, reason="mosquitto is not installed")
def test_the_documented_python_consumer_passes_a_good_part(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "messages.md").read_text(), re.DOTALL)
    with Plant(tmp_path) as plant:
        for key, mine in plant.settings().model_dump(include={"port", "device_id", *PLACE}).items():
            code, found = re.subn(rf'\b{key}=("[^"]*"|\d+)', f"{key}={mine!r}", code)
            assert found == 1, key
        code = code.replace("deadline_ms=300", "deadline_ms=9000")
        ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("pass")


def test_every_link_between_the_pages_leads_somewhere() -> None:
    broken = []
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            if "://" not in target and not (page.parent / target).exists():
                broken.append(f"{page.name}: {target}")
    assert not broken


def test_the_tools_of_the_commands_are_installed() -> None:
    for program in ("appliance", "trainer", "calibrate"):
        assert shutil.which(program, path=str(Path(sys.executable).parent)), f"{program} is not installed"
