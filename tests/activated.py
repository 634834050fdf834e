"""Engines that were activated on a device that tells what a test wants it to tell."""

from collections.abc import Callable
from pathlib import Path

from appliance.activation import Engine, Terms, activate
from appliance.bundle.archive import Bundle
from appliance.bundle.limits import Limits
from appliance.certification.folder import CertificateFolder
from appliance.config import RuntimeSection
from appliance.runtime_pool import RuntimePool

BUDGET_MS = 1000.0
ONE_THREAD = RuntimeSection(threads=1)


def terms_of(
    bundle: Bundle, *, digest: str = "a" * 64, limit: float | None = None, accept_limit: float | None = None,
    budget_ms: float = BUDGET_MS,
) -> Terms:  # fmt: skip
    """Return the terms of a recipe with the bundle's limits, or with one limit for all classes."""
    reject = {item.name: item.limit if limit is None else limit for item in bundle.manifest.classes}
    accept = {name: value if accept_limit is None else accept_limit for name, value in reject.items()}
    return Terms("spots", 1, digest, Limits(reject, accept), lambda _: budget_ms)


def activated(
    folder: Path,
    settings: RuntimeSection,
    bundle: Bundle,
    *,
    terms: Terms | None = None,
    root: Path = Path("/"),
    again: bool = False,
    may_prove: bool = True,
    pool: RuntimePool | None = None,
    on_progress: Callable[[float], None] | None = None,
    copies: int | None = None,
) -> Engine:
    """Activate a bundle; its certificates lie in `folder`/certificates, the device tells its state under `root`."""
    return activate(
        settings,
        bundle,
        terms or terms_of(bundle),
        certificates=CertificateFolder(folder / "certificates"),
        device_root=root,
        again=again,
        may_prove=may_prove,
        pool=pool,
        on_progress=on_progress,
        copies=copies,
    )
