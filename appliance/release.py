"""The command `release`: another release of a bundle or recipe in force, loaded beside the line, between two parts."""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from appliance.bundle.archive import Bundle, read_bundle
from appliance.changeover import Products
from appliance.config import Config
from appliance.device_state import differences, held_back, read_device_state
from appliance.documents import Document
from appliance.errors import ApplianceError, BundleError, BundleProofError, ConfigError, StorageError
from appliance.events import ReleaseChange, ReleaseKind, Versions, iso
from appliance.live_latency import LatencyTerms
from appliance.parts import Product
from appliance.ports import Answer, Clock, ReleaseLog
from appliance.products import WarmProduct, WarmProducts, key_of, load_release
from appliance.recipe import LoadedRecipe, load_recipe
from appliance.release_file import locate, read_recipe_release, read_release
from appliance.requests import ReleaseRequest, read
from appliance.retirement import Retirement
from appliance.throttling import held_back_by

log = logging.getLogger(__name__)

_NUMBERS: Mapping[ReleaseKind, str] = {"bundle": "revision", "recipe": "version"}
_OTHER: Mapping[ReleaseKind, ReleaseKind] = {"bundle": "recipe", "recipe": "bundle"}

LOADING_S = 10.0
"""How long a station that stops waits for a release that is being loaded; systemd waits for twice as long."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a station stands: its configuration with the document, and the folder that stands for "/" of the device."""

    config: Config
    document: Document
    device_root: Path


class Releases:
    """Puts releases in force, one at a time; the line goes on meanwhile, and takes the new one between two parts."""

    def __init__(
        self,
        place: Place,
        warm: WarmProducts,
        products: Products,
        ledger: ReleaseLog,
        clock: Clock,
        *,
        note_inference_ms: Callable[[LatencyTerms, float], None],
        on_change: Callable[[], None],
    ) -> None:
        """Load nothing yet.

        Args:
            place: where the station stands.
            warm: what it can change to; a release takes the former one's place there.
            products: which of them is in force.
            ledger: knows which releases ran here.
            clock: UTC for the log, monotonic for how long it took.
            note_inference_ms: told what the model took; see products.load_products.
            on_change: called after each release.
        """
        self._place = place
        self._warm = warm
        self._products = products
        self._ledger = ledger
        self._clock = clock
        self._note_inference_ms = note_inference_ms
        self._on_change = on_change
        self._busy = threading.Lock()
        self._switching = threading.Lock()
        self._is_closed = False
        self._loading: threading.Thread | None = None
        self._retirement = Retirement()
        self._kept: dict[str, WarmProduct] = {}

    @property
    def waiting(self) -> int:
        """How many former releases are in memory because parts on their way hold them."""
        return self._retirement.waiting

    @property
    def kept(self) -> dict[str, str]:
        """Product -> digest of the former release that is kept in memory to go back to."""
        with self._switching:
            return {name: _former_digest(warm, self._warm.ready[name]) for name, warm in self._kept.items()}

    def command(self, arguments: Mapping[str, Any]) -> Answer:
        """Carry out the command `release`.

        Args:
            arguments: see requests.ReleaseRequest.

        Returns:
            `ok`; with it product, digest, previous_digest, revision, changed, at, last_seq, last_trigger_id, switch_ms
            and took_ms, or `error` in words, and try_again where nothing is wrong with the request. A Future of it:
            loading takes a while.
        """
        started_ns = time.monotonic_ns()
        request = read(ReleaseRequest, arguments)
        if not self._busy.acquire(blocking=False):
            words = "another release is being loaded; ask again when it is in force or refused"
            return {"ok": False, "error": words, "try_again": True}
        answer: Future[dict[str, Any]] = Future()

        def work() -> None:
            told = self._carry_out(request, started_ns)
            self._busy.release()
            answer.set_result(told)

        self._loading = threading.Thread(target=work, name="release", daemon=True)
        self._loading.start()
        return answer

    def close(self) -> None:
        """Put nothing in force any more and free what waits; called when no part is on its way.

        A release that is being loaded is waited for, within reason: a process must not end within a runtime's own code.
        """
        with self._switching:
            self._is_closed = True
        if self._loading is not None:
            self._loading.join(LOADING_S)
        for warm in self._kept.values():
            warm.undo.close()
        self._retirement.close()

    def _carry_out(self, request: ReleaseRequest, started_ns: int) -> dict[str, Any]:
        try:
            told = self._release(request)
        except ApplianceError as error:
            log.warning("%s for %s by %s is refused: %s", request.release[1], request.product, request.by, error)
            return {"ok": False, "error": str(error)}
        except Exception as error:  # the guard of this thread: whatever a release does, the line goes on
            log.exception("a release failed in an unforeseen way")
            return {"ok": False, "error": f"the release failed in an unforeseen way: {error!r}; see the station's log"}
        return told | {"took_ms": round((time.monotonic_ns() - started_ns) / 1e6, 3)}

    def _release(self, request: ReleaseRequest) -> dict[str, Any]:
        product, (kind, _) = self._products.ready(request.product), request.release
        now, kept = product.versions, self._kept.get(product.name)
        if kept is not None and _goes_back(kind, request.sha256, now, kept.product.versions):
            self._check_order(request, now, kept.product.versions.released(kind))
            return _told(kind, now, kept.product.versions) | self._switch(request, product, kept)
        wanted = self._read(request)
        if wanted.released[2] == now.released(kind)[2]:
            if kept is not None and not request.keeps_former:
                self._retire(self._kept.pop(product.name))
            return _told(kind, now, now)
        self._check_order(request, now, wanted.released)
        warm = self._load(product, wanted)
        try:
            return _told(kind, now, warm.product.versions) | self._switch(request, product, warm)
        except BaseException:
            warm.undo.close()
            raise

    def _read(self, request: ReleaseRequest) -> "_Wanted":
        kind, name = request.release
        path = locate(self._place.config.releases, name)
        if kind == "bundle":
            bundle = read_release(path, request.sha256)
            return _Wanted((bundle.manifest.name, bundle.manifest.revision, bundle.digest), bundle=bundle)
        recipe, document = read_recipe_release(path, request.sha256)
        return _Wanted((recipe.name, recipe.version, document.digest), recipe=(recipe, document))

    def _load(self, product: Product, wanted: "_Wanted") -> WarmProduct:
        config, document = self._place.config, self._place.document
        key, root = key_of(config, product.name), self._place.device_root
        proved_on, device = self._warm.ready[product.name].engine.certificate.device, read_device_state(root)
        if held_back_by(root):
            device = held_back(device, proved_on)  # heat makes no other device
        if changed := differences(proved_on, device):
            raise BundleProofError(
                f"the device is not as it was when what judges {product.name} was proved: {'; '.join(changed)}; the "
                "station's watch compares with that, so set it back, or start the station again"
            )
        files = config.product_files()[key]
        bundle = wanted.bundle or read_bundle(files.bundle)
        recipe = wanted.recipe or load_recipe(files.recipe)
        if wanted.recipe is None:
            check_other(product.versions, "recipe", recipe[1].digest)
        else:
            check_other(product.versions, "bundle", bundle.digest)
        return load_release(config, document, key, bundle, recipe, root, self._note_inference_ms)

    def _check_order(self, request: ReleaseRequest, now: Versions, after: tuple[str, int, str]) -> None:
        """Refuse an older release, unless a person rolls back to one that has run here."""
        kind, file = request.release
        word = _NUMBERS[kind]
        (name, number, _), (released, its_number, digest) = now.released(kind), after
        if released != name:
            raise ConfigError(
                f"{file} is a release of {released}, and {now.product} is judged by {kind} {name}: if "
                "that is to change, name the file in the configuration, and start the station again"
            )
        if its_number < number and not request.rollback:
            raise BundleError(
                f"{word} {its_number} of {released} is older than {number}, which is in force; only a rollback goes "
                "back"
            )
        if request.rollback and not self._ledger.has_run(digest):
            raise BundleError(
                f"{word} {its_number} of {released} ({digest[:12]}) never ran on this device, by its ledger; a "
                "rollback goes to a release that did"
            )

    def _switch(self, request: ReleaseRequest, product: Product, warm: WarmProduct) -> dict[str, Any]:
        at, (kind, _) = self._clock.utc(), request.release
        before, after = product.versions.released(kind), warm.product.versions.released(kind)
        change = ReleaseChange(
            at, request.by, product.name, kind, after[0], before[2], before[1], after[2], after[1],
            is_rollback=request.rollback,
        )  # fmt: skip
        started_ns = self._clock.monotonic_ns()
        with self._switching:
            if self._is_closed:
                raise StorageError("the station stops; ask again when it runs")
            turn = self._products.put(warm.product, lambda: self._ledger.note_release(change))
            former, self._warm.ready[product.name] = self._warm.ready[product.name], warm
            self._part_with(former, warm, request.keeps_former)
        switch_ms = round((self._clock.monotonic_ns() - started_ns) / 1e6, 3)
        log.info(
            "%s is judged by %s %s %d (%s) in place of %d, by %s, after trigger %s",
            product.name, kind, after[0], after[1], after[2][:12], before[1], request.by, turn.last_trigger_id,
        )  # fmt: skip
        self._on_change()
        turned = {"last_seq": turn.last_seq, "last_trigger_id": turn.last_trigger_id}
        return {"changed": True, "at": iso(at), **turned, "switch_ms": switch_ms}

    def _part_with(self, former: WarmProduct, warm: WarmProduct, keeps: bool) -> None:
        """Keep the former release to go back to, or free it; and what was kept before, unless it judges now."""
        name = former.product.name
        before = self._kept.pop(name, None)
        if before is not None and before is not warm:
            self._retirement.take(before)
        if keeps:
            self._kept[name] = former
        else:
            self._retirement.take(former)

    def _retire(self, warm: WarmProduct) -> None:
        with self._switching:
            if not self._is_closed:
                self._retirement.take(warm)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A release as read: name, number and digest, and the one of both that it is of."""

    released: tuple[str, int, str]
    bundle: Bundle | None = None
    recipe: LoadedRecipe | None = None


def _told(kind: ReleaseKind, now: Versions, after: Versions) -> dict[str, Any]:
    _, number, digest = after.released(kind)
    return {
        "ok": True, "product": now.product, "kind": kind, "digest": digest, "previous_digest": now.released(kind)[2],
        "revision": number, "changed": False,
    }  # fmt: skip


def _goes_back(kind: ReleaseKind, sha256: str, now: Versions, kept: Versions) -> bool:
    """Whether what is kept is the release that is asked for, and nothing else of it differs from what judges."""
    other = _OTHER[kind]
    return kept.released(kind)[2] == sha256 and kept.released(other)[2] == now.released(other)[2]


def _former_digest(kept: WarmProduct, now: WarmProduct) -> str:
    before, after = kept.product.versions, now.product.versions
    return before.bundle_digest if before.bundle_digest != after.bundle_digest else before.recipe_digest


def check_other(now: Versions, other: ReleaseKind, named: str) -> None:
    """Refuse a release that would change more than itself: what judges is not what the configuration names.

    Args:
        now: what judges.
        other: what is not released.
        named: digest of what the configuration names of it.

    Raises:
        ConfigError: the recipe was edited, or another bundle or recipe is on trial.
    """
    if named != now.released(other)[2]:
        raise ConfigError(
            f"the {other} of {now.product} is not the one that the station judges with: it was edited since the "
            f"station started with it, or another one is on trial, and a release changes nothing else; put it "
            "back, let the trial end, or start the station again"
        )
