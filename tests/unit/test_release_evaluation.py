"""A model is released with its own evaluation, or with a reason that everybody can read."""

import json
from pathlib import Path

import pytest
from securesystemslib.signer import Signer

from tests.release_desk import Desk, ServedFolder, begun
from tests.update_server import UpdateServer
from trainer.__main__ import main as trainer
from trainer.release.ceremony import Said
from trainer.release.keys import open_signer
from trainer.release.passphrases import Secrets
from trainer.release.publication import Change, publish
from trainer.release.releases import Release, bring
from trainer.release.request import read_request, write_request
from trainer.release.shelf import Shelf

FIRST = "models/boards/boards-1.bundle"


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return begun(tmp_path)


def keys(desk: Desk, *names: str) -> list[Signer]:
    return [open_signer(str(desk.key(name)), Secrets((desk.folder / "passphrase",))) for name in names]


def said(capsys: pytest.CaptureFixture[str]) -> str:
    told = capsys.readouterr()
    return " ".join((told.out + told.err).replace("│", " ").split())


def test_a_model_without_its_evaluation_is_not_released_and_the_message_says_how_to_make_one(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = desk.bundle()
    _, page = desk.evaluated(bundle)
    for words in ([], ["--report", page]):
        assert desk.release_as_typed(bundle, *words) == 78
        how = f"`trainer evaluate --bundle {bundle} --data DIR --list FILE --json report.json`"
        assert how in said(capsys).replace("\n", " ")
    assert not desk.standing().releases("model")


def test_the_evaluation_of_another_bundle_is_refused(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    figures, _ = desk.evaluated(desk.bundle())
    other = desk.bundle("boards", revision=2)
    assert desk.release_as_typed(other, "--report", figures) == 78
    assert "is of a bundle with sha256" in said(capsys)
    assert not desk.standing().releases("model")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{}", "no figures of a bundle"),
        ("[]", "no figures of a bundle"),
        ("[" * 100_000, "no figures of a bundle"),
        ("not JSON", "no figures of a bundle"),
        ('{"bundle_digest": "SHA"}', "no figures of a bundle"),
        ('{"bundle_digest": "SHA", "pictures": 0}', "no figures of a bundle"),
        (None, "cannot be read"),
    ],
)
def test_what_is_no_evaluation_is_refused(
    desk: Desk, content: str | None, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = desk.bundle()
    figures = Path(desk.evaluated(bundle)[0])
    digest = json.loads(figures.read_text())["bundle_digest"]
    figures.unlink()
    if content is not None:
        figures.write_text(content.replace("SHA", digest))
    assert desk.release_as_typed(bundle, "--report", str(figures)) == 78
    assert words in said(capsys)


def test_a_page_of_another_bundle_is_refused_beside_the_right_figures(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    page = Path(desk.evaluated(desk.bundle(revision=2))[1]).rename(desk.folder / "other.html")
    bundle = desk.bundle()
    figures, _ = desk.evaluated(bundle)
    assert desk.release_as_typed(bundle, "--report", figures, "--report", str(page)) == 78
    assert "other.html: is no page of" in said(capsys)


def test_a_reason_is_signed_shown_to_who_signs_and_told_by_verify(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    why = "evaluated at the customer's, whose pictures stay there"
    request = desk.folder / "boards.json"
    words = ["--no-report", why, "--request", str(request)]
    assert desk.release_as_typed(desk.bundle(), *words, keys=("ci", "online")) == 0
    capsys.readouterr()
    assert desk.sign("quentin", request) == 0
    assert f"NO EVALUATION: {why}" in said(capsys)
    assert desk.publish_signed([request]) == 0
    capsys.readouterr()
    assert desk.verify("--json", str(desk.folder / "verified.json")) == 0
    assert f"{FIRST}: has no report of an evaluation ({why})" in said(capsys)
    assert json.loads((desk.folder / "verified.json").read_text())["without_report"] == {FIRST: why}
    assert desk.standing().releases("model")[FIRST].custom == {"kind": "model", "seq": 1, "no_report": why}
    with UpdateServer(ServedFolder(Path(desk.address))) as server:
        assert desk.device(server).download(FIRST) == (desk.folder / "boards.bundle").read_bytes()


def test_verify_is_silent_about_a_model_with_its_evaluation(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = desk.bundle()
    figures, page = desk.evaluated(bundle)
    assert desk.release_as_typed(bundle, "--report", figures, "--report", page) == 0
    capsys.readouterr()
    assert desk.verify() == 0
    assert "no report" not in said(capsys)


def test_verify_refuses_an_evaluation_that_was_signed_beside_another_bundle(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = Path(desk.evaluated(desk.bundle(revision=2))[0]).read_bytes()
    signed = read_request(brought(desk, {".report.json": figures})).as_metadata()
    publish(Shelf(desk.address), desk.standing(), Change(roles={"models": signed}), keys(desk, "online"))
    capsys.readouterr()
    assert desk.verify() == 65
    assert "boards-1.report.json is no evaluation of the bundle beside which it lies" in said(capsys)


def brought(desk: Desk, beside: dict[str, bytes], **marks: object) -> Path:
    """A request as another tool, or an older one, may make it; signed by all who must."""
    release = Release("model", "boards", ".bundle", desk.bundle().read_bytes(), beside, marks)
    request = desk.folder / "r.json"
    write_request(request, bring(Shelf(desk.address), desk.standing(), release, 1, Said("Eve", "by other means")))
    assert desk.sign("ci", request) == desk.sign("quentin", request) == 0
    return request


@pytest.mark.parametrize("marks", [{}, {"no_report": " "}, {"no_report": 1}])
def test_a_signed_model_without_evaluation_and_without_a_reason_is_not_published(
    desk: Desk, marks: dict[str, object], capsys: pytest.CaptureFixture[str]
) -> None:
    request = brought(desk, {}, **marks)
    capsys.readouterr()
    assert desk.publish_signed([request]) == 65
    told = said(capsys)
    assert f"{FIRST} is brought without the figures of its evaluation, and nobody signed why there are none" in told
    assert "--no-report WHY" in told
    assert not desk.standing().releases("model")


def test_who_signs_such_a_model_is_told(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    brought(desk, {})
    assert "NO EVALUATION: nobody says why" in said(capsys)


def test_a_signed_model_with_the_evaluation_of_another_bundle_is_not_published(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = Path(desk.evaluated(desk.bundle(revision=2))[0]).read_bytes()
    request = brought(desk, {".report.json": figures})
    capsys.readouterr()
    assert desk.publish_signed([request]) == 65
    assert f"{FIRST} has figures that are no evaluation of this bundle" in said(capsys)
    assert not desk.standing().releases("model")


@pytest.mark.parametrize("damage", ["gone", "altered"])
def test_a_signed_model_whose_evaluation_is_not_what_was_signed_is_not_published(
    desk: Desk, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = Path(desk.evaluated(desk.bundle())[0]).read_bytes()
    request = brought(desk, {".report.json": figures})
    (there,) = (Path(desk.address) / "targets").rglob("*.report.json")
    if damage == "gone":
        there.unlink()
    else:
        there.write_bytes(figures + b" ")
    capsys.readouterr()
    assert desk.publish_signed([request]) == 65
    assert "has figures that are missing or damaged there" in said(capsys)
    there.write_bytes(figures)
    assert desk.publish_signed([request]) == 0
    assert FIRST in desk.standing().releases("model")


def test_a_model_that_stands_without_evaluation_hinders_no_other(desk: Desk) -> None:
    """Whoever published it did so before figures were asked for."""
    request = brought(desk, {})
    signed = read_request(request).as_metadata()
    publish(Shelf(desk.address), desk.standing(), Change(roles={"models": signed}), keys(desk, "online"))
    assert desk.release(desk.bundle(revision=2), keys=("ci", "quentin", "online")) == 0
    later = desk.folder / "later.json"
    assert desk.release(desk.bundle(revision=3), "--request", str(later), keys=("ci",)) == 0
    assert desk.sign("quentin", later) == desk.publish_signed([later]) == 0
    assert len(desk.standing().releases("model")) > 2


def test_an_evaluation_that_refused_the_bundle_is_told_before_it_is_signed(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = desk.bundle()
    desk.evaluated(bundle)
    labels = desk.folder / "judged" / "annotations.json"
    labels.write_text(labels.read_text().replace("[16, 16, 16, 16]", "[40, 40, 16, 16]"))
    figures = desk.folder / "refused.json"
    words = ["evaluate", "--bundle", str(bundle), "--data", str(desk.folder / "judged"), "--json", str(figures)]
    assert trainer([*words, "--min-ap", "0.9"]) == 1
    capsys.readouterr()
    assert desk.release_as_typed(bundle, "--report", str(figures)) == 0
    assert "beware: " in (told := said(capsys))
    assert "the evaluation refused this bundle" in told


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--no-report", " "], "say in words why"),
        (["--no-report", "lost", "--report", "FIGURES"], "name none"),
        (["--report", "FIGURES", "--report", "FIGURES"], "is named already"),
    ],
)
def test_contradictory_words_are_refused(
    desk: Desk, words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = desk.bundle()
    figures, _ = desk.evaluated(bundle)
    assert desk.release_as_typed(bundle, *(figures if word == "FIGURES" else word for word in words)) == 78
    assert told in said(capsys)


def test_what_is_no_model_has_no_figures_and_needs_no_reason(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    figures, _ = desk.evaluated(desk.bundle())
    package = desk.recipe()
    assert desk.release_as_typed(package, "--report", figures) == 78
    assert "figures are of a model" in said(capsys)
    assert desk.release_as_typed(package, "--no-report", "none") == 78
    assert "leave it out" in said(capsys)
    assert desk.release_as_typed(package) == 0
