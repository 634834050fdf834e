"""A station's place in the plant -> its topics; the one place where topic names are made and taken apart."""

import re
from dataclasses import dataclass

from appliance.errors import ConfigError
from appliance.links.settings import MqttSettings

ROOT = "vi/v1"
UPDATE_COMMANDS = ("update-rollback", "update-hold", "update-release-hold")
"""Commands to a station's place that its agent of updates answers, and not the station."""

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_UNFIT_IN_RESPONSE = re.compile(r"[+#\x00]|^\$|^$")


def check_name(name: str, meaning: str) -> str:
    """Return the name if it may stand in a topic.

    Args:
        name: one level of a topic.
        meaning: what the name is for, as it stands in the configuration.

    Raises:
        ConfigError: the name holds another character than letters, digits, "_", ".", "-", or is not 1 to 64 long.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"{meaning} is {name[:80]!r}, but it becomes part of a topic: "
            "write 1 to 64 letters, digits, '_', '.' or '-'"
        )
    return name


@dataclass(frozen=True, slots=True)
class Topics:
    """Every topic of one station, below vi/v1/<enterprise>/<site>/<area>/<line>/<station>."""

    prefix: str

    @classmethod
    def of(cls, settings: MqttSettings) -> "Topics":
        """Return the topics of the station that the settings name.

        Raises:
            ConfigError: a name cannot stand in a topic.
        """
        levels = [
            check_name(getattr(settings, level), level) for level in ("enterprise", "site", "area", "line", "station")
        ]
        return cls("/".join((ROOT, *levels)))

    @property
    def trigger(self) -> str:
        """In: a part is at the camera."""
        return f"{self.prefix}/trigger"

    @property
    def action(self) -> str:
        """Out: what the line must do with the part, once, before the deadline."""
        return f"{self.prefix}/action"

    @property
    def record(self) -> str:
        """Out: every inspection, until each consumer has acknowledged it."""
        return f"{self.prefix}/record"

    @property
    def status(self) -> str:
        """Out, retained, and the last will: online, stopped, offline."""
        return f"{self.prefix}/status"

    @property
    def heartbeat(self) -> str:
        """Out: once a second."""
        return f"{self.prefix}/heartbeat"

    @property
    def meta(self) -> str:
        """Out, retained: what judges here."""
        return f"{self.prefix}/meta"

    @property
    def alarm(self) -> str:
        """Out: what a person should look at."""
        return f"{self.prefix}/alarm"

    @property
    def update(self) -> str:
        """Out, retained, and the agent's last will: how the updates of this device are."""
        return f"{self.prefix}/update"

    @property
    def heard_by_the_station(self) -> tuple[str, str, str]:
        """What a station subscribes to: triggers, acknowledgements, commands."""
        return (self.trigger, self.acknowledge(), self.command())

    def acknowledge(self, consumer: str = "+") -> str:
        """In: a consumer's acknowledgement; all consumers' by default."""
        return f"{self.prefix}/ack/{consumer}"

    def command(self, name: str = "+") -> str:
        """In: a command; all commands by default."""
        return f"{self.prefix}/command/{name}"

    def reply(self, client: str) -> str:
        """Where a client that asks something of this station wants its answers."""
        return f"{self.prefix}/reply/{client}"

    def name_below(self, kind: str, topic: str) -> str | None:
        """Return NAME of <prefix>/<kind>/NAME, or None if the topic is another one."""
        head = f"{self.prefix}/{kind}/"
        name = topic[len(head) :]
        return name if topic.startswith(head) and _NAME.fullmatch(name) else None

    def station_command(self, topic: str) -> str | None:
        """Return the command's name, or None if the topic is no command or the agent's."""
        name = self.name_below("command", topic)
        return None if name in UPDATE_COMMANDS else name

    def may_answer_on(self, response_topic: str) -> bool:
        """Whether an answer may go there: no wildcard, no system topic, none of this station's own but reply/."""
        if _UNFIT_IN_RESPONSE.search(response_topic) or len(response_topic) > 512:
            return False
        return not response_topic.startswith(f"{self.prefix}/") or response_topic.startswith(f"{self.prefix}/reply/")
