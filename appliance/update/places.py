"""Where the agent's files lie below its state folder."""

from dataclasses import dataclass
from pathlib import Path

from appliance.update.assignment import FOLDERS
from appliance.update.slots import SUFFIXES, JudgingKindName, Slots


class Places:
    """Everything that is named by the state folder alone; state: that folder."""

    state: Path

    @property
    def metadata(self) -> Path:
        """The folder of the repository's metadata, and of nothing else."""
        return self.state / "metadata"

    @property
    def stick_metadata(self) -> Path:
        """The folder of the metadata of sticks, and of nothing else."""
        return self.state / "stick"

    @property
    def files(self) -> Path:
        """The folder of verified files."""
        return self.state / "files"

    @property
    def orders(self) -> Path:
        """The folder of the server's assignments, of which the newest stays."""
        return self.state / "assignments"

    @property
    def stick_orders(self) -> Path:
        """The folder of the assignments of sticks: an import runs beside the agent."""
        return self.state / "stick-assignments"

    @property
    def slots_root(self) -> Path:
        """The folder of all slots."""
        return self.state / "slots"

    def slots_folder(self, kind: JudgingKindName) -> Path:
        """Return the folder of the slots of models or recipes."""
        return self.slots_root / FOLDERS[kind]

    def slots(self, kind: JudgingKindName, name: str) -> Slots:
        """Return the slots of a model or recipe."""
        return Slots(self.slots_folder(kind) / name, SUFFIXES[kind])

    def names(self, kind: JudgingKindName) -> list[str]:
        """Return which models or recipes have slots here."""
        return sorted(path.name for path in self.slots_folder(kind).glob("*") if path.is_dir())

    @property
    def app_slots(self) -> Path:
        """The folder of the application's slots."""
        return self.slots_root / "apps"

    @property
    def journal(self) -> Path:
        """The journal's file."""
        return self.state / "journal.db"

    @property
    def work_progress(self) -> Path:
        """The file that says how far the building or proving of an update is."""
        return self.state / "work.json"

    @property
    def device_key(self) -> Path:
        """The file of the key that reports are signed with."""
        return self.state / "device.key"


@dataclass(frozen=True)
class StateFolder(Places):
    """The places of an agent of which no more is known."""

    state: Path
