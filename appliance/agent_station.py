"""What the agent needs of the station's configuration: which products run which slot, and how the line is asked."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from appliance.config import Config, ProductSection, load_config
from appliance.documents import Document
from appliance.errors import ConfigError, of_the_device
from appliance.links.settings import MqttSettings
from appliance.update.settings import AgentConfig


@dataclass(frozen=True, slots=True)
class Station:
    """The station's configuration as the agent needs it."""

    config: Config
    document: Document

    @classmethod
    def read(cls, path: Path) -> "Station":
        """Read the station's configuration.

        Raises:
            ConfigError: a person must correct it.
        """
        return cls(*load_config(path))

    def files_of(self, current: Path) -> dict[str, ProductSection]:
        """Return the products whose bundle or recipe is a slots' `current`; the link itself is not followed."""
        wanted = _unfollowed(current)
        files = self.config.product_files()
        return {
            name: each for name, each in files.items() if wanted in (_unfollowed(each.bundle), _unfollowed(each.recipe))
        }

    def products(self, current: Path) -> list[str]:
        """Return their names, as commands take them."""
        from appliance.recipe import load_recipe  # not while the agent waits: it brings OpenCV

        with of_the_device():
            return [name or load_recipe(files.recipe)[0].name for name, files in self.files_of(current).items()]

    def mqtt(self) -> MqttSettings:
        """Return how the line is asked.

        Raises:
            ConfigError: it cannot be.
        """
        if self.config.mqtt is None:
            raise self.document.error(("mqtt",), "a station without `mqtt` hears no agent", "add it")
        return self.document.section(("mqtt",), MqttSettings, given=self.config.device.model_dump())


def station_file(config: AgentConfig) -> Path:
    """Return where the station's configuration lies.

    Raises:
        ConfigError: agent.yaml does not name it.
    """
    if config.station is None:
        raise ConfigError("agent.yaml does not name the station; add `station: /etc/inspection/station.yaml`")
    return config.station


def become_resident(config: AgentConfig, agent_file: Path, log_level: str | None) -> NoReturn:
    """Put what waits in the place of this process, under its number and with what it needs to know.

    What has read the configuration stays in a process's memory, so it begins anew without that.

    Args:
        config: agent.yaml, as read.
        agent_file: agent.yaml.
        log_level: as given on the command line.

    Raises:
        ConfigError: a person must correct the station's configuration.
        RuntimeError: this process was not started as `agent run`, and would be lost.
    """
    if "run" not in sys.argv[1:]:
        raise RuntimeError("agent run takes the place of its process; start it as one of its own")
    station = Station.read(station_file(config))
    level = [] if log_level is None else ["--log-level", log_level]
    known = {"--config": agent_file, "--state": config.state, "--ledger": station.config.ledger.path,
             "--broker": station.mqtt().model_dump_json(), "--silence-s": config.must_get_on_s}  # fmt: skip
    words = [str(word) for pair in known.items() for word in pair]
    program = sys.orig_argv[: len(sys.orig_argv) - len(sys.argv) + 1]  # as it was started, so that it is known again
    os.execv(sys.executable, [*program, *level, "agent", "rest", *words])


def _unfollowed(path: Path) -> Path:
    return path.parent.resolve() / path.name
