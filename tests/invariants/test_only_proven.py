"""Invariant 6: only a bundle that this device has proved, as it is now, may judge; nothing else reaches a station."""

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import cycle
from pathlib import Path

import pytest
import yaml

from appliance.bundle.archive import read_bundle, write_bundle
from appliance.bundle.golden import GoldenImage
from appliance.config import RuntimeSection, load_config
from appliance.errors import BundleError, BundleProofError, BundleSlowError, ConfigError, RuntimeFault
from appliance.ports import TriggerRequest
from appliance.products import activate_configured, load_bound_recipe
from appliance.runtimes.engines.cache import EngineCache
from appliance.runtimes.engines.workshop import find_or_build
from appliance.wiring import build
from tests.activated import activated
from tests.device_root import GPU_CLOCK, JETSON, write
from tests.models import Fault, spot_detection, spot_picture, tiny_bundle
from tests.plant import RECIPE, write_station
from tests.planted import (
    another_resize,
    blind_to_several,
    int8_gone_bad,
    mixes_up_several,
    slow_everywhere,
    swapped_channels,
    wrong_normalisation,
)
from tests.products import PRODUCTS, with_products, write_products
from tests.unit.test_engines_cache import BUILDER, KEY, TRIAL

LOOKS, GIVE_UP_S = 300, 30.0
"""Looks at the status while products change, and for how long to wait until each was in force."""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return write_station(tmp_path)


def rewrite(path: Path, golden: GoldenImage) -> None:
    honest = read_bundle(tiny_bundle(path))
    parts = {"model_onnx": honest.model_onnx, "baseline": honest.baseline, "model_card": honest.model_card}
    write_bundle(path, honest.manifest, golden=[golden, *honest.golden], **parts)  # type: ignore[arg-type]


def golden(*detections: tuple[int, int, int]) -> GoldenImage:
    picture = spot_picture(64, 64, [(1, 1, 200)])
    return GoldenImage.from_pixels(picture, tuple(spot_detection(*each) for each in detections))


def test_a_proven_bundle_judges_and_its_digest_is_in_the_record(config: Path) -> None:
    digest = read_bundle(tiny_bundle(config.parent / "tiny.bundle")).digest
    with build(config) as appliance:
        assert appliance.certificate.subject.bundle_digest == digest
        appliance.station.on_trigger(TriggerRequest("t-1", "part-1"))
    with build(config) as again:
        record = again.ledger.find("t-1")
        status = again.station.on_command("status", {})
    assert record is not None
    assert digest in record.payload
    assert f'"certificate":"{again.certificate.id}"' in record.payload
    assert status["certificate"]["id"] == again.certificate.id


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ("missed", lambda path: rewrite(path, golden((1, 1, 200), (2, 2, 200)))),
        ("invented", lambda path: rewrite(path, golden())),
        ("elsewhere", lambda path: rewrite(path, golden((1, 2, 200)))),
        ("less sure", lambda path: rewrite(path, golden((1, 1, 140)))),
    ],
)
def test_a_bundle_that_finds_other_things_here_than_at_the_trainer_judges_nothing(
    config: Path, what: str, expected: Callable[[Path], None]
) -> None:
    expected(config.parent / "tiny.bundle")
    with pytest.raises(BundleProofError, match="golden/000"):
        build(config)
    assert not (config.parent / "ledger.db").exists(), what


@pytest.mark.parametrize("fault", ["nan", "loud", "rank", "short", "names", "float_input", "label", "opset"])
def test_a_model_outside_the_contract_judges_nothing(config: Path, fault: Fault) -> None:
    tiny_bundle(config.parent / "tiny.bundle", fault=fault)
    with pytest.raises((BundleError, RuntimeFault)):
        build(config)


def test_a_bundle_changed_by_one_bit_judges_nothing(config: Path) -> None:
    path = tiny_bundle(config.parent / "tiny.bundle")
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1
    path.write_bytes(data)
    with pytest.raises(BundleError):
        build(config)


def test_a_missing_bundle_is_said_in_words(config: Path) -> None:
    with pytest.raises((BundleError, ConfigError), match=r"tiny\.bundle"):
        build(config)


@pytest.mark.parametrize(
    ("plant", "words"),
    [
        (wrong_normalisation, "golden/001.*spot 0.784 .* is found with score 0.727"),
        (swapped_channels, "golden/000.*spot 0.784 .* is not found; .*the part gets ACCEPT here and got REJECT there"),
        (another_resize, "golden/000.* is found at .*IoU 0"),
    ],
)
def test_a_device_that_prepares_pictures_otherwise_than_the_trainer_judges_nothing(
    tmp_path: Path, plant: Callable[[Path], Path], words: str
) -> None:
    bundle = read_bundle(plant(tmp_path / "planted.bundle"))
    with pytest.raises(BundleProofError, match=words):
        activated(tmp_path, RuntimeSection(threads=1), bundle)
    assert not (tmp_path / "certificates").exists()


@pytest.mark.parametrize(
    ("plant", "words"),
    [
        (blind_to_several, "at once, as tiles come: .*spot 0.784 .* is not found"),
        (mixes_up_several, "at once, as tiles come: .*golden/001.*is not found"),
    ],
)
def test_a_model_that_errs_when_asked_about_several_pictures_judges_no_tiles(
    config: Path, plant: Callable[[Path], Path], words: str
) -> None:
    plant(config.parent / "tiny.bundle")
    with build(config) as appliance:  # one picture at a time, of which it is worth its contract
        assert appliance.certificate.means.precision == "f32"
    view = RECIPE["views"][0] | {"width_px": 128, "height_px": 128, "tiles": {"overlap_px": 0}}  # type: ignore[index]
    (config.parent / "recipe.yaml").write_text(yaml.safe_dump(RECIPE | {"views": [view]}))
    with pytest.raises(BundleProofError, match=words):
        build(config)


@pytest.mark.parametrize("plant", [swapped_channels, another_resize])
def test_the_same_bundles_judge_where_nothing_is_planted(tmp_path: Path, plant: Callable[..., Path]) -> None:
    is_planted = {swapped_channels: "is_swapped", another_resize: "is_another"}[plant]
    bundle = read_bundle(plant(tmp_path / "honest.bundle", **{is_planted: False}))
    activated(tmp_path, RuntimeSection(threads=1), bundle).close()


def test_an_int8_model_gone_bad_is_replaced_and_the_certificate_says_so(tmp_path: Path) -> None:
    wanted = RuntimeSection(threads=1, precision="int8")
    engine = activated(tmp_path, wanted, read_bundle(int8_gone_bad(tmp_path / "b.bundle")))
    engine.close()
    assert (engine.precision, engine.certificate.means.precision, engine.certificate.subject.asked) == (
        "fp16", "fp16", "int8",
    )  # fmt: skip
    assert [each.partition(":")[0] for each in engine.certificate.refused] == ["int8"]
    engine = activated(tmp_path, wanted, read_bundle(int8_gone_bad(tmp_path / "b.bundle", also_fp16=True)))
    engine.close()
    assert engine.precision == "f32"
    assert [each.partition(":")[0] for each in engine.certificate.refused] == ["int8", "fp16"]


def test_an_engine_that_is_too_slow_for_the_recipe_judges_nothing(config: Path) -> None:
    slow_everywhere(config.parent / "tiny.bundle", rounds=400)
    (config.parent / "recipe.yaml").write_text(yaml.safe_dump(RECIPE | {"deadline_ms": 11, "answer_reserve_ms": 10}))
    with pytest.raises(BundleSlowError, match=r"takes .* ms a picture here \(99th percentile of .* may take 1\.0 ms"):
        build(config)
    assert not (config.parent / "certificates").exists()


def test_an_engine_that_crashes_judges_nothing_and_does_not_take_the_station_along(tmp_path: Path) -> None:
    key = replace(KEY, model_digest="d" * 64)
    with pytest.raises(RuntimeFault, match="crashed"):
        find_or_build(EngineCache(tmp_path), key, b"deadly", builder=BUILDER, trial=TRIAL)
    assert EngineCache(tmp_path).find(key) is None


def test_a_stale_engine_is_not_taken_but_built_anew(tmp_path: Path) -> None:
    cache = EngineCache(tmp_path)
    built = find_or_build(cache, KEY, b"model", builder=BUILDER, trial=TRIAL)
    path = next(tmp_path.glob("*.engine"))
    path.write_bytes(b"engine of another model")
    again = find_or_build(cache, KEY, b"model", builder=BUILDER, trial=TRIAL)
    assert (again.plan, again.identity(KEY)) == (built.plan, built.identity(KEY))
    newer = replace(KEY, library_version="10.4.0")
    assert cache.find(newer) is None
    assert built.identity(newer) != built.identity(KEY)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"proc/driver/nvidia/version": "NVRM version: NVIDIA UNIX x86_64 Kernel Module  560.28  Wed Aug 17 2016\n"},
            "the NVIDIA driver was 540.4.0 and is 560.28 now",
        ),
        ({"var/lib/nvpmodel/status": "pmode:0000"}, "the power mode was MAXN_SUPER (2) and is 15W (0) now"),
        ({f"{GPU_CLOCK}/max_freq": "612000000\n"}, "the accelerator's clock was"),
    ],
)
def test_a_device_that_is_set_otherwise_proves_again_before_it_judges(
    config: Path, change: dict[str, str], words: str
) -> None:
    bundle = read_bundle(tiny_bundle(config.parent / "tiny.bundle"))
    settings, _ = load_config(config)
    recipe, root = (
        load_bound_recipe(settings, settings.product_files()[""], bundle),
        write(config.parent / "root", JETSON),
    )

    def start() -> tuple[str, str]:
        engine = activate_configured(settings, bundle, recipe, device_root=root)
        engine.close()
        return engine.certificate.id, "; ".join(engine.why_proved)

    first, again = start(), start()
    assert first == (again[0], "there is no certificate of this device yet")
    assert again[1] == ""
    write(root, change)
    changed, why = start()
    assert changed != first[0]
    assert words in why
    assert start() == (changed, "")


def test_the_certificate_in_the_status_is_of_the_product_in_the_status_whatever_changes_meanwhile(config: Path) -> None:
    several = with_products(yaml.safe_load(config.read_text()), write_products(config.parent))
    config.write_text(yaml.safe_dump(several))
    told: dict[str, set[str]] = {name: set() for name in PRODUCTS}
    with build(config) as appliance:
        command, over = appliance.station.on_command, threading.Event()

        def change_over() -> None:
            for name in cycle(PRODUCTS):
                if over.is_set():
                    break
                command("changeover", {"product": name, "by": "A. Person"})

        changing = threading.Thread(target=change_over)
        changing.start()
        give_up, looks = time.monotonic() + GIVE_UP_S, 0
        try:
            while looks < LOOKS or (not all(told.values()) and time.monotonic() < give_up):
                status, looks = command("status", {}), looks + 1
                told[status["product"]].add(status["certificate"]["id"])
        finally:
            over.set()
            changing.join()
    assert all(len(ids) == 1 for ids in told.values()), told


def test_a_limit_of_the_recipe_that_was_changed_is_proved_before_anything_is_judged(config: Path) -> None:
    tiny_bundle(config.parent / "tiny.bundle")
    before = build(config)
    with before:
        pass
    recipe = RECIPE | {"classes": {"spot": {"reject_limit": 0.9}}}
    (config.parent / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    with build(config) as after:
        assert after.certificate.id != before.certificate.id
        assert after.certificate.subject.reject_limits == {"spot": 0.9}
        assert len(list((config.parent / "certificates").iterdir())) == 2
