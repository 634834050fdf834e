"""The kind `app`: a package on its way into a slot, past a counted trial; whoever runs after a restart goes on."""

from dataclasses import dataclass
from pathlib import Path

from appliance import launch
from appliance.errors import BundleTrustError
from appliance.ports import Clock
from appliance.update.app_build import AppBuilder, DamagedPackageError
from appliance.update.app_programs import Looked, programs_of
from appliance.update.app_settings import AppLimits
from appliance.update.app_slots import AppSlots
from appliance.update.durable import remove
from appliance.update.kinds import Outcome, Update, done, failed, waits
from appliance.update.lifecycle import Event, State
from appliance.update.orders import Orders

GONE = "no slot has this release any more; check the disk"
SEE_LOG = "look at the units' logs (`journalctl -u UNIT`)"


@dataclass(frozen=True, slots=True)
class Apps:
    """The application of this device; implements kinds.Kind.

    station: its configuration, which a release must understand.
    """

    source: Orders
    builder: AppBuilder
    limits: AppLimits
    station: Path | None
    clock: Clock

    @property
    def slots(self) -> AppSlots:
        """Where its releases lie."""
        return self.builder.slots

    def in_force(self, name: str) -> str:
        """Return the SHA-256 of the package that is started when nothing is tried; empty for the image's own."""
        return self.slots.in_force()

    def keeps(self, name: str, sha256: str) -> bool:
        """Return whether a slot has a release; the image's own (empty) is always there."""
        return self.slots.keeps(sha256)

    def check(self, update: Update) -> Outcome:
        """Compare what was assigned with what the apps' role signed."""
        return done(signed=self.source.check(update.release))

    def download(self, update: Update) -> Outcome:
        """Fetch the file; goes on where it was."""
        if update.signed is None:
            raise BundleTrustError(f"{update.release.path} was never compared with its signature; assign it again")
        return done(f"in {self.source.fetch(update.release, update.signed).parent}")

    def verify(self, update: Update) -> Outcome:
        """Judge the file on disk: whether it is a package for this device, and of the release that was signed."""
        release = update.release
        try:
            manifest = self.builder.verify(self._file(update), release.sha256)
        except DamagedPackageError as error:
            return Outcome(Event.RETRY, str(error))
        if (manifest.name, manifest.seq) != (release.name, release.seq):
            return failed(
                f"{release.path} says that it is {manifest.name} number {manifest.seq}, and was signed as "
                f"{release.name} number {release.seq}; publish the one that was meant"
            )
        return done(f"{manifest.name} {manifest.version}")

    def stage(self, update: Update) -> Outcome:
        """Unpack it beside the slots."""
        try:
            self.builder.stage(self._file(update), update.release.sha256)
        except DamagedPackageError as error:
            return Outcome(Event.RETRY, str(error))
        return done()

    def build(self, update: Update) -> Outcome:
        """Make the slot that is not in force an environment of it, in child processes."""
        unpacked = self.stage(update)
        if unpacked.event is not Event.DONE:
            return unpacked
        return done(self.builder.build(update.release.sha256))

    def prove(self, update: Update) -> Outcome:
        """Try it beside the running line, in child processes."""
        slots = [slot for name in launch.SLOTS if (slot := self.slots.read(name)) is not None]
        if update.release.sha256 not in {slot.sha256 for slot in slots}:
            return Outcome(Event.RETRY, f"{self.slots.folder}: {GONE}")
        return done(self.builder.prove(update.release.sha256, self.station))

    def shadow(self, update: Update) -> Outcome:
        """Nothing: two programs cannot have the cameras at once."""
        return done()

    def canary(self, update: Update) -> Outcome:
        """Let every unit start it, counted, and wait until it was well for long enough."""
        if not update.is_waiting:  # on disk first: the restart may end this agent, too, and breaks nothing off
            return waits("its units are about to be restarted with it")
        if update.looked is None:
            if not self.slots.holder(update.release.sha256):
                return failed(f"{self.slots.folder}: {GONE}")
            self.slots.begin_trial(update.release.sha256)
            looked = Looked.of(None, self.clock.utc())
            return waits("its units are being restarted with it", since_seq=0, looked=looked.kept())
        return self._trial(update)

    def commit(self, update: Update) -> Outcome:
        """Let it be what is started; what runs goes on."""
        stands = self._trial(update)
        if stands.event is Event.DONE:
            self.slots.confirm(update.release.sha256)
        return stands

    def watch(self, update: Update) -> Outcome:
        """Watch its programs: they run, and are not started again and again."""
        if self.slots.in_force() != update.release.sha256:
            return Outcome(Event.LOST, "somebody put another release in force, so this one goes back")
        programs = programs_of(self.slots.folder / self.slots.current())
        missing, asked_s = len(self.slots.units) - len(programs), update.gates.watch_h * 3600
        before, patience_s = Looked.of(update.looked, self.clock.utc()), self.limits.trial_min * 60
        looked = before.after(self.clock.utc(), asked_s if missing <= 0 else patience_s, programs, is_well=missing <= 0)
        kept = looked.kept()
        if looked.restarts > self.limits.most_restarts:
            most = self.limits.most_restarts
            words = f"its programs were started anew {looked.restarts} times, and {most} are allowed; {SEE_LOG}"
            return failed(words, looked=kept)
        if missing > 0 and looked.away_s >= patience_s:
            words = f"{missing} of its programs did not run for {self.limits.trial_min:g} min; {SEE_LOG}"
            return Outcome(Event.LOST, words, {"looked": kept})
        if missing > 0:
            words = f"{missing} of {len(self.slots.units)} programs do not run; start their units"
            return waits(f"{words}, or it goes back after {self.limits.trial_min:g} min", looked=kept)
        words = f"has run well for {looked.well_s / 3600:.1f} of {update.gates.watch_h:g} h, {looked.restarts} restarts"
        return done(words, looked=kept) if looked.well_s >= asked_s else waits(words, looked=kept)

    def cleanup(self, update: Update) -> Outcome:
        """Remove what was unpacked, and a release that was judged and is no good."""
        self.builder.clean_up()
        if update.progress.verdict in ("quarantined", "rolled_back"):
            self.slots.forget(update.release.sha256)
        if self._file(update).exists():
            remove(self._file(update))
        return done()

    def rollback(self, update: Update) -> Outcome:
        """Let what was in force before be started; asks for a restart if it does not run."""
        if update.progress.has_judged:
            self.slots.roll_back(update.previous)
        return done()

    def verify_rollback(self, update: Update) -> Outcome:
        """Look whether it is what is started, and what runs."""
        if not self.slots.keeps(update.previous):
            return failed("no slot has the release before any more; what is in force stays: assign another release")
        if self.slots.in_force() != update.previous:
            return Outcome(
                Event.RETRY, f"{self.slots.folder / 'current'} is not the release before; it is tried again by itself"
            )
        if update.progress.has_judged and self.slots.is_other_running(update.previous):
            return waits("a program of another release still runs; restart the units if that does not end")
        return done("the application is as it was before")

    def _trial(self, update: Update) -> Outcome:
        health, now, limit_s = self.slots.health(update.release.sha256), self.clock.utc(), self.limits.trial_min * 60
        before, has_failed = Looked.of(update.looked, now), health.state == "failed"
        kept = (looked := before.after(now, limit_s, {}, is_well=not has_failed)).kept()
        if health.state == "healthy":
            return done(health.reason)
        if has_failed and not before.is_well:  # seen twice: the launcher may be about to write down why
            return failed(health.reason, looked=kept)
        if looked.well_s >= limit_s and health.is_untried and update.progress.state is State.CANARY:
            words = (
                f"no start was counted within {self.limits.trial_min:g} min, as on a full disk, so it is not to blame"
            )
            reason = f"{health.reason}; {words}: look at the unit's log, and assign it anew"
            return Outcome(Event.LACKING, reason, {"looked": kept})
        if looked.well_s >= limit_s:
            return failed(f"{health.reason}; not well within {self.limits.trial_min:g} min: {SEE_LOG}", looked=kept)
        return waits(health.reason, looked=kept)

    def _file(self, update: Update) -> Path:
        return self.source.store.folder / update.release.sha256
