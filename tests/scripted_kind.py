"""A kind of release whose states do what a test says; everything else succeeds at once."""

from collections.abc import Callable
from dataclasses import dataclass, field

from appliance.update.kinds import Outcome, Update, done


@dataclass
class ScriptedKind:
    """Implements update.kinds.Kind. script: (name, state) -> what happens there. asked: name and state, in order.

    digest: of what is in force.
    """

    script: dict[tuple[str, str], Callable[[], Outcome]] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    digest: str = "0" * 64

    def in_force(self, name: str) -> str:
        self.asked.append((name, "in_force"))
        return self.digest

    def keeps(self, name: str, sha256: str) -> bool:
        return True

    def _do(self, state: str, update: Update) -> Outcome:
        self.asked.append((update.release.name, state))
        return self.script.get((update.release.name, state), done)()

    def check(self, update: Update) -> Outcome:
        return self._do("check", update)

    def download(self, update: Update) -> Outcome:
        return self._do("download", update)

    def verify(self, update: Update) -> Outcome:
        return self._do("verify", update)

    def stage(self, update: Update) -> Outcome:
        return self._do("stage", update)

    def build(self, update: Update) -> Outcome:
        return self._do("build", update)

    def prove(self, update: Update) -> Outcome:
        return self._do("prove", update)

    def shadow(self, update: Update) -> Outcome:
        return self._do("shadow", update)

    def canary(self, update: Update) -> Outcome:
        return self._do("canary", update)

    def commit(self, update: Update) -> Outcome:
        return self._do("commit", update)

    def watch(self, update: Update) -> Outcome:
        return self._do("watch", update)

    def cleanup(self, update: Update) -> Outcome:
        return self._do("cleanup", update)

    def rollback(self, update: Update) -> Outcome:
        return self._do("rollback", update)

    def verify_rollback(self, update: Update) -> Outcome:
        return self._do("verify_rollback", update)
