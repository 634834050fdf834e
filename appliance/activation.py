"""Which engine may judge: one with a valid certificate of this device, or one that is proved now and gets one."""

import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import TypeAlias, TypeVar

from appliance import __version__
from appliance.bundle.archive import Bundle
from appliance.bundle.comparison import compare_all, compare_several
from appliance.bundle.limits import Limits, golden_lacks, move_limits, refuse_undecided
from appliance.bundle.manifest import Digest
from appliance.bundle.proof import prove
from appliance.certification.certificate import Certificate, Computed, Means, Subject, certify
from appliance.certification.folder import CertificateFolder
from appliance.config import RuntimeSection
from appliance.device_state import DeviceState, differences, held_back, read_device_state
from appliance.engine import candidates, default_threads, instances, model_of
from appliance.errors import ApplianceError, BundleError, BundleProofError, DeviceError, RuntimeFault, is_the_devices
from appliance.events import iso, utc_now
from appliance.health import LongStart
from appliance.optics.detector import Detector
from appliance.ports import HasEngine, Runtime
from appliance.runtime_pool import LentRuntime, RuntimePool
from appliance.runtimes.engines.cache import EngineCache
from appliance.runtimes.engines.key import model_digest
from appliance.runtimes.engines.progress import BuildProgress
from appliance.throttling import Throttling, read_throttling, signs

log = logging.getLogger(__name__)

Seen = TypeVar("Seen")
Found = TypeVar("Found")

Refused: TypeAlias = list[tuple[Computed, ApplianceError]]
"""The models that were tried before, and why each may not judge."""

NONE_YET = "there is no certificate of this device yet"
ASKED_TO = "a new proof was asked for"


def ignore_refusal(precision: Computed, error: ApplianceError) -> None:
    """Take no note of a model that may not judge here."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What a proof is for.

    recipe, version, digest, limits: the recipe's.
    budget_ms: tells of a runtime how long one picture may take.
    at_once: numbers of pictures, each above 1, that the line asks the model about at once.
    """

    recipe: str
    version: int
    digest: Digest
    limits: Limits
    budget_ms: Callable[[Runtime], float]
    at_once: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Engine:
    """A runtime that was proved on this device, in as many copies as the line uses at once.

    Args:
        copies: the runtimes, at least one.
        precision: what it computes with.
        certificate: of its proof.
        why_proved: why it had to be proved now; empty if its certificate is from before and still valid.
        budget_ms: that one picture may take, as the terms told it now.
    """

    copies: tuple[Runtime, ...]
    precision: Computed
    certificate: Certificate
    why_proved: tuple[str, ...]
    budget_ms: float

    @property
    def runtime(self) -> Runtime:
        """The first copy."""
        return self.copies[0]

    def close(self) -> None:
        """Free all copies; for whoever has the engine."""
        for each in self.copies:
            each.close()

    @property
    def refused(self) -> str:
        """Why the models that this device would rather run do not judge here; empty if nothing was refused."""
        return "; ".join(self.certificate.refused)

    def describe(self) -> str:
        """Return the runtime in one line, for every record; it says so if another model was refused."""
        return self.runtime.describe() + (" instead of a faster model that was refused" if self.refused else "")


def activate(
    settings: RuntimeSection,
    bundle: Bundle,
    terms: Terms,
    *,
    certificates: CertificateFolder,
    device_root: Path = Path("/"),
    again: bool = False,
    may_prove: bool = True,
    pool: RuntimePool | None = None,
    on_progress: Callable[[float], None] | None = None,
    copies: int | None = None,
    on_refused: Callable[[Computed, ApplianceError], None] = ignore_refusal,
) -> Engine:
    """Load the model that may judge here: by a valid certificate and one look at each golden image, or by a new proof.

    Where the model that this device would rather run is refused, the next one is tried and everybody is told.

    Args:
        settings: the configuration's runtime section.
        bundle: the release.
        terms: what the proof is for.
        certificates: where they are kept.
        device_root: the folder that stands for "/" where the device tells about itself.
        again: proves even though a certificate is valid.
        may_prove: whether there is time for a proof; without, only a valid certificate will do, and an engine that is
            kept: nothing is built.
        pool: lends the models; None for one of its own.
        on_progress: told how far a proof is, 0..1; None tells the log.
        copies: so many are loaded and looked at, for whoever inspects with fewer than the line; a proof takes no less
            than the line uses at once, which is what None loads.
        on_refused: told each model of which the proof did not come to a certificate, and why.

    Raises:
        ConfigError: the configuration does not fit this device or the bundle.
        BundleError, RuntimeFault: no model of the bundle may judge here; BundleProofError: it would have to be proved.
        DeviceError: the device, or the engine's file, changed while it was proved; there is no certificate of that.
        StorageError: a certificate cannot be read or written, or an engine not kept or removed.
    """
    refuse_undecided(bundle, terms.limits)  # first: an engine takes minutes, and what a certificate says is no better
    chosen = candidates(settings, bundle)
    subject = _subject(bundle, terms, chosen[0])
    pool, on_progress = RuntimePool() if pool is None else pool, on_progress or BuildProgress("proof")
    device = _Device(device_root, read_device_state(device_root), read_throttling(device_root))
    attempt = _Attempt(settings, bundle, terms, subject, device, pool, may_prove, on_progress, on_refused)
    if again:
        return attempt.prove_first(chosen, certificates, [ASKED_TO])
    kept = certificates.newest_first(subject.recipe, subject.bundle)
    engine, why = attempt.by_certificate(kept, chosen, copies or instances(settings))
    if engine is None and not may_prove:
        raise BundleProofError(
            f"bundle {subject.bundle} revision {subject.bundle_revision} has no valid certificate of this device: "
            f"{'; '.join(why)}; prove it first, beside the line: `appliance prove` with a configuration that names it"
        )
    return engine or attempt.prove_first(chosen, certificates, why)


@dataclass(frozen=True, slots=True)
class _Device:
    """The device as it was when the attempt began."""

    root: Path
    state: DeviceState
    throttling: Throttling

    def changed(self) -> list[str]:
        """Say in words what is another than it was then."""
        now = read_device_state(self.root)
        if self.held_back_by():
            now = held_back(now, self.state)  # heat makes the runs longer, which counts, and sets no other clock
        return differences(self.state, now)

    def beside(self, then: DeviceState) -> DeviceState:
        """Return it as it is compared with how it was: heat makes no other device, and no certificate void."""
        return held_back(self.state, then) if signs(self.throttling, self.throttling) else self.state

    def held_back_by(self) -> tuple[str, ...]:
        """Say in words what has held it back since, or did so when the attempt began."""
        since = signs(self.throttling, read_throttling(self.root))
        return tuple(since or signs(self.throttling, self.throttling))


@dataclass(frozen=True, slots=True)
class _Attempt:
    settings: RuntimeSection
    bundle: Bundle
    terms: Terms
    subject: Subject
    device: _Device
    pool: RuntimePool
    may_build: bool
    on_progress: Callable[[float], None]
    on_refused: Callable[[Computed, ApplianceError], None]

    def by_certificate(
        self, kept: list[Certificate], chosen: tuple[Computed, ...], copies: int
    ) -> tuple[Engine | None, list[str]]:
        """Return the engine of a valid certificate, or none and in words why there is no such certificate.

        The best model that has one comes first, so that one which was put aside at a start judges at the next.
        """
        void = [each.other_subject(self.subject, self.device.beside(each.device)) for each in kept]
        possible = [each for each, words in zip(kept, void, strict=True) if not words]
        if not possible:
            return None, min(void, key=len, default=[NONE_YET])
        why = [f"no certificate is of what the configuration has computed now: {', '.join(chosen)}"]
        if not self.may_build:  # beside a line: what was proved last, and nothing in its place
            chosen = tuple(each for each in chosen if each == possible[0].means.precision)
        for precision in chosen:
            if not (theirs := _standing(possible, precision)):
                continue
            try:
                engine, why = self._by_one_of(theirs, precision, copies, may_build=theirs[0] is possible[0])
            except (BundleError, RuntimeFault) as error:
                why = [str(error)]
                if not is_the_devices(error):
                    return None, why
                log.warning("the %s model does not run on this device just now: %s", precision, error)
                continue
            if engine is not None or theirs[0] is possible[0]:  # a lesser model spares the newest one no proof
                return engine, why
        return None, why

    def _by_one_of(
        self, theirs: list[Certificate], precision: Computed, copies: int, *, may_build: bool
    ) -> tuple[Engine | None, list[str]]:
        """Return a model's engine by the newest of its certificates that is valid, or none and why."""
        with ExitStack() as undo:
            runtimes = self._lend(precision, copies, undo, may_build=may_build)
            means, budget_ms = self._means(runtimes[0], precision), self.terms.budget_ms(runtimes[0])
            why = [each.other_means(means, budget_ms) for each in theirs]
            valid = next((each for each, words in zip(theirs, why, strict=True) if not words), None)
            if valid is None:
                return None, min(why, key=len)
            detectors = self._detectors(runtimes)
            detects = [_going_on(each.detect) for each in detectors]
            compare_all(self.bundle, detects, precision=model_of(precision), limits=self.terms.limits)
            self._compare_several(detectors, precision)
            undo.pop_all()
            return Engine(tuple(runtimes), precision, valid, (), budget_ms), []

    def prove_first(self, chosen: tuple[Computed, ...], certificates: CertificateFolder, why: list[str]) -> Engine:
        """Prove one after the other until one passes, and keep its certificate."""
        log.info("the model is proved on this device now: %s", "; ".join(why))
        if self.settings.kind == "tensorrt" and self.settings.engines is not None:
            EngineCache(self.settings.engines).make_room(certificates.engines_of_the_newest())
        refused: Refused = []
        for precision in chosen[:-1]:
            try:
                return self._prove(precision, certificates, why, refused)
            except (BundleError, RuntimeFault) as error:
                after = chosen[chosen.index(precision) + 1]
                log.warning(
                    "the %s model may not judge here, the %s model is tried instead: %s", precision, after, error
                )
                refused.append((precision, error))
        return self._prove(chosen[-1], certificates, why, refused)

    def _prove(self, precision: Computed, certificates: CertificateFolder, why: list[str], refused: Refused) -> Engine:
        try:
            return self._proved(precision, certificates, why, refused)
        except ApplianceError as error:
            self.on_refused(precision, error)
            raise

    def _proved(self, precision: Computed, certificates: CertificateFolder, why: list[str], refused: Refused) -> Engine:
        with ExitStack() as undo:
            runtimes = self._lend(precision, instances(self.settings), undo)
            detectors = self._detectors(runtimes)
            detect, *beside = (_going_on(each.detect) for each in detectors)
            budget_ms = self.terms.budget_ms(runtimes[0])
            proof = prove(
                self.bundle,
                detect,
                latency_budget_ms=budget_ms,
                precision=model_of(precision),
                limits=self.terms.limits,
                on_progress=self.on_progress,
                beside=beside,
            )
            self._compare_several(detectors, precision)
            self._refuse_changed(runtimes[0])
            certificate = certify(
                self.subject, self._means(runtimes[0], precision), self.device.state, proof, budget_ms=budget_ms,
                refused=tuple(f"{tried}: {error}" for tried, error in refused),
                put_aside=tuple(tried for tried, error in refused if is_the_devices(error)),
                held_back=self.device.held_back_by(), proved_at=iso(utc_now()),
            )  # fmt: skip
            path = certificates.keep(certificate)
            undo.pop_all()
        log.info("proved: certificate %s in %s", certificate.id[:12], path)
        if certificate.held_back:
            log.warning("certificate %s: %s", certificate.id[:12], certificate.beware)
        return Engine(tuple(runtimes), precision, certificate, tuple(why), budget_ms)

    def _refuse_changed(self, runtime: LentRuntime) -> None:
        """Look at the device again: what the runs showed must be of one and the same."""
        changed = self.device.changed()
        if isinstance(runtime.lent, HasEngine) and self.settings.engines is not None:
            is_kept = EngineCache(self.settings.engines).is_kept(runtime.lent.built)
            changed += [] if is_kept else ["the engine's file is not the one that was loaded"]
        if changed:
            raise DeviceError(
                f"the device changed while bundle {self.subject.bundle} revision {self.subject.bundle_revision} was "
                f"being proved on it, so there is no certificate: {'; '.join(changed)}; leave it as it is to be, and "
                "prove again",
                changed,
            )

    def _lend(self, precision: Computed, copies: int, undo: ExitStack, *, may_build: bool = True) -> list[LentRuntime]:
        """Load the model so many times; each copy must say of itself what the first one does."""
        lent: list[LentRuntime] = []
        may_build = may_build and self.may_build
        for copy in range(copies):
            lent.append(self.pool.lend(self.settings, self.bundle, precision, copy, may_build=may_build))
            undo.callback(lent[-1].close)
            if _what_computes(lent[-1]) != (first := _what_computes(lent[0])):
                raise RuntimeFault(
                    f"a copy of the model computes with {_what_computes(lent[-1])} and the first one with {first}; "
                    "configure runtime.instances: 1"
                )
        return lent

    def _detectors(self, runtimes: Sequence[Runtime]) -> list[Detector]:
        return [Detector(each, self.bundle.manifest) for each in runtimes]

    def _compare_several(self, detectors: Sequence[Detector], precision: Computed) -> None:
        detects = [_going_on(each.detect_several) for each in detectors]
        counts, model = self.terms.at_once, model_of(precision)
        compare_several(self.bundle, detects, counts, precision=model, limits=self.terms.limits)

    def _means(self, runtime: LentRuntime, precision: Computed) -> Means:
        built = runtime.lent.built if isinstance(runtime.lent, HasEngine) else None
        kind = self.settings.kind
        return Means(
            software=__version__,
            runtime=runtime.describe(),
            threads=(self.settings.threads or default_threads()) if kind != "tensorrt" else None,
            pins_threads=self.settings.pins_threads if kind != "tensorrt" else None,
            instances=instances(self.settings),
            precision=precision,
            model_digest=model_digest(self.bundle.model(model_of(precision))),
            engine_key=built.key_digest if built else None,
            engine_digest=built.digest if built else None,
        )


def _going_on(detect: Callable[[Seen], Found]) -> Callable[[Seen], Found]:
    """Return what detects, and tells that the start goes on."""
    goes_on = LongStart()

    def detect_and_tell(seen: Seen) -> Found:
        goes_on()  # a slow device takes minutes for 200 pictures, and systemd waits for less
        return detect(seen)

    return detect_and_tell


def _standing(newest_first: list[Certificate], precision: Computed) -> list[Certificate]:
    """Return a model's certificates that are newer than the last verdict against it."""
    newer = takewhile(lambda each: not each.has_refused(precision), newest_first)
    return [each for each in newer if each.means.precision == precision]


def _what_computes(runtime: LentRuntime) -> str:
    """Return a runtime in one line, with the engine that it runs, if this device built one."""
    built = f" engine {runtime.lent.built.digest[:12]}" if isinstance(runtime.lent, HasEngine) else ""
    return runtime.describe() + built


def _subject(bundle: Bundle, terms: Terms, asked: Computed) -> Subject:
    return Subject(
        bundle=bundle.manifest.name,
        bundle_revision=bundle.manifest.revision,
        bundle_digest=bundle.digest,
        recipe=terms.recipe,
        recipe_version=terms.version,
        recipe_digest=terms.digest,
        reject_limits=dict(terms.limits.reject),
        accept_limits=dict(terms.limits.accept),
        asked=asked,
    )


def few_golden(bundle: Bundle, limits: Limits | None = None) -> str:
    """Return in words what golden images do not tell, so that a proof says little, and the remedy; empty if they do.

    Args:
        bundle: the release.
        limits: of the recipe; None for what they lack with any.
    """
    words = golden_lacks(bundle, limits)
    remedy = ", or ".join(filter(None, [move_limits(bundle, limits), "export the bundle anew"]))
    return f"{words}: {remedy}" if words else ""
