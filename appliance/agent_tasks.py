"""appliance agent: what it does with releases; run, update, status, rollback, hold, release-hold, adopt, ..."""

import argparse
import json
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TypeAlias

from appliance.agent_beats import Beats
from appliance.agent_commands import ANSWER_S, hold, is_over, only_name, release_hold
from appliance.agent_line import MqttLine
from appliance.agent_station import Station, station_file
from appliance.agent_status import app_slots, in_words, status_of
from appliance.agent_workshop import ChildWorkshop
from appliance.bundle import strict_json
from appliance.bundle.whole_file import write_whole
from appliance.clock import SystemClock
from appliance.errors import EXIT_REFUSED, ConfigError, DeliveryError, StorageError, exit_code
from appliance.events import iso, new_id
from appliance.requests import MOST_CHARACTERS
from appliance.runtimes.engines.child import say
from appliance.stop_wish import StopWish
from appliance.update.app_build import AppBuilder
from appliance.update.apps import Apps
from appliance.update.assignment import AssignedRelease
from appliance.update.bounded_child import end_with
from appliance.update.brought import LastStick
from appliance.update.conductor import Conductor, are_model_and_recipe
from appliance.update.device_key import open_device_key
from appliance.update.download import TargetStore
from appliance.update.durable import in_words as disk_in_words
from appliance.update.journal import Journal
from appliance.update.judging import MODEL, RECIPE, Content, JudgingKind, Workshop
from appliance.update.kinds import InterruptedWorkError, Kind
from appliance.update.lock import held_if_free, nothing
from appliance.update.orders import FindsTargets, Orders
from appliance.update.reports import Reports
from appliance.update.service import Left, Meanwhile, Service
from appliance.update.settings import AgentConfig, AssignmentSection
from appliance.update.situation import GOES_BACK
from appliance.update.slots import SUFFIXES, JudgingKindName, digest_of
from appliance.update.statistical import make_judge
from appliance.update.work_progress import WorkProgress

JUDGING: Mapping[JudgingKindName, Content] = {"model": MODEL, "recipe": RECIPE}

Opens: TypeAlias = Callable[[Callable[[], None]], FindsTargets]

GLANCE_S = 0.1
BUSY_S = 2.0
"""How often a worker looks whether another agent still works."""


def execute(arguments: argparse.Namespace, config: AgentConfig, repository: Opens) -> int:
    """Do one of the tasks.

    Args:
        arguments: of the command line.
        config: agent.yaml.
        repository: opens the trusted repository; told what is called often while another process uses it.
    """
    if "by" in arguments and not 0 < len(arguments.by.strip()) <= MOST_CHARACTERS:
        raise ConfigError(f"--by is {arguments.by[:80]!r}; say who wants it, in 1 to {MOST_CHARACTERS} characters")
    with closing(Journal(config.journal, SystemClock())) as journal:
        return _TASKS[arguments.task](Agent(config, journal, repository), arguments)


@dataclass(frozen=True, slots=True)
class Agent:
    """The agent's parts, put together when they are needed."""

    config: AgentConfig
    journal: Journal
    repository: Opens

    @property
    def who(self) -> AssignmentSection:
        """What this device is called.

        Raises:
            ConfigError: agent.yaml does not say.
        """
        if self.config.assignment is None:
            raise ConfigError("agent.yaml does not say whose assignment is read; add `assignment: {site, device_id}`")
        return self.config.assignment

    @property
    def lock(self) -> Path:
        """What the one holds who works."""
        return self.config.state / ".agent.lock"

    def station(self) -> Station:
        """Read the station's configuration."""
        return Station.read(station_file(self.config))

    def is_wanted(self, stopped: threading.Event) -> bool:
        """Return whether a wish, or the end of the agent, is to break off what takes long."""
        return stopped.is_set() or bool(self.journal.wishes())

    def workshop(
        self, kind: JudgingKindName, stopped: threading.Event, meanwhile: Callable[[], None] = nothing
    ) -> ChildWorkshop:
        """Return what builds and proves."""
        config = self.config
        is_wanted, progress = partial(self.is_wanted, stopped), WorkProgress(config.work_progress)
        station = station_file(config)

        def current(name: str) -> Path:
            return config.slots(kind, name).current

        return ChildWorkshop(
            station, current, config.work, is_wanted, meanwhile=meanwhile, kind=kind, progress=progress
        )

    def orders(self, meanwhile: Callable[[], None] = nothing, on_step: Callable[[], None] = nothing) -> Orders:
        """Return where orders and releases come from.

        Args:
            meanwhile: called while a file comes; what it raises breaks that off.
            on_step: called while an assignment comes, or another process has what is asked.
        """
        config = self.config
        targets = config.make_targets_source()
        store = TargetStore(config.files, targets, config.reserve_bytes, meanwhile)
        papers = TargetStore(config.orders, targets, meanwhile=on_step)
        floor = config.make_floor(on_step)
        who, has_server = self.who, config.has_server
        last_stick = LastStick(self.journal, floor, who.site, who.device_id, config.allowed, has_server)
        repository = self.repository(on_step) if has_server else None
        return Orders(repository, store, papers, floor, who.site, who.device_id, config.allowed, last_stick)

    def kinds(
        self, orders: Orders, station: Station, stopped: threading.Event, meanwhile: Callable[[], None],
        on_step: Callable[[], None],
    ) -> dict[str, Kind]:  # fmt: skip
        """Return what this device installs: models, recipes, and the application where agent.yaml has it.

        Args:
            orders: where releases come from.
            station: its configuration.
            stopped: breaks off what takes long.
            meanwhile: called often while something does.
            on_step: called often where nothing else may be done meanwhile.
        """
        kinds: dict[str, Kind] = {
            content.kind: self.judging(
                content, orders, station, self.workshop(content.kind, stopped, meanwhile), on_step
            )
            for content in JUDGING.values()
        }
        config, apps = self.config, self.config.apps

        def is_wanted() -> bool:
            meanwhile()
            return self.is_wanted(stopped)

        if apps is not None:
            builder = AppBuilder(app_slots(config, apps), apps.work, config.reserve_bytes, is_wanted, on_step)
            kinds["app"] = Apps(orders, builder, apps, config.station, SystemClock())
        return kinds

    def judge_together(self, station: Station, first: AssignedRelease, second: AssignedRelease) -> bool:
        """Return whether two releases are of a model and a recipe of one product."""
        slots = [
            self.config.slots(kind, each.name) for each in (first, second) for kind in JUDGING if each.kind == kind
        ]
        products = [station.files_of(each.current).keys() for each in slots]
        return are_model_and_recipe(first, second) and not products[0].isdisjoint(products[1])

    def judging(
        self, content: Content, orders: Orders, station: Station, workshop: Workshop,
        on_step: Callable[[], None] = nothing,
    ) -> JudgingKind:  # fmt: skip
        """Return the kind `model` or `recipe`."""
        config = self.config

        def why_not(name: str) -> str:
            current = config.slots(content.kind, name).current
            if not station.files_of(current):
                return f"no product of the station has `{current.suffix[1:]}: {current}`; add it there"
            releases = station.config.releases
            if releases is None or not current.parent.resolve().is_relative_to(releases.resolve()):
                return f"{current.parent} does not lie in the station's `releases`; let that be {config.slots_root}"
            return ""

        folder = config.slots_folder(content.kind)
        line = MqttLine(station, folder, content.kind, on_step=on_step)
        return JudgingKind(orders, folder, line, make_judge, workshop, SystemClock(), why_not, content)

    def service(self, stopped: threading.Event, on_step: Callable[[], None] = nothing) -> Service:
        """Return everything that the agent does by itself.

        Args:
            stopped: breaks off what takes long.
            on_step: called often while an update gets on, or a child process works within its own limits.
        """
        config, clock, station = self.config, SystemClock(), self.station()
        line = MqttLine(station, config.slots_folder("model"), on_step=on_step)
        look = Meanwhile(config.look_s)

        def meanwhile() -> None:
            on_step()
            look()

        def between() -> None:
            if self.is_wanted(stopped):
                raise InterruptedWorkError("the download was broken off; it goes on where it was")
            meanwhile()

        orders = self.orders(between, on_step)
        kinds = self.kinds(orders, station, stopped, meanwhile, on_step)
        conductor = Conductor(
            self.journal, kinds, clock, config.window, partial(self.judge_together, station), on_step
        )  # fmt: skip
        look.do = conductor.look_at_the_line
        url = None if config.reports_url is None else f"{config.reports_url.rstrip('/')}/{self.who.device_id}.json"
        return Service(
            self.journal, conductor, line, self.reports(),
            orders.read_assignment, None if url is None else partial(config.make_transport().put, url),
            config.poll_min * 60, config.look_s, orders.brought,
        )  # fmt: skip

    def reports(self) -> Reports:
        """Return what tells how the updates are."""
        key, who = open_device_key(self.config.device_key), self.who
        return Reports(self.journal, key, SystemClock(), site=who.site, device_id=who.device_id, boot_id=new_id())

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Work as the only agent.

        Raises:
            StorageError: another one works.
        """
        with held_if_free(self.lock) as is_free:
            if not is_free:
                raise StorageError(f"another agent works in {self.config.state}; let it do it, or stop it first")
            yield


def _work(agent: Agent, arguments: argparse.Namespace) -> int:
    """Do what there is to do, as the child of appliance.agent_resident, and say what is left."""
    end_with(arguments.parent)
    stopped = StopWish()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    left: Left | None = None
    beats = Beats()
    while left is None and not stopped.is_set():
        beats()
        with held_if_free(agent.lock) as is_free:
            if is_free:
                left = agent.service(stopped, beats).run(stopped, beats, arguments.ask_in)
        if not is_free:
            stopped.wait(BUSY_S)
    if left is not None:
        say(left=asdict(left))
    return 0


def _update(agent: Agent, arguments: argparse.Namespace) -> int:
    with agent.alone():
        service = agent.service(threading.Event())
        service.conductor.resume()
        error = service.ask()
        service.look()
        service.report(at_once=True)
    sys.stdout.write(in_words(status_of(agent.config, agent.journal)))
    return 0 if error is None else exit_code(error)


def _status(agent: Agent, arguments: argparse.Namespace) -> int:
    found = status_of(agent.config, agent.journal)
    sys.stdout.write(json.dumps(found, indent=1) + "\n" if arguments.json else in_words(found))
    return 0


def _report(agent: Agent, arguments: argparse.Namespace) -> int:
    path: Path = arguments.out / f"{agent.who.device_id}.json"
    with disk_in_words(path):
        arguments.out.mkdir(parents=True, exist_ok=True)
    report = agent.reports().build()
    write_whole(path, strict_json.dump(report))
    sys.stdout.write(f"{path}: report {report.seq} of {report.device_id}; carry it to where the fleet file says\n")
    return 0


def _rollback(agent: Agent, arguments: argparse.Namespace) -> int:
    kind = arguments.kind
    name = _app_name(agent) if kind == "app" else only_name(agent.config, kind, arguments.name)
    wish = agent.journal.wish(kind, name, arguments.by.strip())
    until = time.monotonic() + ANSWER_S
    while (answer := agent.journal.answer_to(wish)) is None or not is_over(agent.journal, wish):
        with held_if_free(agent.lock) as is_free:
            if is_free:  # nobody else does it
                service = agent.service(threading.Event())
                service.conductor.go_back()
                service.tell()
        if time.monotonic() > until:
            raise DeliveryError(
                f"not done within {ANSWER_S:g} s: {answer or 'nobody has taken it up'}; `appliance agent status` tells "
                "what it waits for, and it goes on as soon as that is there"
            )
        threading.Event().wait(GLANCE_S)
    if GOES_BACK not in answer:
        sys.stderr.write(f"appliance: {answer}\n")
        return EXIT_REFUSED
    found = status_of(agent.config, agent.journal)
    now = found["app"] if wish.kind == "app" else found[f"{wish.kind}s"][wish.name]
    again = f"release {now['sha256'][:12]}" if now["sha256"] else "the image's own"
    sys.stdout.write(f"{answer}: {wish.name} is {again} again\n")
    return 0


def _app_name(agent: Agent) -> str:
    if agent.config.apps is None:
        raise ConfigError("agent.yaml has no section `apps`, so the application is not updated here")
    return agent.config.apps.name


def _hold(agent: Agent, arguments: argparse.Namespace) -> int:
    sys.stdout.write(f"{hold(agent.journal, arguments.by.strip())}\n")
    return 0


def _release_hold(agent: Agent, arguments: argparse.Namespace) -> int:
    sys.stdout.write(f"{release_hold(agent.journal)}\n")
    return 0


def _adopt(agent: Agent, arguments: argparse.Namespace) -> int:
    file: Path = arguments.release
    content = RECIPE if file.suffix == SUFFIXES["recipe"] else MODEL
    with agent.alone():
        workshop = agent.workshop(content.kind, threading.Event())
        releases = agent.judging(content, agent.orders(), agent.station(), workshop)
        slots, (name, number) = releases.slots(arguments.name), content.identify(file)
        if slots.slot():
            raise ConfigError(f"{slots.current} is there already; from now on its updates are assigned")
        if why := releases.why_not(arguments.name):
            raise ConfigError(why)
        with disk_in_words(slots.folder):
            slots.folder.mkdir(parents=True, exist_ok=True)
            data = file.read_bytes()
        write_whole(slots.candidate, data)
        sha256 = digest_of(slots.candidate)
        words = releases.workshop.prove(arguments.name, slots.candidate).words
        slots.commit(sha256)
        slots.forget_candidate()
        agent.journal.note(f"adopted {content.kind} {arguments.name}", {"by": arguments.by.strip(), "sha256": sha256})
    sys.stdout.write(f"{slots.current} is {name} {content.number_is} {number}: {words}\n")
    return 0


def _release_quarantine(agent: Agent, arguments: argparse.Namespace) -> int:
    if not agent.journal.release_quarantine(arguments.sha256):
        raise ConfigError(f"{arguments.sha256[:80]}: not in quarantine; `appliance agent status` tells what is")
    agent.journal.note(f"forgiven {arguments.sha256}", {"by": arguments.by.strip(), "at": iso(SystemClock().utc())})
    sys.stdout.write("it is tried again as soon as it is assigned\n")
    return 0


_TASKS: Mapping[str, Callable[[Agent, argparse.Namespace], int]] = {
    "work": _work, "update": _update, "status": _status, "report": _report, "rollback": _rollback, "hold": _hold,
    "release-hold": _release_hold, "adopt": _adopt, "release-quarantine": _release_quarantine,
}  # fmt: skip
