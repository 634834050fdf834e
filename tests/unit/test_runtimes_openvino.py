"""What only the OpenVINO adapter must get right: precision, threads, pictures of another size, steady memory."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from appliance.bundle.archive import read_bundle
from appliance.config import RuntimeSection
from appliance.demo.station import SHIPPED_BUNDLE
from appliance.engine import make_runtime
from appliance.errors import ConfigError
from tests.models import tiny_bundle, tiny_manifest, tiny_model

adapter = pytest.importorskip(
    "appliance.runtimes.openvino", reason="openvino is not installed (extra openvino)", exc_type=ModuleNotFoundError
)
OpenVinoRuntime, VERSION = adapter.OpenVinoRuntime, adapter.openvino.__version__.partition("-")[0]
ROOT = Path(__file__).parents[2]


IMPORTS = (
    "from appliance.demo.station import SHIPPED_BUNDLE as path; from appliance.bundle.archive import read_bundle;"
    "from appliance.config import RuntimeSection; from appliance.engine import make_runtime;"
)


def run_in_python(program: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", program]
    return subprocess.run(command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, check=False)


def has_bf16() -> bool:
    return "BF16" in adapter.openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def test_the_record_names_device_precision_and_threads() -> None:
    runtime = OpenVinoRuntime(tiny_model(64, 64), tiny_manifest(), threads=2)
    assert runtime.describe() == f"openvino {VERSION} CPU f32 threads=2"


@pytest.mark.skipif(not has_bf16(), reason="this processor does not compute with bf16")
def test_bf16_is_what_computes_when_it_is_asked_for() -> None:
    runtime = OpenVinoRuntime(tiny_model(64, 64), tiny_manifest(), precision="bf16")
    assert " bf16 " in runtime.describe()


def test_a_precision_that_no_processor_has_is_a_matter_of_configuration() -> None:
    with pytest.raises(ConfigError, match=r"does not compute with f8; set precision to f32"):
        OpenVinoRuntime(tiny_model(64, 64), tiny_manifest(), precision="f8")


@pytest.mark.parametrize("threads", [0, -1, 65])
def test_a_foolish_number_of_threads_is_a_matter_of_configuration(threads: int) -> None:
    with pytest.raises(ConfigError, match="threads"):
        OpenVinoRuntime(tiny_model(64, 64), tiny_manifest(), threads=threads)


def test_threads_that_it_would_not_use_are_refused_and_not_silently_fewer() -> None:
    with pytest.raises(ConfigError, match=r"was asked for CPU f32 threads=64 and computes with CPU f32 threads="):
        OpenVinoRuntime(tiny_model(64, 64), tiny_manifest(), threads=64)


def test_the_configuration_chooses_it(tmp_path: Path) -> None:
    bundle = read_bundle(tiny_bundle(tmp_path / "tiny.bundle"))
    runtime = make_runtime(RuntimeSection(kind="openvino", threads=1, pins_threads=True), bundle)
    assert runtime.describe() == f"openvino {VERSION} CPU f32 threads=1 pinned"
    runtime.close()


def test_its_telemetry_is_not_even_loaded() -> None:
    told = "import sys; sys.exit(any(name.startswith('openvino_telemetry.') for name in sys.modules))"
    used = "make_runtime(RuntimeSection(kind='openvino'), read_bundle(path));"
    ended = run_in_python(IMPORTS + used + told)
    assert ended.returncode == 0, ended.stderr


def test_where_it_is_not_installed_the_configuration_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "openvino.py").write_text("raise ModuleNotFoundError")
    ended = run_in_python(
        IMPORTS + "make_runtime(RuntimeSection(kind='openvino'), read_bundle(path))", PYTHONPATH=str(tmp_path)
    )
    assert "ConfigError" in ended.stderr
    assert "is not installed here: pip install 'inspection-appliance[openvino]'" in ended.stderr


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"precision": "bf16"}, "precision bf16 is not for the runtime onnx; configure auto"),
        ({"dla_core": 0}, "dla_core means nothing to the runtime onnx"),
        (
            {"kind": "openvino", "providers": ("CUDAExecutionProvider",)},
            "providers means nothing to the runtime",
        ),
    ],
)
def test_a_key_of_another_runtime_is_refused(section: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        RuntimeSection.model_validate(section)


def test_it_finds_on_the_shipped_bundles_golden_images_what_onnx_runtime_finds() -> None:
    bundle = read_bundle(SHIPPED_BUNDLE)
    runtimes = [
        make_runtime(RuntimeSection(kind=kind, threads=1, precision="f32"), bundle) for kind in ("onnx", "openvino")
    ]
    for image in bundle.golden:
        theirs, ours = (runtime.infer(image.pixels()[None]).scores for runtime in runtimes)
        assert ours == pytest.approx(theirs, abs=1e-4)


def test_a_signal_is_heard_after_another_thread_has_done_away_with_the_model() -> None:
    told = run_in_python(
        f"{IMPORTS} import os, signal, threading;"
        "signal.signal(signal.SIGTERM, lambda *_: print('asked to stop'));"
        "held = [make_runtime(RuntimeSection(kind='openvino'), read_bundle(path))];"
        "thread = threading.Thread(target=held.clear); thread.start(); thread.join();"
        "os.kill(os.getpid(), signal.SIGTERM)"
    )
    assert (told.returncode, told.stdout) == (0, "asked to stop\n")
