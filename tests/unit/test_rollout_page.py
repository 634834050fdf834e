"""The page of a rollout: opens offline, says what it waits for, and shows nobody's markup."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.fleet import NEW, FleetDesk


@pytest.fixture
def fleet(tmp_path: Path) -> FleetDesk:
    made = FleetDesk(tmp_path)
    assert made.start() == 0
    return made


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "rect"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag != "rect":
            assert self.open.pop() == tag


def page(fleet: FleetDesk) -> str:
    path = fleet.desk.folder / "rollout.html"
    assert fleet.run("status", "--html", str(path)) == 0
    text = path.read_text()
    tags = _Tags()
    tags.feed(text)
    assert not tags.open
    assert not tags.links, "nothing is asked of a network"
    return text


def test_the_page_says_what_the_rollout_waits_for(fleet: FleetDesk) -> None:
    text = page(fleet)
    assert "0 of 1 devices reached success, 1 must" in text
    assert NEW in text
    assert "Devices that did not make it" not in text


def test_the_page_names_who_failed_and_why_and_shows_a_devices_words_as_words(fleet: FleetDesk) -> None:
    fleet.say("lab-1", "rolled_back", reason="<script>alert(1)</script>")
    assert fleet.run("advance") == 1
    text = page(fleet)
    assert re.search(r"<td>lab-1</td><td>ulm / bench</td><td>lab</td><td>rolled back</td>", text)
    assert "&lt;script&gt;alert(1)" in text
    assert "<script>" not in text
    assert "1 device; 0 of them told that they are back" in text


def test_the_page_counts_refused_reports(fleet: FleetDesk) -> None:
    fleet.put("lab-1", b"{")
    assert fleet.run("advance") == 0
    assert "1 broken in all; none of them counts for anything" in page(fleet)


def test_the_table_of_the_command_tells_the_same(fleet: FleetDesk, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    fleet.put("lab-1", b"{")
    assert fleet.run("status") == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "r1: running" in told
    assert "refused: 1 reports" in told
    assert "waits for: Ring lab: 0 of 1 devices reached success, 1 must." in told
