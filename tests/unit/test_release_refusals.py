"""What a publisher is told when something is wrong, and that nothing is lost by it."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.c_compiler import needs_cc
from tests.release_desk import Desk, begun, said
from tests.wall_clock import WallClock
from trainer.__main__ import main as trainer
from trainer.release.shelf import Shelf

FIRST = "models/boards/boards-1.bundle"
DAY_S = 86_400


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    made = begun(tmp_path)
    assert made.release(made.bundle()) == 0
    return made


@pytest.fixture
def same(desk: Desk) -> Callable[[], bool]:
    before = desk.standing().timestamp.signed_bytes
    return lambda: desk.standing().timestamp.signed_bytes == before


@pytest.mark.parametrize("seq", ["0", "1", str(2**53)])
def test_a_number_that_is_not_above_the_highest_is_refused(
    desk: Desk, same: Callable[[], bool], seq: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert desk.release(desk.bundle(revision=2), "--seq", seq) == 78
    assert "the highest release of model boards is 1, and devices never go back" in said(capsys)
    assert same()


def test_when_the_numbers_are_used_up_nothing_is_released_that_devices_would_refuse(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    assert desk.release(desk.bundle(revision=2), "--seq", str(2**53 - 1)) == 0
    assert desk.release(desk.bundle(revision=3)) == 78
    assert "there is none above it" in said(capsys)


def test_what_is_no_bundle_is_not_released(
    desk: Desk, same: Callable[[], bool], capsys: pytest.CaptureFixture[str]
) -> None:
    (desk.folder / "no.bundle").write_bytes(b"PK no bundle")
    assert desk.release(desk.folder / "no.bundle") == 65
    assert "no.bundle" in said(capsys)
    assert desk.release(desk.folder / "gone.bundle") == 78
    assert "gone.bundle: cannot be read" in said(capsys)
    assert same()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--kind", "app"], "say with --name of what"),
        (["--kind", "app", "--name", "../x"], "no name of a release"),
        (["--name", "x"], "a bundle has its own name"),
    ],
)
def test_a_release_without_a_proper_name_is_refused(
    desk: Desk, words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert desk.release(desk.bundle("cans"), *words) == 78
    assert told in said(capsys)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--device", "line-1", "--release", "models/boards/boards-9.bundle"], f"there are {FIRST}"),
        (["--device", "line-1", "--release", "models/boards/boards-1.card.md"], "nobody signed such a release"),
        (["--device", "line-1", "--release", "assign/ulm/x.json"], "nobody signed such a release"),
        (["--device", "../line-1", "--release", FIRST], "no device id"),
        (["--device", "line-1", "--release", FIRST, "--rollout", "a b"], "rollout"),
        (["--device", "line-1", "--release", FIRST, "--rollout", "r" * 65], "rollout"),
        (["--device", "line-1", "--release", FIRST, "--watch-h", "8761"], "watch_h"),
        (["--device", "line-1", "--release", FIRST, "--watch-parts", "1000000001"], "watch_parts"),
        (["--device", "line-1", "--release", FIRST, "--site", "Ulm!"], "no name of a site"),
        (["--device", "line-1", "--release", FIRST, "--site", "wien"], "the site 'wien' is not known"),
    ],
)
def test_an_assignment_that_no_device_could_follow_is_refused(
    desk: Desk, same: Callable[[], bool], words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert desk.assign(*words) == 78
    assert told in said(capsys)
    assert same()


@pytest.mark.parametrize(
    ("gates", "words"),
    [
        (["challenge_part=3"], "did you mean challenge_parts?"),
        (["weather=3"], "there are shadow_parts, canary_parts"),
        (["challenge_parts"], "write KEY=VALUE, such as challenge_parts=3"),
        (["challenge_parts=some"], "'some' is no number"),
        (["challenge_parts=1.5"], "challenge_parts"),
        (["challenge_parts=-1"], "challenge_parts is -1; give a number that is not negative"),
        (["most_overkill=3"], "most_overkill is 3.0; give a share between 0 and 1"),
        (["alpha=nan"], "alpha"),
        (["shadow_parts=0"], "must be at least 1"),
        (["watch_h=400"], "give a most_h over watch_h"),
        (["most_h=48", "most_h=50"], "most_h is given twice"),
        (["watch_parts=50"], "watch_parts is given twice"),
    ],
)
def test_gates_by_which_no_device_could_judge_are_not_assigned(
    desk: Desk, gates: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert desk.release(desk.bundle()) == 0
    given = [word for gate in gates for word in ("--gate", gate)]
    assert desk.assign("--device", "line-1", "--release", FIRST, "--watch-parts", "60", *given) == 78
    assert words in capsys.readouterr().err.replace("\n", " ")
    assert "assign-ulm" not in desk.standing().delegated


def test_a_device_is_never_assigned_an_older_release(
    desk: Desk, same: Callable[[], bool], capsys: pytest.CaptureFixture[str]
) -> None:
    assert desk.release(desk.bundle(revision=2)) == 0
    assert desk.assign("--device", "line-1", "--release", "models/boards/boards-2.bundle") == 0
    assert desk.assign("--device", "line-1", "--release", FIRST) == 78
    assert "release the old content under a new number" in said(capsys)


def test_a_device_that_is_named_twice_is_assigned_once(desk: Desk) -> None:
    assert desk.assign("--device", "line-1", "--device", "line-1", "--release", FIRST) == 0
    assert desk.verify() == 0


def test_a_change_of_keys_is_not_taken_for_a_beginning(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    """A mistyped address, or a timestamp that somebody has deleted."""
    assert desk.change("renew", "root,targets", folder="new") == 0
    for name in ("anna", "ben"):
        assert desk.sign(name, *desk.requests("new")) == 0
    desk.address, pinned = str(desk.folder / "nothing"), desk.root
    pinned.rename(desk.folder / "elsewhere.json")
    assert desk.publish_signed(desk.requests("new")) == 78
    assert "no repository is there, and root 2 changes one" in said(capsys)
    assert not pinned.exists()


def test_a_repository_of_somebody_else_is_not_published_to(
    desk: Desk, tmp_path: Path, same: Callable[[], bool], capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    stranger = Desk(other, str(other / "updates"))
    stranger.begin()
    for command in (stranger.refresh, stranger.verify):
        stranger.address = desk.address
        assert command() == 65
        assert "restore it from a copy" in said(capsys)
    assert same()


def test_an_address_without_a_repository_says_so(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    desk.address = str(desk.folder / "nothing")
    assert desk.verify() == 78
    assert "no repository is there" in said(capsys)
    (desk.folder / "root.json").write_text("{}")
    assert desk.verify() == 78
    desk.address = str(desk.folder / "updates")
    assert desk.verify() == 78
    assert "no valid root.json" in said(capsys)


def replaced(path: Path, content: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["2.snapshot.json", "1.models.json", "1.targets.json", "timestamp.json"])
@pytest.mark.parametrize("way", ["altered", "cut", "missing"])
def test_damaged_metadata_is_told_by_verify_and_stops_publishing(
    desk: Desk, name: str, way: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = Path(desk.address) / "metadata" / name
    content = path.read_bytes()
    if way == "missing":
        path.unlink()
    else:
        replaced(path, content[:-50] if way == "cut" else content.replace(b'"version": ', b'"version": 1'))
    code = 78 if (name, way) == ("timestamp.json", "missing") else 65
    assert desk.verify() == code
    assert desk.refresh() == code
    assert "Traceback" not in said(capsys)


@pytest.mark.parametrize("way", ["altered", "missing"])
def test_a_damaged_release_is_told_by_verify(desk: Desk, way: str, capsys: pytest.CaptureFixture[str]) -> None:
    (path,) = (Path(desk.address) / "targets" / "models" / "boards").glob("*.bundle")
    if way == "missing":
        path.unlink()
    else:
        replaced(path, path.read_bytes()[:-1] + b"x")
    assert desk.verify() == 65
    assert "boards-1.bundle" in said(capsys)


def test_two_publishers_at_once_are_told(
    desk: Desk, same: Callable[[], bool], capsys: pytest.CaptureFixture[str]
) -> None:
    with Shelf(desk.address).alone():
        assert desk.refresh() == 78
        assert "somebody else is publishing there now" in said(capsys)
        assert desk.release(desk.bundle("cans")) == 78
    assert same()
    assert desk.refresh() == 0


class Later:
    """The trainer's commands as they go on a later day."""

    def __init__(self, folder: Path) -> None:
        self.clock = WallClock(folder)

    def run(self, days: float, words: list[str]) -> subprocess.CompletedProcess[str]:
        self.clock.set_by(round(days * DAY_S))
        command = [sys.executable, "-m", "trainer", *words]
        environment = {**os.environ, **self.clock.environment}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.long
@needs_cc
def test_what_expires_is_told_in_time_and_what_has_expired_stops_everything(desk: Desk, tmp_path: Path) -> None:
    later = Later(tmp_path)
    verify, refresh = ["publish", "verify", *desk.at()], ["publish", "refresh", *desk.at(), *desk.keyed("online")]
    frozen = later.run(2, verify)
    assert frozen.returncode == 65
    assert "timestamp" in frozen.stderr
    assert desk.assign("--device", "line-1", "--release", FIRST) == 0
    with_site = [*refresh[:2], *desk.at(), *desk.keyed("online", "ulm")]
    assert later.run(2, with_site).returncode == 0
    assert desk.standing().version("assign-ulm") == 1, "not due yet"
    assert later.run(5, with_site).returncode == 0
    assert desk.standing().version("assign-ulm") == 2
    assert later.run(89, with_site).returncode == 0
    models = later.run(89.1, verify)
    assert models.returncode == 1
    assert "models expires in 0.9 days, then devices refuse it: `trainer keys renew models`" in " ".join(
        models.stderr.split()
    )
    assert "targets" not in models.stderr
    assert later.run(91, refresh).returncode == 0
    expired = later.run(91.1, verify)
    assert expired.returncode == 65
    assert "models is expired" in " ".join(expired.stderr.split())
    assert "ACT NOW" in expired.stdout
    assign = [
        "publish",
        "assign",
        "--site",
        "ulm",
        "--device",
        "line-1",
        "--release",
        FIRST,
        "--rollout",
        "r",
        "--ring",
    ]
    refused = later.run(91.1, [*assign, "lab", *desk.at(), *desk.keyed("ulm", "online")])
    assert refused.returncode == 78
    assert "has expired" in refused.stderr
    stopped = later.run(181, refresh)
    assert stopped.returncode == 65
    assert "targets 1 has expired" in " ".join(stopped.stderr.split())
    renewed = later.run(181, ["keys", "renew", "targets,root", *desk.at(), "--by", "A", "--out", str(tmp_path / "new")])
    assert renewed.returncode == 0, renewed.stderr
    files = desk.requests("new")
    for name in ("anna", "ben"):
        assert desk.sign(name, *files) == 0
    signed = [*map(str, files), *desk.at(), *desk.keyed("online")]
    too_late = later.run(181 + 366, ["publish", "signed", *signed])
    assert too_late.returncode == 78
    assert "before it was published" in " ".join(too_late.stderr.split())
    assert later.run(181, ["publish", "signed", *signed]).returncode == 0


def test_help_and_mistakes_need_no_torch(desk: Desk) -> None:
    words = "import sys; from trainer.__main__ import main; sys.exit(main(sys.argv[1:]) or 'torch' in sys.modules)"
    command = [sys.executable, "-c", words, "publish", "verify", *desk.at()]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_wrong_usage_is_told(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    assert trainer(["publish", "refresh", *desk.at()]) == 78
    assert "no key is named" in said(capsys)
    for words in (["keys", "site", "ulm", *desk.at(), "--by", "A", "--out", "x"], ["keys"], ["publish"]):
        with pytest.raises(SystemExit) as ended:
            trainer(words)
        assert ended.value.code == 2
