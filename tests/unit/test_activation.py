"""A valid certificate is used and left as it is; one of anything else is told and proved anew."""

import os
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from appliance.activation import ASKED_TO, NONE_YET, Engine, few_golden
from appliance.bundle.archive import Bundle, read_bundle
from appliance.certification.certificate import Computed
from appliance.config import RuntimeSection
from appliance.errors import BundleProofError, BundleSlowError
from appliance.events import Pixels
from appliance.ports import EngineIdentity, RawDetections
from appliance.runtime_pool import RuntimePool
from appliance.runtimes.accelerator.device import DeviceIdentity
from appliance.runtimes.engines.cache import KEPT, EngineCache
from appliance.runtimes.engines.child import Cancelled
from appliance.runtimes.engines.key import BuildOptions, EngineKey, model_digest
from appliance.runtimes.engines.workshop import find_or_build
from appliance.runtimes.onnx import OnnxRuntime
from tests.activated import ONE_THREAD, activated, terms_of
from tests.device_root import JETSON, PANEL_PC, write
from tests.models import golden_of_all_kinds, tiny_bundle, tiny_model
from tests.planted import int8_gone_bad


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return read_bundle(tiny_bundle(tmp_path / "tiny.bundle"))


def start(folder: Path, bundle: Bundle, settings: RuntimeSection = ONE_THREAD, **changes: Any) -> Engine:
    engine = activated(folder, settings, bundle, **changes)
    engine.close()
    return engine


def test_a_valid_certificate_is_taken_and_its_file_is_left_alone(tmp_path: Path, bundle: Bundle) -> None:
    first = start(tmp_path, bundle)
    assert first.why_proved == (NONE_YET,)
    (path,) = (tmp_path / "certificates").iterdir()
    before = path.stat()
    again = start(tmp_path, bundle)
    assert (again.why_proved, again.certificate) == ((), first.certificate)
    assert list((tmp_path / "certificates").iterdir()) == [path]
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == (before.st_mtime_ns, before.st_ino)


def test_a_golden_image_that_comes_out_otherwise_is_refused_whatever_the_certificate_says(
    tmp_path: Path, bundle: Bundle
) -> None:
    start(tmp_path, bundle)
    changed = replace(bundle, golden=(replace(bundle.golden[0], png=bundle.golden[1].png), *bundle.golden[1:]))
    with pytest.raises(BundleProofError, match=r"golden/000\.png"):
        start(tmp_path, changed)


def test_a_new_proof_can_be_asked_for(tmp_path: Path, bundle: Bundle) -> None:
    first, again = start(tmp_path, bundle), start(tmp_path, bundle, again=True)
    assert again.why_proved == (ASKED_TO,)
    assert again.certificate.id != first.certificate.id
    assert start(tmp_path, bundle).certificate == again.certificate


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"settings": RuntimeSection(threads=2)}, "the number of threads was 1 and is 2 now"),
        ({"settings": RuntimeSection(kind="openvino", threads=1, instances=1)}, "the runtime was onnxruntime"),
        ({"digest": "f" * 64}, "the recipe's SHA-256 was aaaaaaaaaaaa and is ffffffffffff now"),
        ({"limit": 0.6}, "the reject limit of spot was 0.5 and is 0.6 now"),
        ({"accept_limit": 0.45}, "the accept limit of spot was 0.5 and is 0.45 now"),
    ],
)
def test_whatever_has_changed_is_said_and_proved_anew(
    tmp_path: Path, bundle: Bundle, changes: dict[str, Any], words: str
) -> None:
    first = start(tmp_path, bundle)
    settings = changes.pop("settings", ONE_THREAD)
    other = start(tmp_path, bundle, settings, terms=terms_of(bundle, **changes))
    assert words in "; ".join(other.why_proved)
    assert other.certificate.id != first.certificate.id
    assert start(tmp_path, bundle).certificate == first.certificate, "what is as it was then is still proved"


@pytest.mark.parametrize(("kind", "threads"), [("openvino", 1), ("onnx", 2)])
def test_a_thread_that_is_pinned_now_is_proved_anew(tmp_path: Path, bundle: Bundle, kind: Any, threads: int) -> None:
    if len(os.sched_getaffinity(0)) < threads:
        pytest.skip(f"{threads} threads need as many cores")
    settings = RuntimeSection(kind=kind, threads=threads, instances=1)
    assert start(tmp_path, bundle, settings).certificate.means.pins_threads is False
    pinned = start(tmp_path, bundle, settings.model_copy(update={"pins_threads": True}))
    assert pinned.why_proved[-1] == "the pinning of threads was False and is True now"


def in_copies(number: int) -> RuntimeSection:
    return RuntimeSection(threads=1, instances=number)


def test_another_number_of_parts_at_once_is_proved_anew(tmp_path: Path, bundle: Bundle) -> None:
    assert start(tmp_path, bundle, in_copies(1)).certificate.means.instances == 1
    both = start(tmp_path, bundle, in_copies(2))
    assert both.why_proved == ("the number of parts that are inspected at once was 1 and is 2 now",)
    assert (both.certificate.means.instances, len(both.copies)) == (2, 2)
    assert start(tmp_path, bundle, in_copies(2)).certificate == both.certificate


class CopyRuntime:
    """One copy of a model, which may have been built of another one than it says."""

    def __init__(self, bundle: Bundle, model: bytes) -> None:
        self._model = OnnxRuntime(model, bundle.manifest)
        self.runs, self.is_open = 0, True

    def infer(self, images: Pixels) -> RawDetections:
        self.runs += 1
        return self._model.infer(images)

    def describe(self) -> str:
        return "copies 1.0 f32"

    def close(self) -> None:
        self.is_open = False


class CopyPool:
    """A pool whose models are these, in this order."""

    def __init__(self, bundle: Bundle, *models: bytes) -> None:
        self.made: list[CopyRuntime] = []
        waiting = iter(models)

        def make(*_: object) -> CopyRuntime:
            self.made.append(CopyRuntime(bundle, next(waiting)))
            return self.made[-1]

        self.pool = RuntimePool(make)


def test_every_copy_is_timed_and_looks_at_the_golden_images_at_each_start(tmp_path: Path, bundle: Bundle) -> None:
    proved, started = (CopyPool(bundle, *[bundle.model_onnx] * 3) for _ in range(2))
    start(tmp_path, bundle, in_copies(3), pool=proved.pool)
    each = len(bundle.golden) + -(-200 // 3)
    assert [copy.runs for copy in proved.made] == [each] * 3
    assert start(tmp_path, bundle, in_copies(3), pool=started.pool).why_proved == ()
    assert [copy.runs for copy in started.made] == [len(bundle.golden)] * 3


def test_a_copy_that_was_built_otherwise_is_refused_by_a_proof_and_by_a_start(tmp_path: Path, bundle: Bundle) -> None:
    good, other = bundle.model_onnx, tiny_model(64, 64, dark=True)
    with pytest.raises(BundleProofError, match="copy 2 of bundle tiny"):
        start(tmp_path, bundle, in_copies(2), pool=CopyPool(bundle, good, other).pool)
    start(tmp_path, bundle, in_copies(2), pool=CopyPool(bundle, good, good).pool)
    bad = CopyPool(bundle, good, other, good, other)  # the second pair is for the proof that the start tries then
    with pytest.raises(BundleProofError, match="copy 2 of bundle tiny"):
        start(tmp_path, bundle, in_copies(2), pool=bad.pool)
    assert [copy.is_open for copy in bad.made] == [False] * 4


def test_who_inspects_with_one_copy_loads_no_other_by_the_same_certificate(tmp_path: Path, bundle: Bundle) -> None:
    certificate = start(tmp_path, bundle, in_copies(2)).certificate
    alone = start(tmp_path, bundle, in_copies(2), copies=1)
    assert (alone.certificate, len(alone.copies)) == (certificate, 1)


class EngineRuntime:
    """A model that this device built into an engine, as TensorRT does; it computes on the processor."""

    def __init__(self, bundle: Bundle, built: EngineIdentity) -> None:
        self._model = OnnxRuntime(bundle.model_onnx, bundle.manifest)
        self.built = built

    def infer(self, images: Pixels) -> RawDetections:
        return self._model.infer(images)

    def describe(self) -> str:
        return "engines 1.0 f32"

    def close(self) -> None:
        self._model.close()


def from_the_cache(settings: RuntimeSection, bundle: Bundle, _: Computed, may_build: bool, __: int) -> EngineRuntime:
    """Find or build the engine as with TensorRT, by child processes that build and try nothing but bytes."""
    assert settings.engines is not None
    here = DeviceIdentity("Orin", (8, 7), "L4T R36.4.0, CUDA 12.6")
    key = EngineKey(model_digest(bundle.model_onnx), "engines", "1.0", here, "f32", BuildOptions())
    built = find_or_build(
        EngineCache(settings.engines), key, bundle.model_onnx, may_build=may_build,
        builder="tests.engine_children.builder", trial="tests.engine_children.trial",
    )  # fmt: skip
    return EngineRuntime(bundle, built.identity(key))


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (EngineIdentity("a" * 64, "f" * 64), "the engine file's SHA-256 was bbbbbbbbbbbb and is ffffffffffff now"),
        (EngineIdentity("f" * 64, "b" * 64), "the engine's key was aaaaaaaaaaaa and is ffffffffffff now"),
    ],
)
def test_another_engine_is_proved_anew_even_of_the_same_model(
    tmp_path: Path, bundle: Bundle, other: EngineIdentity, words: str
) -> None:
    settings = RuntimeSection(kind="tensorrt")

    def start_with(built: EngineIdentity) -> Engine:
        return start(tmp_path, bundle, settings, pool=RuntimePool(lambda *_: EngineRuntime(bundle, built)))

    first = EngineIdentity("a" * 64, "b" * 64)
    means = start_with(first).certificate.means
    assert (means.engine_key, means.engine_digest, means.threads) == ("a" * 64, "b" * 64, None)
    assert start_with(first).why_proved == ()
    assert start_with(other).why_proved == (words,)


@pytest.fixture
def tensorrt(tmp_path: Path) -> RuntimeSection:
    return RuntimeSection(kind="tensorrt", engines=tmp_path / "engines")


def engines_in(folder: Path) -> set[str]:
    return {path.name for path in (folder / "engines").glob("*.engine")}


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"damaged")])
def test_beside_a_running_line_no_engine_is_built_and_the_refusal_says_what_to_do(
    tmp_path: Path, bundle: Bundle, tensorrt: RuntimeSection, damage: Callable[[Path], object]
) -> None:
    def beside(may_prove: bool = False) -> Engine:
        return start(tmp_path, bundle, tensorrt, may_prove=may_prove, pool=RuntimePool(from_the_cache))

    proved = beside(may_prove=True)
    assert beside().certificate == proved.certificate
    damage(next((tmp_path / "engines").glob("*.engine")))
    says = (
        "no valid certificate of this device: .* none is built while parts are inspected; prove it .*`appliance prove`"
    )
    with pytest.raises(BundleProofError, match=says):
        beside()
    assert not engines_in(tmp_path)
    assert beside(may_prove=True).certificate == proved.certificate
    assert engines_in(tmp_path)


def test_the_engine_that_a_newest_certificate_names_is_kept_however_long_it_rested(
    tmp_path: Path, bundle: Bundle, tensorrt: RuntimeSection
) -> None:
    pool = RuntimePool(from_the_cache)
    start(tmp_path, bundle, tensorrt, pool=pool)
    (named,) = (tmp_path / "engines").glob("*.engine")
    built_ns = named.stat().st_mtime_ns
    for age, label in enumerate(range(KEPT + 1)):
        path = tmp_path / "engines" / f"{label:064}.json"
        path.with_suffix(".engine").write_bytes(b"of another release")
        path.write_bytes(b"{}")
        os.utime(path, (2**31 + age,) * 2)
    start(tmp_path, bundle, tensorrt, pool=pool, again=True)
    assert named.stat().st_mtime_ns == built_ns
    assert engines_in(tmp_path) == {named.name} | {f"{label:064}.engine" for label in range(1, KEPT + 1)}


def test_whoever_cancels_a_build_does_not_get_the_next_model_instead(tmp_path: Path) -> None:
    both = read_bundle(tiny_bundle(tmp_path / "both.bundle", variants={"fp16": tiny_model(64, 64)}))
    settings, told, begun = RuntimeSection(kind="tensorrt", engines=tmp_path / "engines"), list[float](), list[str]()

    def build(settings: RuntimeSection, bundle: Bundle, precision: str, may_build: bool, _: int) -> EngineRuntime:
        begun.append(precision)
        key = EngineKey(
            "a" * 64, "tensorrt", "10.3.0", DeviceIdentity("Orin", (8, 7), "L4T"), precision, BuildOptions()
        )
        find_or_build(
            EngineCache(tmp_path / "engines"), key, b"hangs", builder="tests.engine_children.builder",
            on_progress=told.append, is_cancelled=lambda: 0.1 in told,
        )  # fmt: skip
        return EngineRuntime(bundle, EngineIdentity("a" * 64, "b" * 64))

    with pytest.raises(Cancelled):
        activated(tmp_path, settings, both, pool=RuntimePool(build))
    assert begun == ["fp16"]
    assert not (tmp_path / "certificates").exists()


def test_how_far_a_proof_is_is_told_from_the_pictures_that_it_looked_at(tmp_path: Path, bundle: Bundle) -> None:
    told: list[float] = []
    activated(tmp_path, ONE_THREAD, bundle, on_progress=told.append).close()
    assert told == sorted(told)
    assert (told[0], told[-1], len(told)) == (3 / 203, 1.0, 201)
    told.clear()
    activated(tmp_path, ONE_THREAD, bundle, on_progress=told.append).close()
    assert told == [], "nothing was proved"


def test_a_budget_below_what_was_measured_is_proved_anew_and_refused(tmp_path: Path, bundle: Bundle) -> None:
    start(tmp_path, bundle)
    with pytest.raises(BundleSlowError):
        start(tmp_path, bundle, terms=terms_of(bundle, budget_ms=0.0))


def test_another_revision_of_the_bundle_is_proved(tmp_path: Path, bundle: Bundle) -> None:
    start(tmp_path, bundle)
    newer = start(tmp_path, read_bundle(tiny_bundle(tmp_path / "newer.bundle", revision=2)))
    assert "the bundle's revision was 1 and is 2 now" in newer.why_proved
    assert newer.certificate.subject.bundle_revision == 2


def test_a_certificate_of_another_device_proves_nothing_here(tmp_path: Path, bundle: Bundle) -> None:
    there, here = tmp_path / "there", tmp_path / "here"
    for folder, files in ((there, JETSON), (here, PANEL_PC)):
        folder.mkdir()
        write(folder / "root", files)
    first = start(there, bundle, root=there / "root")
    shutil.copytree(there / "certificates", here / "certificates")
    moved = start(here, bundle, root=here / "root")
    assert moved.certificate.id != first.certificate.id
    assert any(each.startswith("the processor was") for each in moved.why_proved)


def test_the_certificate_of_another_product_is_no_reason(tmp_path: Path, bundle: Bundle) -> None:
    start(tmp_path, bundle)
    other = start(tmp_path, bundle, terms=replace(terms_of(bundle, digest="f" * 64), recipe="dots"))
    assert other.why_proved == (NONE_YET,)


def test_a_torn_certificate_is_none(tmp_path: Path, bundle: Bundle, caplog: pytest.LogCaptureFixture) -> None:
    start(tmp_path, bundle)
    (path,) = (tmp_path / "certificates").iterdir()
    path.write_bytes(path.read_bytes()[:300])
    assert start(tmp_path, bundle).why_proved == (NONE_YET,)
    assert re.search(r"proves nothing: .*; prove again$", caplog.text, re.MULTILINE)
    assert "export" not in caplog.text


def test_what_was_refused_stays_refused_while_the_certificate_is_valid(tmp_path: Path) -> None:
    bundle = read_bundle(int8_gone_bad(tmp_path / "b.bundle"))
    asked = RuntimeSection(threads=1, precision="int8")
    first, again = start(tmp_path, bundle, asked), start(tmp_path, bundle, asked)
    assert (again.precision, again.certificate, again.why_proved) == ("fp16", first.certificate, ())
    assert again.refused.startswith("int8: bundle tiny revision 1 does not do here")
    assert "instead of a faster model that was refused" in again.describe()
    assert start(tmp_path, bundle, asked, again=True).precision == "fp16"


def test_openvino_has_no_fp16_to_fall_back_to(tmp_path: Path) -> None:
    bundle = read_bundle(int8_gone_bad(tmp_path / "b.bundle"))
    engine = start(tmp_path, bundle, RuntimeSection(kind="openvino", threads=1, instances=1, precision="int8"))
    assert engine.precision == "f32"
    assert len(engine.certificate.refused) == 1


def test_few_golden_images_are_told(tmp_path: Path, bundle: Bundle) -> None:
    assert few_golden(bundle).startswith("only 3 golden images")
    assert few_golden(replace(bundle, golden=bundle.golden * 11)) == (
        "what they are there for is not said: export the bundle anew"
    )
    full = tuple(golden_of_all_kinds())
    assert few_golden(replace(bundle, golden=full)) == ""
    dark = tuple(replace(image, kind="bright") if image.kind == "dark" else image for image in full)
    assert few_golden(replace(bundle, golden=dark)) == "no golden image is there for: dark: export the bundle anew"


def test_the_certificate_names_the_model_file_that_runs(tmp_path: Path) -> None:
    int8 = tiny_model(64, 64, candidates=100)
    bundle = read_bundle(tiny_bundle(tmp_path / "t.bundle", variants={"int8": int8}))
    engine = start(tmp_path, bundle, RuntimeSection(threads=1, precision="int8"))
    assert engine.certificate.means.model_digest == bundle.manifest.digests["model_int8.onnx"]
