"""appliance demo: a broker, a simulated line, the appliance and a consumer in one command."""

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import get_args

from pydantic import ValidationError
from rich.console import Console

from appliance.arguments import count, group_names, new_file, rate, ratio, whole
from appliance.bundle.archive import Bundle, read_bundle
from appliance.config import RuntimeSection
from appliance.demo.line import DemoLine
from appliance.demo.screen import Screen
from appliance.demo.station import RECIPE_DEADLINE_MS, SHIPPED_BUNDLE, Scene, write_station
from appliance.errors import ConfigError, DeviceError
from appliance.simulator.broker import EmbeddedBroker
from appliance.simulator.conveyor import Conveyor
from appliance.stop_wish import StopWish

START_TIMEOUT_S = 60.0
LAST_RECORDS_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 20.0
DEFECT_RATE = 0.15


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--parts", type=count, help="stop after so many parts (default: until Ctrl-C)")
    parser.add_argument("--rate", type=rate, default=4.0, help="parts per second (default 4)")
    parser.add_argument("--seed", type=whole, default=1, help="same seed, same parts (default 1)")
    parser.add_argument("--defect-rate", type=ratio, help="part of the simulated boards that are bad (default 0.15)")
    parser.add_argument(
        "--images", type=Path, metavar="DIR", help="inspect recorded pictures instead of simulated boards"
    )
    only = "of --images: only these groups; or @FILE with one a line"
    parser.add_argument("--groups", type=group_names, default=(), metavar="A,B", help=only)
    parser.add_argument(
        "--optics", type=Path, metavar="FILE", help="YAML script that stages drift on the simulated boards"
    )
    parser.add_argument("--bundle", type=Path, default=SHIPPED_BUNDLE, help="another model (default: the shipped one)")
    parser.add_argument("--runtime", choices=_choices("kind"), help="what runs the model (default: onnx)")
    parser.add_argument("--precision", choices=_choices("precision"), help="of --runtime (default: auto)")
    parser.add_argument(
        "--threads", type=count, help="of the processor, for one inference (default: all cores but one)"
    )
    parser.add_argument("--broker", choices=("auto", "mosquitto", "amqtt"), default="auto", help="default: auto")
    parser.add_argument("--directory", type=Path, help="keep ledger, pictures and configuration in this new folder")
    parser.add_argument("--svg", type=new_file, metavar="FILE", help="write the last screen here as a picture")
    parser.add_argument("--json", type=new_file, metavar="FILE", help="write counts, truth, latencies and losses here")


def execute(arguments: argparse.Namespace) -> int:
    """Run the demo until its parts are done or Ctrl-C; 0 if every trigger got its verdict, 1 if not."""
    if arguments.optics and arguments.images:
        raise ConfigError("--optics changes simulated boards and --images shows recorded ones; leave one out")
    if arguments.defect_rate is not None and arguments.images:
        raise ConfigError("--defect-rate is of simulated boards and --images shows recorded ones; leave one out")
    if arguments.groups and not arguments.images:
        raise ConfigError("--groups chooses among the pictures of --images; name those too, or leave it out")
    bundle = read_bundle(arguments.bundle)
    conveyor = Conveyor(arguments.rate, seed=arguments.seed, parts=arguments.parts)
    with tempfile.TemporaryDirectory(prefix="appliance-demo-") as temporary:
        folder = (arguments.directory or Path(temporary)).absolute()
        scene = Scene.recorded(arguments.images, arguments.groups) if arguments.images else Scene.simulated(
            arguments.seed,
            DEFECT_RATE if arguments.defect_rate is None else arguments.defect_rate,
            arguments.optics,
            arguments.rate,
        )  # fmt: skip
        with EmbeddedBroker(arguments.broker) as broker:
            config = write_station(
                folder, arguments.bundle, bundle, scene, port=broker.port, runtime=_runtime(arguments)
            )
            return _run(arguments, bundle, scene, broker, config, conveyor)


def _choices(key: str) -> tuple[str, ...]:
    return get_args(RuntimeSection.model_fields[key].annotation)


def _runtime(arguments: argparse.Namespace) -> RuntimeSection | None:
    """Return the configuration's runtime section, None if nobody asks for anything else than a station's default."""
    asked = {"kind": arguments.runtime, "precision": arguments.precision, "threads": arguments.threads}
    section = {key: value for key, value in asked.items() if value is not None}
    try:
        return RuntimeSection.model_validate(section) if section else None
    except ValidationError as error:
        words = "; ".join(mistake["msg"].removeprefix("Value error, ") for mistake in error.errors())
        raise ConfigError(f"--runtime, --precision and --threads do not fit each other: {words}") from error


def _run(
    arguments: argparse.Namespace,
    bundle: Bundle,
    scene: Scene,
    broker: EmbeddedBroker,
    config: Path,
    conveyor: Conveyor,
) -> int:
    console = Console(soft_wrap=True, highlight=False)
    console.print(
        f"broker   {broker.kind} at {broker.url}" + ("" if broker.kind == "mosquitto" else " (MQTT 3.1.1 only)")
    )
    console.print(f"model    {bundle.manifest.name} revision {bundle.manifest.revision}, SHA-256 {bundle.digest[:12]}")
    console.print(f"station  {config}, log in {config.with_name('appliance.log')}")
    stop = StopWish()
    for wanted in (signal.SIGTERM, signal.SIGHUP):  # a terminal that is closed ends it as well
        signal.signal(wanted, lambda *_: stop.set())
    with (
        config.with_name("appliance.log").open("ab") as log,
        _Appliance(config, log.fileno()) as appliance,
        DemoLine(broker.port, scene, RECIPE_DEADLINE_MS) as line,
    ):
        _wait_for_the_appliance(console, line, appliance)
        console.print(
            f"topics   {line.topic_root}/# (for example: mosquitto_sub -p {broker.port} -t '{line.topic_root}/#' -v; "
            "it comes with the package mosquitto-clients)"
        )
        with Screen(console, line, arguments.parts) as screen:
            belt = threading.Thread(target=conveyor.run, args=(line.send, stop), name="conveyor", daemon=True)
            belt.start()
            try:
                while belt.is_alive() and not stop.is_set():
                    belt.join(0.2)
                    appliance.check()
                    screen.refresh()
            except KeyboardInterrupt:
                stop.set()
            belt.join()
            line.wait_for_the_rest(LAST_RECORDS_TIMEOUT_S)
            screen.refresh()
        document = line.document(broker.kind)
    screen.summary(document)
    if arguments.json:
        arguments.json.write(json.dumps(document, indent=2) + "\n")
    if arguments.svg:
        arguments.svg.write(screen.svg())
    return 0 if not any(document["losses"].values()) else 1


def _wait_for_the_appliance(console: Console, line: DemoLine, appliance: "_Appliance") -> None:
    words = f"starting the appliance, at most {START_TIMEOUT_S:.0f} s: it proves the model on this computer first"
    if not console.is_terminal:
        console.print(words)
    with console.status(words):
        if not line.wait_until_online(START_TIMEOUT_S, appliance.check):
            raise DeviceError(f"the appliance did not come up in {START_TIMEOUT_S:.0f} s; see {appliance.log}")


class _Appliance:
    """`appliance run` as the process of its own that it is in a plant."""

    def __init__(self, config: Path, log: int) -> None:
        self.log = config.with_name("appliance.log")
        self._config = config
        self._log = log

    def __enter__(self) -> "_Appliance":
        command = [sys.executable, "-m", "appliance", "run", "--config", str(self._config)]
        self._process = subprocess.Popen(command, stdout=self._log, stderr=self._log, start_new_session=True)
        return self

    def check(self) -> None:
        code = self._process.poll()
        if code is not None:
            words = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
            raise DeviceError(f"the appliance ended with exit code {code}; its log {self.log} ends: {' '.join(words)}")

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
