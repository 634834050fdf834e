"""Every command that README and docs show is run here; a new one must be added to the table below."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from appliance.__main__ import main as appliance
from appliance.demo.station import SHIPPED_BUNDLE
from appliance.simulator.dataset import write_dataset
from tests.feedback import box, judge, write_judging_station
from tests.fleet import FleetDesk
from tests.ledger_inspections import open_ledger, store
from tests.models import golden_of_all_kinds, tiny_manifest, tiny_model
from tests.plant import PLACE, Plant, write_station
from tests.planted import write
from tests.products import with_products, write_products
from tests.release_desk import Desk
from tests.stations import needs_mosquitto
from tests.stick_desk import StickDesk
from tests.tiny_boards import write_tiny_boards
from tests.tiny_deeppcb import write_tiny_deeppcb
from tests.tiny_yolo import write_tiny_yolo
from trainer.datasets.reading import read_dataset
from trainer.datasets.store import Store
from trainer.datasets.stored import store_version
from trainer.datasets.version import version_of, write_version

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PROGRAMS = (
    "make",
    "appliance",
    "trainer",
    "calibrate",
    "pip",
    "git",
    "python",
    "torchrun",
    "sqlite3",
    "udevadm",
    "v4l2-ctl",
)
README_REPORT = 'make demo DEMO_ARGS="--parts 500 --rate 20 --json report.json"'


class RunAs(BaseModel, extra="forbid", frozen=True):
    """How a documented command is run here; see the top of documented_commands.yaml."""

    run: str | None = None
    after: str | None = None
    why: str | None = None


TABLE: dict[str, Any] = yaml.safe_load((Path(__file__).parent / "documented_commands.yaml").read_text())
COMMANDS = {name: RunAs(run=how) if isinstance(how, str) else RunAs(**how) for name, how in TABLE.items()}


def documented() -> set[str]:
    found: set[str] = set()
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL):
            found |= {" ".join(line.split()) for line in block.splitlines() if line.strip()}
        inline = re.findall(r"`([a-z0-9-]+ [^`\n]+)`", text)
        found |= {" ".join(command.split()) for command in inline if command.split()[0] in PROGRAMS}
    return found


def test_every_documented_command_is_in_the_table_and_nothing_else_is() -> None:
    assert documented() == set(COMMANDS)


def test_no_command_hides_in_an_indented_block() -> None:
    indented = [f"{page.name}: {line}" for page in PAGES for line in page.read_text(encoding="utf-8").splitlines()
                if line.startswith("    ") and line.split()[:1] and line.split()[0] in PROGRAMS]  # fmt: skip
    assert not indented, "fence them as sh, so that they are run"


def test_a_command_that_is_not_run_for_real_says_why() -> None:
    for name, how in COMMANDS.items():
        assert how.why or (how.run and not re.search(r"--help|make -n", how.run)), name


class Shell:
    """Runs documented commands in a user's folder, each once; those that are run here as others are, with them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ended: dict[str, subprocess.CompletedProcess[str]] = {}

    def run(self, command: str) -> subprocess.CompletedProcess[str]:
        how = COMMANDS[command]
        words = how.run or ""
        if words not in self._ended:
            if how.after:
                assert self.run(how.after).returncode == 0, how.after
            self._ended[words] = self._run(shlex.split(self._here(words)))
        return self._ended[words]

    def _here(self, text: str) -> str:
        stored = next((self.folder / "kept" / "versions").glob("*.json"))
        text = text.replace("{stored}", f"kept@{stored.stem}")
        return text.replace("{work}", str(self.folder)).replace("{root}", str(ROOT))

    def _run(self, words: list[str]) -> subprocess.CompletedProcess[str]:
        program, *rest = words
        folder = ROOT if program == "make" or any(word.startswith("benchmarks") for word in rest) else self.folder
        if program == "make":
            rest.append(f"VENV={sys.prefix}")
        elif program == "sqlite3" and shutil.which("sqlite3") is None:
            pytest.skip("sqlite3 is not installed")
        elif program != "sqlite3":
            program = str(Path(sys.executable).parent / program)
        return subprocess.run(
            [program, *rest], cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=280,
            check=False,
        )  # fmt: skip


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """A user's folder: a station with a ledger, pictures to train on and to judge on, boards, DeepPCB's layout."""
    folder = tmp_path_factory.mktemp("work")
    write(folder / "tiny.bundle", tiny_model(64, 64), golden_of_all_kinds(), tiny_manifest())
    write_station(folder)
    with open_ledger(folder / "ledger.db", device_id="d") as ledger:
        store(ledger, "t-1")
    write_tiny_boards(folder / "boards", pictures=20, groups=5)
    write_tiny_boards(folder / "fresh", seed=9)
    write_dataset(folder / "simulated", 8, 2, parts_per_family=2, is_quiet=True)
    write_tiny_yolo(folder / "labelled")
    (folder / "judging").mkdir()
    config = write_judging_station(folder / "judging")
    assert appliance(["export", "--config", str(config), "--out", str(folder / "feedback")]) == 0
    (folder / "several").mkdir()
    several = write_station(folder / "several")
    products = write_products(folder / "several")
    several.write_text(yaml.safe_dump(with_products(yaml.safe_load(several.read_text()), products)))
    judge(folder / "feedback", "t0", "ACCEPT")
    judge(folder / "feedback", "t1", "REJECT", boxes=[box(10, 10)])
    for name, boards in (("first", "boards"), ("second", "fresh")):
        found = version_of(read_dataset(folder / boards), folder, "a test", "nobody", None)
        write_version(found, folder).rename(folder / f"{name}.json")
    boards = read_dataset(folder / "boards")
    store_version(version_of(boards, folder, "a test", "nobody", None), folder, Store(str(folder / "kept")))
    (folder / "release").mkdir()
    desk = Desk(folder / "release", str(folder / "release" / "updates"))
    desk.begin()
    desk.known_parts()
    desk.recipe(version=4)
    sticks = StickDesk(folder / "sticks")
    sticks.folder.mkdir()
    sticks.begin()
    assert sticks.online.release(sticks.online.bundle()) == 0
    sticks.assign("models/boards/boards-1.bundle")
    (folder / "older").mkdir()
    Desk(folder / "older", str(folder / "older" / "updates")).begin(has_recipes=False)
    (folder / "rollout").mkdir()
    FleetDesk(folder / "rollout")
    pcb = folder / "DeepPCB" / "PCBData"
    groups = dict.fromkeys(("group77000", "group50600", "group44000"), 2) | {"group00041": 8}
    write_tiny_deeppcb(pcb, groups, side_px=96)
    write_tiny_deeppcb(pcb, {"group12000": 3}, "test.txt", side_px=96)
    return Shell(folder)


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("command", [name for name, how in COMMANDS.items() if how.run])
def test_a_documented_command_does_what_it_is_documented_for(command: str, shell: Shell) -> None:
    if "demo" in command and not SHIPPED_BUNDLE.exists():
        pytest.fail("the demo's bundle is missing: make demo-bundle")
    ended = shell.run(command)
    not_ok = set(re.findall(r"(?m)^NOT OK +(\S+)", ended.stdout))
    is_no_fault_of_ours = bool(not_ok) and not_ok <= {"clock", "processor"}  # nobody may set this computer's
    assert ended.returncode == (1 if is_no_fault_of_ours else 0), ended.stdout[-2000:] + ended.stderr[-2000:]
    assert "Traceback" not in ended.stderr


@pytest.mark.long
@pytest.mark.timeout(300)
def test_the_demo_of_the_readme_writes_its_report(shell: Shell) -> None:
    shell.run(README_REPORT)
    document = json.loads((shell.folder / "report.json").read_text())
    assert document["triggers"] == sum(document["verdicts"].values()) == 20
    assert not any(document["losses"].values())


@needs_mosquitto
def test_a_documented_station_runs(tmp_path: Path) -> None:
    with Plant(tmp_path) as plant:
        plant.announce("part-1", deadline_ms=5000)
        plant.wait_for_outcomes(1)
    assert "part-1" in plant.outcomes


@needs_mosquitto
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
