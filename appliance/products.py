"""A station's products, loaded and proved before its first part, so that a changeover has nothing to load."""

import logging
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from appliance import __version__
from appliance.activation import Engine, Terms, activate, few_golden, ignore_refusal
from appliance.bundle.archive import Bundle, read_bundle
from appliance.bundle.limits import one_sided
from appliance.certification.certificate import Computed
from appliance.certification.folder import CertificateFolder
from appliance.config import Config, ProductSection
from appliance.documents import Document
from appliance.errors import ApplianceError, ConfigError
from appliance.events import Changeover, Versions
from appliance.inspection import PartInspection
from appliance.live_latency import LatencyTerms
from appliance.optics.reference import lay_ms
from appliance.parts import Product
from appliance.recipe import BoundRecipe, LoadedRecipe, load_recipe
from appliance.runtime_pool import RuntimePool
from appliance.stages.infer import Inference, pictures_at_once

log = logging.getLogger(__name__)


def ignore_ms(terms: LatencyTerms, spent_ms: float) -> None:
    """Take no note of what the model took."""


@dataclass(frozen=True, slots=True)
class WarmProduct:
    """One product that can judge at once, the engine that it judges with, and what frees threads and memory of it."""

    product: Product
    engine: Engine
    undo: ExitStack


def key_of(config: Config, product: str) -> str:
    """Return a product's key in config.product_files, which is empty where there is one only."""
    return "" if config.products is None else product


@dataclass(slots=True)
class WarmProducts:
    """What a station can change to.

    Args:
        in_force: name of the product that judges first.
        ready: product -> what judges its parts.
        unavailable: product -> why it may not judge here, in words.
    """

    in_force: str
    ready: dict[str, WarmProduct]
    unavailable: dict[str, str]
    _undo: ExitStack = field(default_factory=ExitStack)

    def close(self) -> None:
        """Free threads and memory of all of them, and of releases that took the place of those loaded at the start."""
        for warm in self.ready.values():
            warm.undo.close()
        self._undo.close()


def first_product(config: Config, document: Document, last: Changeover | None) -> str:
    """Return the product that is in force when the station starts, as in config.product_files.

    Args:
        config: what products there are.
        document: for the message.
        last: the ledger's last changeover.

    Raises:
        ConfigError: the product in force by the ledger is no longer configured; a person must say what is to come.
    """
    if config.products is None or config.product is None:
        return ""
    if last is None or not last.to_product:
        return config.product
    if last.to_product not in config.products:
        raise document.error(
            ("products",),
            f"product {last.to_product} is in force since {last.at:%Y-%m-%d %H:%M} UTC (by {last.who}) and no longer "
            f"here; there are {', '.join(config.products)}",
            f"add it again, or put another one in force: appliance changeover --config {document.path} "
            "--product NAME --by WHO --stopped",
        )
    return last.to_product


def load_products(
    config: Config, document: Document, in_force: str, device_root: Path = Path("/"),
    note_inference_ms: Callable[[LatencyTerms, float], None] = ignore_ms, pool: RuntimePool | None = None,
) -> WarmProducts:  # fmt: skip
    """Load and prove every product; the bundle or the recipe of one that is not in force may be at fault.

    Args:
        config: names the products' files.
        document: the configuration's, for its digest.
        in_force: key of config.product_files, from first_product.
        device_root: see activate_configured.
        note_inference_ms: told what each part's time in the model is held to, and what it took, in milliseconds.
        pool: lends the models; None for one of its own.

    Returns:
        The products, to be closed by the caller.

    Raises:
        ApplianceError: the product in force cannot judge here.
    """
    files = config.product_files()
    loader = _Loader(config, document, device_root, note_inference_ms, RuntimePool() if pool is None else pool)
    with ExitStack() as undo:
        ready, unavailable = dict[str, WarmProduct](), dict[str, str]()
        for name in sorted(files, key=lambda each: each != in_force):
            try:
                warm = loader.load(name, files[name], undo.enter_context(ExitStack()))
            except ApplianceError as error:
                if name == in_force:
                    raise
                log.error("product %s may not judge here, a changeover to it will be refused: %s", name, error)
                unavailable[name] = str(error)
            else:
                ready[warm.product.name] = warm
        return WarmProducts(next(iter(ready)), ready, unavailable, undo.pop_all())


def load_release(
    config: Config, document: Document, name: str, bundle: Bundle, recipe: LoadedRecipe,
    device_root: Path = Path("/"),
    note_inference_ms: Callable[[LatencyTerms, float], None] = ignore_ms,
) -> WarmProduct:  # fmt: skip
    """Load another release for a product beside what judges, in memory of its own; it is never proved here.

    Args:
        config: has the cameras.
        document: the configuration's, for its digest.
        name: key of config.product_files.
        bundle: the release, or what judges now where the recipe is released.
        recipe: the same of the recipe.
        device_root: see activate_configured.
        note_inference_ms: see load_products.

    Returns:
        The product with that bundle and recipe, to be freed by the caller.

    Raises:
        ConfigError: recipe, bundle and cameras do not fit each other.
        BundleError: there is no valid certificate of this device, or the golden images come out otherwise now.
        RuntimeFault, StorageError: it cannot be loaded.
    """
    files = config.product_files()[name]
    pool, read = RuntimePool(), {files.bundle: bundle}
    loader = _Loader(config, document, device_root, note_inference_ms, pool, read, recipe, may_prove=False)
    undo = ExitStack()
    try:
        return loader.load(name, files, undo)
    except BaseException:
        undo.close()
        raise


@dataclass(frozen=True, slots=True)
class _Loader:
    config: Config
    document: Document
    device_root: Path
    note_inference_ms: Callable[[LatencyTerms, float], None]
    pool: RuntimePool
    _bundles: dict[Path, Bundle] = field(default_factory=dict)
    recipe: LoadedRecipe | None = None
    may_prove: bool = True

    def load(self, name: str, files: ProductSection, undo: ExitStack) -> WarmProduct:
        """Load and prove one product; what must be freed goes into undo."""
        if files.bundle not in self._bundles:
            self._bundles[files.bundle] = read_bundle(files.bundle)
            if few := few_golden(self._bundles[files.bundle]):
                log.warning("%s: %s", files.bundle, few)
        bundle = self._bundles[files.bundle]
        recipe = load_bound_recipe(self.config, files, bundle, self.recipe)
        if words := one_sided(bundle, recipe.verdict_limits()):
            log.warning("recipe %s: %s: its proof says little", recipe.name, words)
        engine = activate_configured(
            self.config, bundle, recipe, device_root=self.device_root, may_prove=self.may_prove, pool=self.pool
        )
        undo.callback(engine.close)
        judging = versions(self.document, bundle, recipe, engine, name or recipe.name)
        inspections: list[PartInspection] = []
        for runtime in engine.copies:
            inference = Inference(recipe, bundle.manifest, runtime)
            terms = LatencyTerms(judging.product, engine.certificate.id, engine.budget_ms * inference.tiles)
            note_ms = partial(self.note_inference_ms, terms)
            inspections.append(PartInspection(recipe, inference, note_ms))
            undo.callback(inspections[-1].close)
        product = Product(tuple(inspections), judging, recipe.deadline_ms, recipe.answer_reserve_ms)
        return WarmProduct(product, engine, undo)


def activate_configured(
    config: Config, bundle: Bundle, recipe: BoundRecipe, *, device_root: Path = Path("/"),
    again: bool = False, may_prove: bool = True, pool: RuntimePool | None = None,
    on_progress: Callable[[float], None] | None = None,
    on_refused: Callable[[Computed, ApplianceError], None] = ignore_refusal,
) -> Engine:  # fmt: skip
    """Load what may judge here by the configuration: with a valid certificate, or after a proof.

    Args:
        config: the station's.
        bundle: the release.
        recipe: bound to it.
        device_root: the folder that stands for "/" where the device tells about itself.
        again: proves even though a certificate is valid.
        may_prove: whether there is time for a proof, and to build an engine.
        pool: lends the models; None for one of its own.
        on_progress: told how far a proof is, 0..1; None tells the log.
        on_refused: told each model of which the proof did not come to a certificate, and why.

    Raises:
        ConfigError, BundleError, DeviceError, StorageError: see appliance.activation.activate.
    """
    terms = Terms(
        recipe.name,
        recipe.version,
        recipe.digest,
        recipe.verdict_limits(),
        lambda runtime: latency_budget_ms(recipe, Inference(recipe, bundle.manifest, runtime)),
        pictures_at_once(recipe, bundle.manifest),
    )
    return activate(
        config.runtime,
        bundle,
        terms,
        certificates=CertificateFolder(config.certificates),
        device_root=device_root,
        again=again,
        may_prove=may_prove,
        pool=pool,
        on_progress=on_progress,
        on_refused=on_refused,
    )


def load_bound_recipe(
    config: Config, files: ProductSection, bundle: Bundle, released: LoadedRecipe | None = None
) -> BoundRecipe:
    """Read a product's recipe and bind it to its bundle; each view must have a camera.

    Args:
        config: has the cameras.
        files: names the recipe.
        bundle: that is to judge.
        released: a recipe in place of the one that is named.

    Raises:
        ConfigError: recipe, bundle and cameras do not fit each other.
        BundleError: the recipe is a package, and damaged.
    """
    recipe, document = load_recipe(files.recipe) if released is None else released
    wanted, given = {view.name for view in recipe.views}, set(config.cameras)
    if wanted != given:
        raise ConfigError(
            f"{document.path}: the recipe's views are {', '.join(sorted(wanted))}, the configuration has cameras for "
            f"{', '.join(sorted(given))}; give each view a camera of its name, and no other"
        )
    return recipe.bind(bundle.manifest, document)


def latency_budget_ms(recipe: BoundRecipe, inference: Inference) -> float:
    """Return how long one picture of the model's size may take, so that a part is done before the answer is due.

    What laying the references over the part takes is measured here, and is not the model's.
    """
    aligning_ms = sum(lay_ms(references) for references in recipe.references.values() if references)
    return max(0.0, recipe.deadline_ms - recipe.answer_reserve_ms - aligning_ms) / inference.tiles


def versions(document: Document, bundle: Bundle, recipe: BoundRecipe, engine: Engine, product: str) -> Versions:
    """Name everything that judges a product, for every record."""
    return Versions(
        software=__version__,
        bundle=bundle.manifest.name,
        bundle_revision=bundle.manifest.revision,
        bundle_digest=bundle.digest,
        recipe=recipe.name,
        recipe_version=recipe.version,
        recipe_digest=recipe.digest,
        config_digest=document.digest,
        runtime=engine.describe(),
        product=product,
        certificate=engine.certificate.id,
    )
