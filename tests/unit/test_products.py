"""What a station with several products loads at its start, what it refuses, and which product it begins with."""

import logging
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from appliance.bundle.archive import Bundle, read_bundle
from appliance.certification.certificate import Computed
from appliance.check import Finding, look
from appliance.config import RuntimeSection, load_config
from appliance.engine import instances, make_runtime
from appliance.errors import BundleError, ConfigError, RuntimeFault
from appliance.events import Changeover, Pixels
from appliance.live_latency import LatencyTerms
from appliance.ports import EngineIdentity, RawDetections, Runtime
from appliance.products import load_products
from appliance.runtime_pool import RuntimePool
from appliance.stores.ledger import SqliteLedger
from appliance.wiring import Appliance, build
from tests.inspections import make_frame
from tests.models import spot_picture, tiny_bundle, tiny_model
from tests.plant import write_station
from tests.planted import int8_that_finds_more
from tests.products import with_products, write_products


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A station with the products plain and tolerant, without a broker."""
    path = write_station(tmp_path)
    write(path, with_products(yaml.safe_load(path.read_text()), write_products(tmp_path)))
    return path


def write(path: Path, document: dict[str, Any]) -> None:
    path.write_text(yaml.safe_dump(document))


def change(path: Path, **changes: Any) -> None:
    write(path, yaml.safe_load(path.read_text()) | changes)


def add_product(path: Path, name: str, bundle: str = "tiny.bundle", recipe: str = "plain.yaml") -> None:
    document = yaml.safe_load(path.read_text())
    document["products"][name] = {"recipe": recipe, "bundle": bundle}
    write(path, document)


def wrong_bundle(path: Path) -> None:
    """A bundle that finds other things here than at the trainer."""
    tiny_bundle(path, model_onnx=tiny_model(64, 64, dark=True))


def change_over(appliance: Appliance, product: str) -> dict[str, Any]:
    return appliance.station.on_command("changeover", {"product": product, "by": "A. Person"})


def in_ledger(path: Path) -> Changeover | None:
    with SqliteLedger.open(path.parent / "ledger.db", "d", "audit") as ledger:
        return ledger.last_changeover()


def findings(path: Path) -> dict[str, Finding]:
    return {each.what: each for each in look(path)}


def test_the_check_tells_how_many_parts_are_inspected_at_once_and_whether_there_is_a_folder_of_releases(
    config: Path,
) -> None:
    change(config, releases="releases", runtime={"threads": 1, "instances": 3})
    without = findings(config)
    (config.parent / "releases").mkdir()
    assert (without["releases"].is_ok, findings(config)["releases"].is_ok) == (False, True)
    assert without["releases"].remedy == "make it, or correct `releases` in the configuration"
    assert ", 3 at once; " in without["plain: runtime and proof"].seen


def test_a_fresh_station_begins_with_the_configured_product_and_the_ledger_says_so(config: Path) -> None:
    with build(config) as appliance:
        assert appliance.versions.product == "plain"
    found = in_ledger(config)
    assert found is not None
    assert (found.who, found.from_product, found.to_product) == ("configuration", "", "plain")


def test_the_ledger_and_not_the_configuration_says_which_product_a_restart_goes_on_with(config: Path) -> None:
    with build(config) as appliance:
        assert change_over(appliance, "tolerant")["changed"]
    with build(config) as again:
        assert again.versions.product == "tolerant"
        assert again.versions.recipe == "tolerant"


def test_a_product_in_force_that_is_no_longer_configured_stops_the_start_with_what_to_do(config: Path) -> None:
    products = yaml.safe_load(config.read_text())["products"]
    with build(config) as appliance:
        change_over(appliance, "tolerant")
    change(config, products={"plain": products["plain"]})
    said = r"products: product tolerant is in force since .* \(by A\. Person\) and no longer here; there are plain; .*"
    with pytest.raises(ConfigError, match=said + r"appliance changeover --config .* --product NAME --by WHO --stopped"):
        build(config)
    assert not findings(config)["product"].is_ok


def test_back_to_one_product_the_configuration_says_what_is_in_force_and_the_ledger_notes_it(config: Path) -> None:
    several = yaml.safe_load(config.read_text())
    with build(config) as appliance:
        change_over(appliance, "tolerant")
    one = {key: value for key, value in several.items() if key not in ("products", "product")}
    write(config, one | {"recipe": "plain.yaml", "bundle": "tiny.bundle"})
    with build(config) as appliance:
        assert appliance.versions.product == "plain"
        assert change_over(appliance, "plain")["changed"] is False
        assert "there is no product 'tolerant'" in change_over(appliance, "tolerant")["error"]
    found = in_ledger(config)
    assert found is not None
    assert (found.who, found.from_product, found.to_product) == ("configuration", "tolerant", "")
    write(config, several)
    with build(config) as appliance:
        assert appliance.versions.product == "plain"


def test_a_station_of_one_product_has_its_recipes_name_and_writes_no_changeover(tmp_path: Path) -> None:
    path = write_station(tmp_path)
    tiny_bundle(tmp_path / "tiny.bundle")
    with build(path) as appliance:
        assert appliance.versions.product == "spots"
        assert appliance.station.on_command("status", {})["products"] == {"spots": ""}
    assert in_ledger(path) is None


def test_few_golden_images_are_told_at_a_start_once_for_each_bundle(
    config: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with build(config):
        pass
    assert caplog.text.count("tiny.bundle: only 3 golden images speak for the proof, 32 should") == 1


def test_limits_that_no_golden_image_reaches_are_told_at_a_start_of_their_recipe_alone(
    config: Path, caplog: pytest.LogCaptureFixture
) -> None:
    int8_that_finds_more(config.parent / "tiny.bundle", brightest=230)
    with build(config):
        pass
    words = "at the recipe's limits (spot 0.95) no golden image is rejected: its proof says little"
    assert f"recipe tolerant: {words}" in caplog.text
    assert "recipe plain: at the recipe's limits" not in caplog.text


def test_a_product_that_fails_its_proof_is_unavailable_and_everybody_is_told(
    config: Path, caplog: pytest.LogCaptureFixture
) -> None:
    wrong_bundle(config.parent / "wrong.bundle")
    add_product(config, "wrong", "wrong.bundle")
    with caplog.at_level(logging.ERROR), build(config) as appliance:
        answer = change_over(appliance, "wrong")
        told = appliance.station.on_command("status", {})
    assert not answer["ok"]
    assert re.match("product wrong may not judge here: .*does not do here what it did at the trainer", answer["error"])
    assert "does not do here" in told["products"]["wrong"]
    assert (told["product"], told["products"]["plain"]) == ("plain", "")
    assert "product wrong may not judge here, a changeover to it will be refused" in caplog.text
    seen = findings(config)
    assert not seen["wrong: runtime and proof"].is_ok
    assert seen["plain: runtime and proof"].is_ok


@pytest.mark.parametrize("damage", ["bundle", "recipe", "views"])
def test_files_of_a_product_that_is_not_in_force_do_not_stop_the_station(config: Path, damage: str) -> None:
    recipe = yaml.safe_load((config.parent / "plain.yaml").read_text())
    recipe["views"][0]["name"] = "side"
    write(config.parent / "side.yaml", recipe)
    files = {"bundle": ("absent.bundle", "plain.yaml"), "recipe": ("tiny.bundle", "absent.yaml"),
             "views": ("tiny.bundle", "side.yaml")}  # fmt: skip
    add_product(config, "broken", *files[damage])
    words = {"bundle": "absent.bundle", "recipe": "absent.yaml", "views": "the recipe's views are side"}[damage]
    with build(config) as appliance:
        assert words in change_over(appliance, "broken")["error"]
    assert not findings(config)["broken: bundle" if damage == "bundle" else "broken: recipe"].is_ok


def test_a_product_in_force_that_fails_its_proof_stops_the_start(config: Path) -> None:
    with build(config) as appliance:
        change_over(appliance, "tolerant")
    wrong_bundle(config.parent / "wrong.bundle")
    add_product(config, "tolerant", "wrong.bundle", "tolerant.yaml")
    with pytest.raises(BundleError, match="does not do here what it did at the trainer"):
        build(config)


def test_check_tells_of_every_product_and_of_the_camera_once(config: Path) -> None:
    recipe = yaml.safe_load((config.parent / "tolerant.yaml").read_text())
    recipe["views"][0]["width_px"] = 128
    recipe["views"][0]["tiles"] = {"overlap_px": 16}
    write(config.parent / "tolerant.yaml", recipe)
    seen = findings(config)
    assert seen["product"].seen == "the first start puts plain in force"
    for what in ("bundle", "recipe", "runtime and proof"):
        assert {f"plain: {what}", f"tolerant: {what}"} <= set(seen)
    assert seen["camera top"].remedy == "recipe tolerant says 128x64x1: change one of them"
    with build(config) as appliance:
        change_over(appliance, "tolerant")
    assert re.fullmatch(r"tolerant is in force since .* UTC, by A\. Person", findings(config)["product"].seen)


def test_products_of_one_bundle_share_its_model_and_each_is_proved_by_its_own_limits(config: Path) -> None:
    tiny_bundle(config.parent / "other.bundle", revision=2)
    add_product(config, "other", "other.bundle")
    pool, (loaded, document) = RuntimePool(), load_config(config)
    warm = load_products(loaded, document, "plain", pool=pool)
    assert len(pool) == 2 * instances(loaded.runtime)
    assert {name: each.engine.certificate.subject.bundle_digest for name, each in warm.ready.items()} == {
        name: each.product.versions.bundle_digest for name, each in warm.ready.items()
    }
    assert not warm.unavailable
    assert len({each.engine.certificate.subject.recipe_digest for each in warm.ready.values()}) == 2
    warm.close()
    assert len(pool) == 0


def test_products_of_one_deadline_are_told_apart_by_what_the_model_took(config: Path) -> None:
    add_product(config, "twin")
    noted: list[LatencyTerms] = []
    loaded, document = load_config(config)
    warm = load_products(loaded, document, "plain", note_inference_ms=lambda terms, _: noted.append(terms))
    for name in ("plain", "twin"):
        warm.ready[name].product.inspections[0]({"top": make_frame()}, {})
    warm.close()
    plain, twin = noted
    assert (plain.product, twin.product, twin.budget_ms) == ("plain", "twin", plain.budget_ms)
    assert [each.certificate for each in noted] == [
        warm.ready[name].engine.certificate.id for name in ("plain", "twin")
    ]


class CountingRuntime:
    """Counts how often it was closed."""

    def __init__(self) -> None:
        self.closed = 0

    def infer(self, images: Pixels) -> RawDetections:
        raise AssertionError("nobody asks")

    def describe(self) -> str:
        return "counting"

    def close(self) -> None:
        self.closed += 1


def test_a_model_is_loaded_once_for_all_its_products_and_goes_with_the_last(tmp_path: Path) -> None:
    bundle, other = (read_bundle(tiny_bundle(tmp_path / f"{n}.bundle", revision=n)) for n in (1, 2))
    made: list[CountingRuntime] = []

    def make(*_: object) -> CountingRuntime:
        made.append(CountingRuntime())
        return made[-1]

    pool, section = RuntimePool(make), RuntimeSection()
    first, second = (pool.lend(section, bundle, "f32") for _ in range(2))
    third, fourth = pool.lend(section, other, "f32"), pool.lend(section, bundle, "int8")
    assert len(pool) == len(made) == 3
    first.close()
    first.close()
    assert made[0].closed == 0
    second.close()
    assert [each.closed for each in made] == [1, 0, 0]
    third.close()
    fourth.close()
    assert len(pool) == 0
    pool.lend(section, bundle, "f32")
    assert len(made) == 4


def test_a_lent_model_finds_what_its_own_would(tmp_path: Path) -> None:
    bundle = read_bundle(tiny_bundle(tmp_path / "tiny.bundle"))
    section = RuntimeSection(threads=1)
    own, lent = make_runtime(section, bundle), RuntimePool().lend(section, bundle, "f32")
    picture = spot_picture(64, 64, [(1, 1, 200)])[None]
    assert (own.infer(picture).scores == lent.infer(picture).scores).all()
    assert own.describe() == lent.describe()


def test_a_copy_that_computes_otherwise_than_the_proved_one_is_refused(config: Path) -> None:
    document = yaml.safe_load(config.read_text())
    write(config, document | {"runtime": {"threads": 1, "instances": 2}})
    loaded, known = load_config(config)
    threads = iter((1, 2, 2))

    def make(settings: RuntimeSection, bundle: Bundle, precision: Computed, *_: object) -> Runtime:
        return make_runtime(settings.model_copy(update={"threads": next(threads)}), bundle, precision)

    with pytest.raises(RuntimeFault, match=r"threads=2 .* threads=1; configure runtime\.instances: 1"):
        load_products(loaded, known, "plain", pool=RuntimePool(make))


class BuiltRuntime:
    """A runtime that says of itself that this device built its engine."""

    def __init__(self, runtime: Runtime, digest: str) -> None:
        self.infer, self.describe, self.close = runtime.infer, runtime.describe, runtime.close
        self.built = EngineIdentity("a" * 64, digest)


def test_a_copy_that_runs_another_engine_than_the_proved_one_is_refused(config: Path) -> None:
    document = yaml.safe_load(config.read_text())
    write(config, document | {"runtime": {"threads": 1, "instances": 2}})
    loaded, known = load_config(config)
    engines = iter("bcc")

    def make(settings: RuntimeSection, bundle: Bundle, precision: Computed, *_: object) -> Runtime:
        return BuiltRuntime(make_runtime(settings, bundle, precision), next(engines) * 64)

    with pytest.raises(RuntimeFault, match=r"engine c{12} .* engine b{12}; configure runtime\.instances: 1"):
        load_products(loaded, known, "plain", pool=RuntimePool(make))
