"""What `appliance agent status` tells: from the journal and the slots, as words or as JSON."""

from typing import Any

from appliance.clock import SystemClock
from appliance.time_left import words_of
from appliance.update.app_slots import AppSlots
from appliance.update.device_key import open_device_key
from appliance.update.doors import why_closed
from appliance.update.journal import Journal
from appliance.update.kinds import Update
from appliance.update.reports import TAKEN
from appliance.update.settings import AgentConfig, AppsSection
from appliance.update.situation import HOLD, HUNG
from appliance.update.slots import Slots, digest_of
from appliance.update.work_progress import WorkSeen, progress_of, read_progress

_SHOWN_OF_A_DIGEST = 12
_TRY_AGAIN = "once the cause is gone, `appliance agent release-quarantine` lets it be tried again"


def status_of(config: AgentConfig, journal: Journal) -> dict[str, Any]:
    """Return what is in force, what is under way, and why it waits or failed.

    Raises:
        StorageError: the journal, a slot or the device's key cannot be read.
    """
    hold, seen = journal.noted(HOLD), read_progress(config.work_progress)
    return {
        "public_key": open_device_key(config.device_key).public,
        "hold": hold,
        "closed": why_closed(hold, config.window, SystemClock().utc()),
        "assignment": journal.noted("assignment"),
        "problem": journal.noted("problem") or "",
        "hung": journal.noted(HUNG),
        "reported": journal.noted(TAKEN),
        "untold_events": len(journal.unsent()),
        "models": {name: _slots(config.slots("model", name)) for name in config.names("model")},
        "recipes": {name: _slots(config.slots("recipe", name)) for name in config.names("recipe")},
        "app": config.apps and _app(config.apps.name, app_slots(config, config.apps)),
        "updates": [_told(journal, update, seen) for update in journal.latest()],
        "quarantine": journal.quarantined(),
    }


def app_slots(config: AgentConfig, apps: AppsSection) -> AppSlots:
    """Return the slots of the application.

    Args:
        config: agent.yaml.
        apps: its section.
    """
    return AppSlots(config.app_slots, apps.units, apps.tries)


def in_words(status: dict[str, Any]) -> str:
    """Return a status as lines for a person."""
    lines = [f"device key {status['public_key']}"]
    for kind in ("model", "recipe"):
        for name, slots in status[f"{kind}s"].items():
            before = f", before it {slots['other'][:_SHOWN_OF_A_DIGEST]}" if slots["other"] else ""
            lines.append(f"{kind} {name}: {slots['sha256'][:_SHOWN_OF_A_DIGEST] or 'nothing'} is in force{before}")
    if app := status["app"]:
        version = f"version {app['version']}" if app["sha256"] else "the image's own"
        trial = f", {app['trial']} is on trial: {app['health']}" if app["trial"] else ""
        lines.append(f"application {app['name']}: {version} is in force{trial}")
    for update in status["updates"]:
        waits = f", waits: {update['waits_for']}" if update["waits_for"] else ""
        why = f" ({update['reason']})" if update["reason"] else ""
        far = "" if (done := update["progress_percent"]) is None else f", {words_of(done, update['left_s'])}"
        kind = "recipe " if update["kind"] == "recipe" else ""
        what = f"update of {kind}{update['name']} to release {update['seq']}"
        lines.append(f"{what}: {update['outcome']} in {update['state']}{far}{why}{waits}")
    for digest, reason in status["quarantine"].items():
        lines.append(f"in quarantine: {digest} ({reason}); {_TRY_AGAIN}")
    if hung := status["hung"]:
        lines.append(f"the agent was ended at {hung['at']}: {hung['words']}")
    for key in ("closed", "problem"):
        if status[key]:
            lines.append(status[key])
    return "\n".join(lines) + "\n"


def _slots(slots: Slots) -> dict[str, str]:
    other = digest_of(slots.other())
    return {"slot": slots.slot(), "sha256": digest_of(slots.current), "other": other}


def _app(name: str, slots: AppSlots) -> dict[str, str]:
    slot, trial = slots.read(slots.current()), slots.trial()
    tried = slots.read(trial.slot) if trial else None
    return {
        "name": name, "slot": slots.current(), "sha256": slot.sha256 if slot else "",
        "version": slot.version if slot else "", "trial": tried.version if tried else "",
        "health": slots.health(trial.sha256).reason if trial else "",
    }  # fmt: skip


def _told(journal: Journal, update: Update, seen: WorkSeen | None) -> dict[str, Any]:
    release, progress = update.release, update.progress
    return {
        "kind": release.kind, "name": release.name, "seq": release.seq, "sha256": release.sha256,
        "rollout": update.rollout, "state": progress.state.value, "outcome": progress.outcome,
        "reason": update.reason, "by": update.by, "waits_for": update.waits_for, "parts": update.parts,
        "p99_ms": update.p99_ms, "tries": progress.tries, "crashes": progress.crashes, "stores": progress.stores,
        **progress_of(seen, release.kind, release.name, progress.state.value),
        "steps": [[step.at, step.state, step.reason] for step in journal.steps(update.number)],
    }  # fmt: skip
