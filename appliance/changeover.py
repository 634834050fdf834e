"""Which product is in force, the change to another one between two parts, and to another release of its bundle."""

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from appliance.errors import ConfigError
from appliance.events import Changeover, Versions, iso
from appliance.parts import Product
from appliance.ports import ChangeoverLog, Clock
from appliance.requests import MOST_CHARACTERS

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Turn:
    """Where a change of release fell: the number of the newest record, and the last trigger of the former release."""

    last_seq: int
    last_trigger_id: str | None


class Products:
    """A station's products, loaded and proved, of which one is in force: it judges the parts whose triggers come now.

    Triggers come in one thread and changeovers in another. Both meet in one reference, under a lock that is never held
    while the disk works: a part waits for no changeover.
    """

    def __init__(
        self,
        ready: Mapping[str, Product],
        unavailable: Mapping[str, str],
        in_force: str,
        ledger: ChangeoverLog,
        clock: Clock,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        """Begin with the product that is in force by the ledger.

        Args:
            ready: product -> what judges its parts.
            unavailable: product -> why it may not judge here, in words.
            in_force: one of the ready ones.
            ledger: knows the product in force over restarts.
            clock: UTC for the log, monotonic for how long a changeover took.
            on_change: called after each changeover.
        """
        self._ready = dict(ready)
        self._unavailable = dict(unavailable)
        self._in_force = self._ready[in_force]
        self._ledger = ledger
        self._clock = clock
        self._on_change = on_change
        self._changing = threading.Lock()
        self._turn = threading.Lock()
        self._last_trigger_id: str | None = None

    @property
    def in_force(self) -> Product:
        """Return the product that the next trigger gets."""
        return self._in_force

    def take(self, trigger_id: str) -> Product:
        """Return what judges the part of a new trigger, whatever changes while it is on its way."""
        with self._turn:
            self._last_trigger_id = trigger_id
            return self._in_force

    def versions_of(self, name: str) -> Versions:
        """Return what judges a product by its name; of one that is not ready nobody knows what judged it.

        Args:
            name: as a trigger has it; empty for whatever is in force.
        """
        product = self._ready.get(name) if name else self._in_force
        if product is not None:
            return product.versions
        unknown = replace(self._in_force.versions, product=name, bundle="", bundle_revision=0, bundle_digest="")
        return replace(unknown, recipe="", recipe_version=0, recipe_digest="", runtime="", certificate="")

    def status(self) -> dict[str, Any]:
        """Return the product in force, of each product why it may not judge (empty if it may), and by which release."""
        ready = dict(self._ready)
        judging = {name: each.versions for name, each in ready.items()}
        return {
            "product": self._in_force.name,
            "products": dict.fromkeys(ready, "") | self._unavailable,
            "bundles": {
                name: {"bundle": each.bundle, "revision": each.bundle_revision, "digest": each.bundle_digest}
                for name, each in judging.items()
            },
            "recipes": {
                name: {"recipe": each.recipe, "version": each.recipe_version, "digest": each.recipe_digest}
                for name, each in judging.items()
            },
        }

    def ready(self, name: str) -> Product:
        """Return a product that may judge.

        Raises:
            ConfigError: there is none of this name, or it may not judge; in words.
        """
        if problem := self._problem(name):
            raise ConfigError(problem)
        return self._ready[name]

    def put(self, product: Product, note: Callable[[], int]) -> Turn:
        """Let another release of a product judge from the next trigger on: on disk first, then in one reference.

        Args:
            product: one of the ready ones, with another bundle or recipe.
            note: writes it down and returns the number of the newest record.

        Raises:
            StorageError: the disk refused; the former release stays.
        """
        with self._changing:
            previous = self._ready[product.name]
            last_seq = note()
            with self._turn:
                self._ready[product.name] = product
                if self._in_force is previous:
                    self._in_force = product
                return Turn(last_seq, self._last_trigger_id)

    def change(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Carry out the command `changeover`: on disk first, then in force.

        Args:
            arguments: `product`, and `by`, who wants it.

        Returns:
            `ok`; with it product, previous, changed, at, last_seq, last_trigger_id and took_ms, or `error` in words.

        Raises:
            StorageError: the disk refused; the former product stays in force.
        """
        started_ns = self._clock.monotonic_ns()
        name, who = arguments.get("product"), arguments.get("by")
        if not isinstance(who, str) or not who.strip() or len(who) > MOST_CHARACTERS:
            return _refusal(f"changeover needs `by`, who wants it, in 1 to {MOST_CHARACTERS} characters; it is logged")
        with self._changing:
            if problem := self._problem(name):
                return _refusal(problem)
            previous, product = self._in_force, self._ready[str(name)]
            answer = {"ok": True, "product": product.name, "previous": previous.name, "changed": False}
            if product is not previous:
                answer |= {"changed": True, **self._put_in_force(product, who.strip())}
        return answer | {"took_ms": round((self._clock.monotonic_ns() - started_ns) / 1e6, 3)}

    def _problem(self, name: object) -> str:
        if not isinstance(name, str):
            return f"changeover needs `product`, one of {', '.join(self._ready)}"
        if name in self._unavailable:
            return f"product {name} may not judge here: {self._unavailable[name]}"
        if name not in self._ready:
            return (
                f"there is no product {name[:80]!r}; there are {', '.join(sorted({*self._ready, *self._unavailable}))}"
            )
        return ""

    def _put_in_force(self, product: Product, who: str) -> dict[str, Any]:
        at, previous = self._clock.utc(), self._in_force
        last_seq = self._ledger.note_changeover(Changeover(at, who, previous.name, product.name))
        with self._turn:
            self._in_force = product
            last_trigger_id = self._last_trigger_id
        log.info("changeover from %s to %s by %s, after trigger %s", previous.name, product.name, who, last_trigger_id)
        self._on_change()
        return {"at": iso(at), "last_seq": last_seq, "last_trigger_id": last_trigger_id}


def _refusal(problem: str) -> dict[str, Any]:
    return {"ok": False, "error": problem}
