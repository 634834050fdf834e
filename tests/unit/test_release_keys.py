"""Keys in files, signatures that are collected, and the rules for who signs what."""

import contextlib
import json
import os
import pty
import re
import stat
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import ConfigError
from tests.release_desk import PASSPHRASE, Desk, said
from trainer.__main__ import main as trainer
from trainer.release.keys import fingerprint, read_public
from trainer.release.request import contents, read_request


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    made = Desk(tmp_path, str(tmp_path / "updates"))
    made.make_keys()
    return made


@pytest.fixture
def waiting(desk: Desk) -> list[Path]:
    """Root and targets, not signed yet."""
    assert trainer(desk.ceremony_words()) == 0
    return desk.requests("ceremony")


def test_a_key_lies_encrypted_for_its_owner_alone_and_is_never_written_over(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    key = desk.key("anna")
    content = key.read_bytes()
    assert content.startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----")
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert desk.new_key("anna", "person") == 78
    assert "never written over" in said(capsys)
    assert key.read_bytes() == content
    public = json.loads(Path(desk.public("anna")).read_text())
    assert (public["holder"], public["part"]) == ("Anna", "person")
    assert PASSPHRASE not in json.dumps(public)


def at_a_terminal(words: list[str], *answers: bytes) -> tuple[bytes, int]:
    """Run a command at a terminal, type an answer at each question; returns what it said after them, and its code."""
    child, terminal = pty.fork()
    if child == 0:
        os.execv(sys.executable, [sys.executable, "-m", "trainer", *words])
    told = b""
    for answer in answers:
        while not told.endswith(b": "):
            told += os.read(terminal, 1000)
        told = b""
        os.write(terminal, answer)
    with contextlib.suppress(OSError):  # the other side has closed the terminal
        while content := os.read(terminal, 1000):
            told += content
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os.close(terminal)
    return told, code


@pytest.mark.parametrize(("second", "is_made"), [(PASSPHRASE, True), ("mistyped passphrase", False)])
def test_a_person_at_the_terminal_is_asked_twice(desk: Desk, second: str, is_made: bool) -> None:
    words = ["keys", "new", "--holder", "Dora", "--part", "person", "--out", str(desk.key("dora"))]
    told, code = at_a_terminal(words, *(f"{answer}\n".encode() for answer in (PASSPHRASE, second)))
    assert PASSPHRASE.encode() not in told
    assert (code, desk.key("dora").exists()) == ((0, True) if is_made else (78, False)), told


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("short\n", "soon guessed"),
        ("\xc3\xa4\xc3\xb6\xc3\xbc\xc3\xa4\xc3\xb6\xc3\xbc\n", "of 6 characters is soon guessed"),
        ("\n", "first line is empty"),
        (None, "No such file"),
        ("\xff", "not UTF-8"),
    ],
)
def test_a_passphrase_that_is_none_makes_no_key(
    desk: Desk, content: str | None, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = desk.folder / "chosen"
    if content is not None:
        file.write_bytes(content.encode("latin-1"))
    options = ["--holder", "Dora", "--part", "person", "--out", str(desk.key("dora")), "--passphrase-file", str(file)]
    assert trainer(["keys", "new", *options]) == 78
    assert words in said(capsys)
    assert not desk.key("dora").exists()


def test_a_wrong_passphrase_signs_nothing(desk: Desk, waiting: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    before = [path.read_bytes() for path in waiting]
    wrong = desk.folder / "wrong"
    wrong.write_text("another long passphrase\n")
    words = ["--key", str(desk.key("anna")), "--passphrase-file", str(wrong)]
    assert trainer(["keys", "sign", *map(str, waiting), *words]) == 78
    assert "the passphrase is wrong" in said(capsys)
    assert [path.read_bytes() for path in waiting] == before


def test_a_key_that_has_no_part_in_a_role_signs_nothing(
    desk: Desk, waiting: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    before = [path.read_bytes() for path in waiting]
    assert desk.sign("quentin", *waiting) == 78
    assert "has no part in root 1; that is signed by Anna, Ben, Carla" in said(capsys)
    assert [path.read_bytes() for path in waiting] == before


def test_who_signs_is_shown_all_of_it_and_what_each_key_may_do(
    desk: Desk, waiting: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """Who signs the list of keys vouches for the quality role; what is not shown would be signed unseen."""
    request = json.loads(waiting[1].read_text())
    target = {"length": 1, "hashes": {"sha256": "0" * 64}}
    request["metadata"]["signed"]["targets"] = {f"models/m/m-{seq}.bundle": target for seq in range(30)}
    request["why"] = "A \x1b[2A\x1b[K word."
    waiting[1].write_text(json.dumps(request))
    capsys.readouterr()
    assert desk.sign("anna", waiting[1]) == 0
    shown = " ".join(re.sub("[│┃\n]", " ", capsys.readouterr().out).split())
    for name, part in (("quentin", "quality"), ("ci", "ci"), ("ulm", "online")):
        keyid = read_public(Path(desk.public(name))).keyid
        assert f"{name.capitalize()}, {part} ({fingerprint(keyid)})".lower() in shown.lower()
    assert all(f"models/m/m-{seq}.bundle" in shown for seq in range(30))
    assert "\x1b" not in shown


@pytest.mark.parametrize("by", ["", "A" * 101, "Anna\nBen"])
def test_who_asks_has_a_name(desk: Desk, by: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert trainer([*desk.ceremony_words(), "--by", by]) == 78
    assert "no name; write up to 100 characters" in said(capsys)
    assert not (desk.folder / "ceremony").exists()


def test_a_terminal_that_is_closed_is_told_in_words(desk: Desk) -> None:
    words = ["keys", "new", "--holder", "Dora", "--part", "person", "--out", str(desk.key("dora"))]
    told, code = at_a_terminal(words, b"\x04")
    assert b"nothing was typed" in told
    assert b"Traceback" not in told
    assert (code, desk.key("dora").exists()) == (78, False)


@pytest.mark.parametrize("name", ["anna.key.pub.json", "passphrase", "gone"])
def test_what_is_no_private_key_is_refused(
    desk: Desk, waiting: list[Path], name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    desk.secret()
    assert trainer(["keys", "sign", str(waiting[0]), "--key", str(desk.folder / name), *desk.secret()]) == 78
    assert re.search("no private key|cannot be read", said(capsys))


def test_signatures_on_copies_are_collected(desk: Desk, waiting: list[Path]) -> None:
    copies = []
    for name in ("ben", "carla"):
        for path in waiting:
            copy = desk.folder / name / path.name
            copy.parent.mkdir(exist_ok=True)
            copy.write_bytes(path.read_bytes())
            copies.append(copy)
        assert desk.sign(name, *copies[-2:]) == 0
    assert desk.publish_signed(copies[:2]) == 78
    assert desk.publish_signed(copies) == 0
    assert desk.verify() == 0


def test_two_requests_that_say_different_things_are_not_taken_for_copies(
    desk: Desk, waiting: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert trainer([*desk.ceremony_words(), "--out", str(desk.folder / "again"), "--ci", desk.public("anna")]) == 0
    assert desk.publish_signed([*waiting, *desk.requests("again")]) == 78
    assert "two different files want to be targets 1" in said(capsys)


def test_a_request_that_was_altered_on_its_way_back_is_not_published(
    desk: Desk, waiting: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("anna", "ben"):
        assert desk.sign(name, *waiting) == 0
    request = json.loads(waiting[1].read_text())
    request["metadata"]["signed"]["delegations"]["roles"][0]["threshold"] = 1
    waiting[1].write_text(json.dumps(request))
    assert desk.publish_signed(waiting) == 78
    assert "2 more of Anna, Ben, Carla" in said(capsys)


def test_a_request_that_asks_for_less_than_the_root_does_is_not_published(
    desk: Desk, waiting: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """What a request says of its own needs is for people; what counts is what the root says."""
    assert desk.sign("anna", *waiting) == 0
    assert desk.sign("ben", waiting[0]) == 0
    request = json.loads(waiting[1].read_text())
    request["needs"][0]["threshold"] = 1
    waiting[1].write_text(json.dumps(request))
    assert desk.publish_signed(waiting) == 65
    assert "targets 1 is not signed by enough" in said(capsys)
    assert not (Path(desk.address) / "metadata").exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ci": "ci,ci2"}, "could release a model without it"),
        ({"quality": "anna"}, "could release a model without it"),
        ({"root": "anna"}, "name more keys"),
        ({"root": "anna,anna,ben"}, "2 of 2 keys must sign, and at least 2 of 3 are asked for"),
        ({"online": "anna"}, "is of part person, and snapshot takes online"),
        ({"root": "anna,ben,online", "targets": "anna,ben,carla"}, "is of part online, and root takes"),
        ({"targets": "ci,ben,anna"}, "is of part ci, and targets takes"),
    ],
)
def test_a_ceremony_with_keys_that_break_a_rule_is_refused(
    desk: Desk, changes: dict[str, str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert desk.new_key("ci2", "ci") == 0
    assert trainer(desk.ceremony_words(**changes)) == 65
    assert re.search(words, said(capsys))
    assert not (desk.folder / "ceremony").exists()


def test_one_key_under_two_names_is_one_key(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    public = json.loads(Path(desk.public("quentin")).read_text())
    public["keyid"] = "0" * 64
    Path(desk.public("quirin")).write_text(json.dumps(public))
    assert trainer(desk.ceremony_words()) == 78
    assert "its keyid is not that of its key" in said(capsys)


def test_a_second_ceremony_does_not_destroy_signatures(
    desk: Desk, waiting: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert desk.sign("anna", *waiting) == 0
    before = [path.read_bytes() for path in waiting]
    assert trainer(desk.ceremony_words()) == 78
    assert "perhaps with signatures" in said(capsys)
    assert [path.read_bytes() for path in waiting] == before


def test_the_record_names_who_when_which_keys_and_what(desk: Desk, waiting: list[Path]) -> None:
    assert desk.sign("anna", *waiting) == 0
    page = desk.folder / "record.html"
    assert trainer(["keys", "record", *map(str, waiting), "--by", "Anna", "--out", str(page)]) == 0
    text = page.read_text()
    request = read_request(waiting[0])
    for name in ("anna", "ben", "carla"):
        public = read_public(Path(desk.public(name)))
        assert public.holder in text
        assert public.keyid in text
    assert f"{read_public(Path(desk.public('anna'))).keyid[:4]} " in text
    assert next(iter(request.signed_at.values())) in text
    assert "not yet" in text
    assert "still needed: 1 more of Ben, Carla" in text
    assert "SHA-256 of what is signed" in text
    assert "____" in text
    assert not re.search(r"https?://", text), "it opens and prints without a network"


REQUEST = {
    "schema": "vi.signing-request/1", "role": "targets", "base": 0, "why": "w", "made_by": "a", "made_at": "t",
    "needs": [{"by": "root 1", "threshold": 1, "keyids": []}], "keys": {}, "signed_at": {},
    "metadata": {"signatures": [], "signed": {
        "_type": "targets", "spec_version": "1.0.31", "version": 1, "expires": "2030-01-01T00:00:00Z", "targets": {}}},
}  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(key=st.sampled_from(sorted(REQUEST)), value=JSON, inside=st.sampled_from(["", "signed", "signatures", "custom"]))
def test_any_file_is_a_request_or_refused_in_words(
    tmp_path_factory: pytest.TempPathFactory, key: str, value: object, inside: str
) -> None:
    content = json.loads(json.dumps(REQUEST))
    if inside == "custom":
        target = {"length": 1, "hashes": {"sha256": "0" * 64}}
        content["metadata"]["signed"]["targets"] = {
            "a": {**target, "custom": value},
            "b": {**target, "custom": {"seq": 1}},
        }
    elif inside:
        content["metadata"][inside] = value
    else:
        content[key] = value
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_text(json.dumps(content))
    try:
        request = read_request(path)
        assert list(contents(request))
        request.lacks()
    except ConfigError as error:
        assert "no signing request" in str(error)


@given(content=st.binary(max_size=50) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_file_is_a_public_key_or_refused_in_words(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.pub.json"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="no public key"):
        read_public(path)
