"""An engine is found under exactly its key, and only if every byte is as it was built."""

import os
import tempfile
from dataclasses import fields, replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import BundleFormatError, ConfigError, EngineFault, RuntimeFault, StorageError
from appliance.runtimes.accelerator.device import DeviceIdentity
from appliance.runtimes.engines.cache import KEPT, BuiltEngine, EngineCache
from appliance.runtimes.engines.child import Cancelled
from appliance.runtimes.engines.key import BuildOptions, EngineKey, model_digest
from appliance.runtimes.engines.workshop import find_or_build

ORIN = DeviceIdentity("Orin", (8, 7), "L4T R36.4.0, CUDA 12.6")
KEY = EngineKey(model_digest(b"model"), "tensorrt", "10.3.0", ORIN, "fp16", BuildOptions())
ENGINE = BuiltEngine(b"plan" * 100, "fp16")
BUILDER, TRIAL = "tests.engine_children.builder", "tests.engine_children.trial"

OTHERS: list[dict[str, Any]] = [
    {"model_digest": model_digest(b"another")},
    {"library": "tensorrt_rtx"},
    {"library_version": "10.3.1"},
    {"device": replace(ORIN, name="Orin NX")},
    {"device": replace(ORIN, compute_capability=(8, 9))},
    {"device": replace(ORIN, driver="L4T R36.5.0, CUDA 12.6")},
    {"precision": "int8"},
    {"options": BuildOptions(max_batch=1)},
    {"options": BuildOptions(workspace_mib=1)},
    {"options": BuildOptions(allows_tf32=True)},
    {"options": BuildOptions(for_this_device=False)},
    {"options": BuildOptions(dla_core=0)},
]


def make(cache: EngineCache, model: bytes, **changes: Any) -> BuiltEngine:
    key = replace(KEY, model_digest=model_digest(model))
    return find_or_build(cache, key, model, **({"builder": BUILDER, "trial": TRIAL} | changes))


def test_an_engine_is_built_only_when_nobody_else_wants_the_processor(tmp_path: Path) -> None:
    assert make(EngineCache(tmp_path), b"says how").plan == b"idle True"


def test_what_is_kept_is_found(tmp_path: Path) -> None:
    cache = EngineCache(tmp_path / "engines")
    assert cache.find(KEY) is None
    cache.keep(KEY, ENGINE)
    assert cache.find(KEY) == ENGINE
    assert EngineCache(tmp_path / "engines").find(replace(KEY)) == ENGINE


@pytest.mark.parametrize("change", OTHERS, ids=str)
def test_whatever_differs_is_another_engine(tmp_path: Path, change: dict[str, Any]) -> None:
    cache = EngineCache(tmp_path)
    cache.keep(KEY, ENGINE)
    assert cache.find(replace(KEY, **change)) is None


def test_no_part_of_the_key_is_left_out_of_that() -> None:
    assert {name for change in OTHERS for name in change} == {field.name for field in fields(EngineKey)}
    options = [change["options"] for change in OTHERS if "options" in change]
    changed = {name.name for name in fields(BuildOptions) for each in options
               if getattr(each, name.name) != getattr(BuildOptions(), name.name)}  # fmt: skip
    assert changed == {field.name for field in fields(BuildOptions)}


@given(st.sampled_from([".engine", ".json"]), st.integers(0, 399), st.integers(1, 255))
def test_an_engine_of_which_a_byte_was_changed_is_not_loaded(suffix: str, at: int, by: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        cache = EngineCache(Path(folder))
        cache.keep(KEY, ENGINE)
        path = next(Path(folder).glob(f"*{suffix}"))
        content = bytearray(path.read_bytes())
        content[at % len(content)] ^= by
        path.write_bytes(content)
        found = cache.find(KEY)
        assert found is None or (suffix == ".json" and found.plan == ENGINE.plan)
        if suffix == ".engine":
            assert found is None
            assert not list(Path(folder).iterdir())


def test_an_engine_without_its_label_is_none(tmp_path: Path) -> None:
    cache = EngineCache(tmp_path)
    cache.keep(KEY, ENGINE)
    next(tmp_path.glob("*.json")).unlink()
    assert cache.find(KEY) is None


def test_an_engine_under_another_ones_name_is_not_loaded(tmp_path: Path) -> None:
    cache = EngineCache(tmp_path)
    other = replace(KEY, precision="int8")
    cache.keep(KEY, ENGINE)
    for path in list(tmp_path.iterdir()):
        path.rename(path.with_name(path.name.replace(KEY.digest(), other.digest())))
    assert cache.find(other) is None


def test_the_least_used_engines_go(tmp_path: Path) -> None:
    cache = EngineCache(tmp_path)
    keys = [replace(KEY, model_digest=model_digest(bytes([number]))) for number in range(KEPT + 1)]
    for age, key in enumerate(keys):
        cache.keep(key, ENGINE)
        os.utime(tmp_path / f"{key.digest()}.json", (age, age))
    assert cache.find(keys[0]) == ENGINE  # used now, so the next one is the least used
    cache.make_room(())
    assert [cache.find(key) == ENGINE for key in keys] == [True, False, *[True] * (KEPT - 1)]
    assert len(list(tmp_path.glob("*.json"))) == len(list(tmp_path.glob("*.engine"))) == KEPT


def test_what_is_named_stays_and_does_not_count(tmp_path: Path) -> None:
    cache = EngineCache(tmp_path)
    keys = [replace(KEY, model_digest=model_digest(bytes([number]))) for number in range(KEPT + 3)]
    for age, key in enumerate(keys):
        cache.keep(key, ENGINE)
        os.utime(tmp_path / f"{key.digest()}.json", (age, age))
    cache.make_room({keys[0].digest(), keys[2].digest()})
    assert [cache.find(key) == ENGINE for key in keys] == [True, False, *[True] * (KEPT + 1)]


def test_only_this_user_may_write_into_the_folder(tmp_path: Path) -> None:
    assert EngineCache(tmp_path / "state" / "engines").make_folder().stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("rights", [0o720, 0o702])
def test_a_folder_in_which_others_may_write_gives_and_takes_no_engine(tmp_path: Path, rights: int) -> None:
    cache = EngineCache(tmp_path / "engines")
    cache.keep(KEY, ENGINE)
    (tmp_path / "engines").chmod(rights)
    says = rf"engines: belongs to user .* rights {rights:o}.*; remove it, or name"
    with pytest.raises(StorageError, match=says):
        cache.find(KEY)
    with pytest.raises(StorageError, match=says):
        cache.keep(KEY, ENGINE)


@pytest.mark.skipif(os.getuid() != 0, reason="only root may give a folder away")
def test_a_folder_of_another_user_gives_and_takes_no_engine(tmp_path: Path) -> None:
    cache = EngineCache(tmp_path / "engines")
    cache.keep(KEY, ENGINE)
    os.chown(tmp_path / "engines", 12345, -1)
    says = "engines: belongs to user 12345"
    with pytest.raises(StorageError, match=says):
        cache.find(KEY)
    with pytest.raises(StorageError, match=says):
        cache.keep(KEY, ENGINE)


def test_a_folder_that_cannot_be_made_is_a_matter_of_storage(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"cannot be made: .*name another folder in runtime\.engines"):
        EngineCache(tmp_path / "file" / "engines").keep(KEY, ENGINE)


def test_an_engine_is_built_once_and_then_found(tmp_path: Path) -> None:
    cache, told = EngineCache(tmp_path), []
    first = make(cache, b"model", on_progress=told.append)
    assert first == BuiltEngine(b"engine of model", "fp16")
    assert told[-1] == 1.0
    assert make(cache, b"model", builder="no.such.module") == first


def test_nothing_is_built_where_there_is_no_time_for_it(tmp_path: Path) -> None:
    cache, says = (
        EngineCache(tmp_path),
        "keeps no engine of its fp16 model, and none is built while parts are inspected",
    )
    with pytest.raises(RuntimeFault, match=says):
        make(cache, b"model", may_build=False)
    assert not list(tmp_path.iterdir())
    built = make(cache, b"model")
    assert make(cache, b"model", may_build=False) == built
    next(tmp_path.glob("*.engine")).write_bytes(b"damaged")
    with pytest.raises(RuntimeFault, match=says):
        make(cache, b"model", may_build=False)
    assert not list(tmp_path.glob("*.engine"))


def test_what_the_builder_measured_serves_the_next_model(tmp_path: Path) -> None:
    cache = EngineCache(tmp_path)
    for model in (b"a", b"b", b"c"):
        make(cache, model)
    assert cache.timing_path(KEY).read_bytes() == b"mmm"


def test_what_was_measured_goes_when_the_builder_crashes_and_it_builds_once_more_without(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache = EngineCache(tmp_path)
    cache.timing_path(KEY).write_bytes(b"poison")
    assert make(cache, b"model") == BuiltEngine(b"engine of model", "fp16")
    assert cache.timing_path(KEY).read_bytes() == b"m"
    assert "built once more without what was measured" in caplog.text


def test_a_builder_that_crashes_without_anything_measured_is_believed(tmp_path: Path) -> None:
    cache = EngineCache(tmp_path)
    for measured in (b"harmless", None):
        if measured is not None:
            cache.timing_path(KEY).write_bytes(measured)
        with pytest.raises(EngineFault, match="builder crashed"):
            make(cache, b"dead end")
        assert not list(tmp_path.iterdir())


def test_what_was_measured_stays_when_the_builder_refuses(tmp_path: Path) -> None:
    cache = EngineCache(tmp_path)
    cache.timing_path(KEY).write_bytes(b"harmless")
    for model in (b"refused", b"no device"):
        with pytest.raises((BundleFormatError, RuntimeFault)):
            make(cache, model)
    assert cache.timing_path(KEY).read_bytes() == b"harmless"


@pytest.mark.parametrize(
    ("model", "words"), [(b"deadly", r"crashed \(SIG(SEGV|BUS)\)"), (b"strange", "another version")]
)
def test_an_engine_that_kills_its_process_or_is_refused_is_not_kept(tmp_path: Path, model: bytes, words: str) -> None:
    cache = EngineCache(tmp_path)
    with pytest.raises(EngineFault, match=words):
        make(cache, model)
    assert not list(tmp_path.glob("*.engine"))


KEPT_KEY = replace(KEY, model_digest=model_digest(b"model"))


def keeping(folder: Path, plan: bytes) -> EngineCache:
    """Return a folder that has this engine for the model of `make`."""
    cache = EngineCache(folder)
    cache.keep(KEPT_KEY, BuiltEngine(plan, "fp16"))
    return cache


@pytest.mark.parametrize("plan", [b"busy", b"killed", b"ended", b"broken"])
@pytest.mark.parametrize("may_build", [True, False])
def test_a_proven_engine_stays_where_the_device_fails_and_not_the_engine(
    tmp_path: Path, plan: bytes, may_build: bool
) -> None:
    cache = keeping(tmp_path, plan)
    with pytest.raises(RuntimeFault) as raised:
        make(cache, b"model", may_build=may_build)
    assert not isinstance(raised.value, EngineFault)
    assert cache.find(KEPT_KEY) == BuiltEngine(plan, "fp16")


def test_an_engine_is_tried_behind_a_running_line_and_ahead_of_nothing_at_a_start(tmp_path: Path) -> None:
    cache, mine = keeping(tmp_path, b"says how"), os.sched_getscheduler(0) == os.SCHED_IDLE
    with pytest.raises(RuntimeFault, match="idle True"):
        make(cache, b"model", may_build=False)
    with pytest.raises(RuntimeFault, match=f"idle {mine}"):
        make(cache, b"model")


def test_a_new_engine_that_the_device_fails_at_is_not_kept(tmp_path: Path) -> None:
    cache = EngineCache(tmp_path)
    with pytest.raises(RuntimeFault, match="could not allocate"):
        make(cache, b"busy")
    assert cache.find(KEPT_KEY) is None
    assert list(tmp_path.glob("*.engine")) == []


def test_an_engine_is_tried_with_as_many_pictures_at_once_as_it_was_built_for(tmp_path: Path) -> None:
    cache = keeping(tmp_path, b"says how many")
    with pytest.raises(RuntimeFault, match=f"up to {KEY.options.max_batch} pictures"):
        make(cache, b"model")


def test_whoever_waits_is_told_that_a_trial_goes_on(tmp_path: Path) -> None:
    cache, told, asked = keeping(tmp_path, b"waits"), list[float](), count()
    with pytest.raises(Cancelled):
        make(cache, b"model", on_progress=told.append, is_cancelled=lambda: bool(told) or next(asked) > 20)
    assert told == [0.0]


def test_an_engine_that_was_good_is_tried_again_at_each_start(tmp_path: Path) -> None:
    cache = EngineCache(tmp_path)
    cache.keep(replace(KEY, model_digest=model_digest(b"model")), BuiltEngine(b"now deadly", "fp16"))
    with pytest.raises(RuntimeFault, match="crashed"):
        make(cache, b"model")
    assert make(cache, b"model") == BuiltEngine(b"engine of model", "fp16")


def test_the_builder_is_told_which_dla_is_asked_for(tmp_path: Path) -> None:
    key = replace(KEY, options=BuildOptions(max_batch=1, dla_core=1))
    engine = find_or_build(EngineCache(tmp_path), key, b"model", builder=BUILDER, trial=TRIAL)
    assert engine.plan == b"engine of model on DLA 1"


@pytest.mark.parametrize(
    ("model", "kind"), [(b"refused", BundleFormatError), (b"no device", RuntimeFault), (b"no DLA", ConfigError)]
)
def test_a_refusal_says_who_must_act(tmp_path: Path, model: bytes, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        make(EngineCache(tmp_path), model)
    assert not list(tmp_path.glob("*.engine"))


def test_a_cancelled_building_keeps_nothing(tmp_path: Path) -> None:
    with pytest.raises(Cancelled):
        make(EngineCache(tmp_path), b"model", is_cancelled=lambda: True)
    assert not list(tmp_path.iterdir())


def test_one_that_is_cancelled_halfway_keeps_nothing(tmp_path: Path) -> None:
    told: list[float] = []
    with pytest.raises(Cancelled):
        make(EngineCache(tmp_path), b"hangs", on_progress=told.append, is_cancelled=lambda: 0.1 in told)
    assert not list(tmp_path.iterdir())
