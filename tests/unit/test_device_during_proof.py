"""A device that changes while it proves a bundle gets no certificate: the runs were not of one and the same device."""

from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from appliance.activation import NONE_YET
from appliance.bundle.archive import Bundle, read_bundle
from appliance.certification.certificate import Computed
from appliance.config import RuntimeSection
from appliance.engine import make_runtime
from appliance.errors import DeviceError, exit_code
from appliance.ports import Runtime
from appliance.prove import tell
from appliance.runtime_pool import RuntimePool
from tests.activated import ONE_THREAD, activated
from tests.device_root import CALM, COOL_GPU, GPU_CLOCK, HOT_GPU, JETSON, POLICY, write
from tests.models import tiny_bundle
from tests.planted import int8_gone_bad
from tests.unit.test_activation import from_the_cache

LOWER_CLOCK = {f"{GPU_CLOCK}/max_freq": "612000000\n"}
LOWER_MODE = {"var/lib/nvpmodel/status": "pmode:0000"}
FREE_CLOCK = "17000000.gpu 306000000..1020000000 Hz"
SLOW_CLOCK = "17000000.gpu 306000000..612000000 Hz"
HEAT = "the cooler gpu-throttle-alert is at step 1"


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return read_bundle(tiny_bundle(tmp_path / "tiny.bundle"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write(tmp_path / "root", JETSON | CALM)


def once_half_is_done(act: Callable[[], object]) -> Callable[[float], None]:
    """Do something in the midst of the timed runs."""
    waiting = [act]

    def on_progress(share: float) -> None:
        if share > 0.5 and waiting:
            waiting.pop()()

    return on_progress


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (LOWER_MODE, "the power mode was MAXN_SUPER (2) and is 15W (0) now"),
        (LOWER_CLOCK, "the accelerator's clock was 17000000.gpu 306000000..1020000000 Hz"),
        (
            {"proc/driver/nvidia/version": "NVRM version: NVIDIA UNIX x86_64 Kernel Module  560.28  Wed Aug 17 2016\n"},
            "the NVIDIA driver was 540.4.0 and is 560.28 now",
        ),
        ({f"{POLICY.format(0)}/scaling_governor": "powersave\n"}, "the processor's clock was schedutil"),
    ],
)
def test_what_changes_during_the_runs_gets_no_certificate_until_it_is_proved_again(
    tmp_path: Path, bundle: Bundle, root: Path, change: dict[str, str], words: str
) -> None:
    changes = once_half_is_done(lambda: write(root, change))
    with pytest.raises(
        DeviceError, match=r"changed while bundle tiny revision 1 was being proved .* prove again"
    ) as told:
        activated(tmp_path, ONE_THREAD, bundle, root=root, on_progress=changes)
    assert words in str(told.value)
    assert exit_code(told.value) == 69
    assert not (tmp_path / "certificates").exists()
    again = activated(tmp_path, ONE_THREAD, bundle, root=root)
    again.close()
    assert again.why_proved == (NONE_YET,)


def test_a_clock_that_heat_lowers_meanwhile_is_no_other_device(tmp_path: Path, bundle: Bundle, root: Path) -> None:
    heat = once_half_is_done(lambda: write(root, HOT_GPU | LOWER_CLOCK))
    hot = activated(tmp_path, ONE_THREAD, bundle, root=root, on_progress=heat)
    hot.close()
    assert hot.certificate.device.gpu_clock == FREE_CLOCK, "as it is when the heat goes"
    assert (hot.certificate.held_back or [""])[0] == HEAT


def test_a_start_in_the_heat_takes_the_certificate_of_the_device_without_it(
    tmp_path: Path, bundle: Bundle, root: Path
) -> None:
    cool = activated(tmp_path, ONE_THREAD, bundle, root=root)
    cool.close()
    assert cool.certificate.held_back == ()
    write(root, HOT_GPU | LOWER_CLOCK | {f"{POLICY.format(0)}/scaling_max_freq": "1113600"})
    hot = activated(tmp_path, ONE_THREAD, bundle, root=root, may_prove=False)
    hot.close()
    assert (hot.certificate.id, hot.why_proved) == (cool.certificate.id, ())
    write(root, LOWER_MODE)
    other = activated(tmp_path, ONE_THREAD, bundle, root=root)
    other.close()
    assert other.why_proved == ("the power mode was MAXN_SUPER (2) and is 15W (0) now",)


def test_a_lower_clock_that_stays_when_the_heat_has_gone_is_another_device(
    tmp_path: Path, bundle: Bundle, root: Path
) -> None:
    activated(tmp_path, ONE_THREAD, bundle, root=root).close()
    write(root, HOT_GPU | LOWER_CLOCK)
    activated(tmp_path, ONE_THREAD, bundle, root=root, may_prove=False).close()
    write(root, COOL_GPU)
    again = activated(tmp_path, ONE_THREAD, bundle, root=root)
    again.close()
    assert again.why_proved == (f"the accelerator's clock was {FREE_CLOCK} and is {SLOW_CLOCK} now",)


def test_a_certificate_that_was_made_in_the_heat_says_so_and_is_void_without_it(
    tmp_path: Path, bundle: Bundle, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(root, HOT_GPU | LOWER_CLOCK)
    hot = activated(tmp_path, ONE_THREAD, bundle, root=root)
    hot.close()
    assert (hot.certificate.device.gpu_clock, (hot.certificate.held_back or [""])[0]) == (SLOW_CLOCK, HEAT)
    told = f"the device was held back while it was proved: {HEAT}; "
    assert told in hot.certificate.beware
    assert told in caplog.text
    out = Console(record=True, width=1000)
    tell(out, hot, bundle)
    assert told in out.export_text()
    still = activated(tmp_path, ONE_THREAD, bundle, root=root, may_prove=False)
    still.close()
    assert still.certificate.id == hot.certificate.id
    write(root, COOL_GPU | {name: JETSON[name] for name in LOWER_CLOCK})
    cool = activated(tmp_path, ONE_THREAD, bundle, root=root)
    cool.close()
    assert cool.why_proved == (f"the accelerator's clock was {SLOW_CLOCK} and is {FREE_CLOCK} now",)
    assert (cool.certificate.held_back, cool.certificate.beware) == ((), "")


def test_heat_that_goes_during_the_runs_is_told_be_it_with_a_clock_that_rises(
    tmp_path: Path, bundle: Bundle, root: Path
) -> None:
    for hot, cool in ((HOT_GPU, COOL_GPU), (HOT_GPU | LOWER_CLOCK, COOL_GPU | {it: JETSON[it] for it in LOWER_CLOCK})):
        write(root, hot)
        goes = once_half_is_done(lambda files=cool: write(root, files))
        cooled = activated(tmp_path, ONE_THREAD, bundle, root=root, again=True, on_progress=goes)
        cooled.close()
        assert (cooled.certificate.held_back or [""])[0] == HEAT
    assert cooled.certificate.device.gpu_clock == SLOW_CLOCK  # another clock than now: the watch measures, and tells


def test_heat_hides_no_other_power_mode(tmp_path: Path, bundle: Bundle, root: Path) -> None:
    heat = once_half_is_done(lambda: write(root, HOT_GPU | LOWER_CLOCK | LOWER_MODE))
    with pytest.raises(
        DeviceError, match=r"proved on it, so there is no certificate: the power mode was [^;]*; leave it"
    ):
        activated(tmp_path, ONE_THREAD, bundle, root=root, on_progress=heat)


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"another engine")])
def test_an_engine_file_that_changes_during_the_runs_gets_no_certificate(
    tmp_path: Path, bundle: Bundle, root: Path, damage: Callable[[Path], object]
) -> None:
    settings, pool = RuntimeSection(kind="tensorrt", engines=tmp_path / "engines"), RuntimePool(from_the_cache)
    damages = once_half_is_done(lambda: damage(next((tmp_path / "engines").glob("*.engine"))))
    with pytest.raises(DeviceError, match=r"the engine's file is not the one that was loaded; .* prove again"):
        activated(tmp_path, settings, bundle, root=root, pool=pool, on_progress=damages)
    assert not (tmp_path / "certificates").exists()
    activated(tmp_path, settings, bundle, root=root, pool=pool).close()


def test_a_device_that_changes_after_a_model_was_refused_gets_no_certificate_for_the_next(
    tmp_path: Path, root: Path
) -> None:
    def make(settings: RuntimeSection, bundle: Bundle, precision: Computed, may_build: bool, copy: int) -> Runtime:
        if precision == "fp16":
            write(root, LOWER_MODE)
        return make_runtime(settings, bundle, precision, may_build, copy)

    bundle, asked = read_bundle(int8_gone_bad(tmp_path / "b.bundle")), RuntimeSection(threads=1, precision="int8")
    with pytest.raises(DeviceError, match="the power mode was"):
        activated(tmp_path, asked, bundle, root=root, pool=RuntimePool(make))
