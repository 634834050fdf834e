"""appliance agent: signed updates in, from a server or a USB stick, and through their life on this device."""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from appliance.agent_arguments import add_task_arguments
from appliance.clock import SystemClock
from appliance.errors import ConfigError

NOT_INSTALLED = "updates are not installed here: pip install 'inspection-appliance[agent]'"

if TYPE_CHECKING:
    from appliance.update.repository import TrustedRepository
    from appliance.update.settings import AgentConfig


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    tasks = parser.add_subparsers(dest="task", required=True, metavar="TASK")
    refresh = tasks.add_parser("refresh", help="bring the repository's metadata up to date and say what holds now")
    download = tasks.add_parser("download", help="fetch a file that the repository vouches for and say where it lies")
    download.add_argument("name", metavar="NAME", help="its path in the repository, such as models/boards.bundle")
    brought = tasks.add_parser("import", help="take what a USB stick says that this device is to have, and its files")
    brought.add_argument("folder", type=Path, metavar="FOLDER", help="the stick, with metadata/ and targets/")
    brought.add_argument("names", nargs="*", metavar="NAME", help="take only these files: paths in its repository")
    for task in (refresh, download, brought, *add_task_arguments(tasks)):
        task.add_argument("--config", type=Path, required=True, help="the agent's configuration (YAML)")


def execute(arguments: argparse.Namespace) -> int:
    """Do one task; every refusal is an error with words and an exit code."""
    if arguments.task == "rest":
        from appliance import agent_resident

        return agent_resident.run(arguments)
    from appliance.update.settings import load_agent_config

    config = load_agent_config(arguments.config)
    if arguments.task == "run":
        from appliance.agent_station import become_resident

        become_resident(config, arguments.config, arguments.log_level)
    if arguments.task == "import":
        for said in _import(config, arguments.folder, arguments.names):
            sys.stdout.write(said + "\n")
        return 0
    if arguments.task not in ("refresh", "download"):
        return _execute_task(arguments, config)
    said = _refresh(config) if arguments.task == "refresh" else _download(config, arguments.name)
    sys.stdout.write(said + "\n")
    return 0


def _execute_task(arguments: argparse.Namespace, config: "AgentConfig") -> int:
    with _installed():
        from appliance import agent_tasks
    return agent_tasks.execute(arguments, config, partial(_repository, config))


def _refresh(config: "AgentConfig") -> str:
    versions = _repository(config).refresh()
    return f"root {versions.root}, timestamp {versions.timestamp}, snapshot {versions.snapshot}"


def _download(config: "AgentConfig", name: str) -> str:
    target = _repository(config).find(name)
    from appliance.update.download import TargetStore

    store = TargetStore(config.files, config.make_targets_source(), config.reserve_bytes)
    path = store.fetch(target)
    config.make_floor().rise_to_releases(target.releases)
    return str(path)


def _import(config: "AgentConfig", folder: Path, names: Sequence[str]) -> Iterator[str]:
    with _installed():
        from appliance.update.stick_import import import_from
    return import_from(folder, names, config, SystemClock())


@contextmanager
def _installed() -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        raise ConfigError(NOT_INSTALLED) from error


def _repository(config: "AgentConfig", meanwhile: Callable[[], None] = lambda: None) -> "TrustedRepository":
    with _installed():
        from appliance.update.repository import TrustedRepository
    return TrustedRepository(
        "online",
        config.make_metadata_source(),
        config.metadata,
        root=config.read_root(),
        floor=config.make_floor(meanwhile),
        clock=SystemClock(),
        elsewhere=[config.files, config.stick_metadata],
        meanwhile=meanwhile,
    )
