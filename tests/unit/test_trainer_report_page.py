"""The page shows what a person must look at, opens without a network, and trusts no name that the data brings."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.models import tiny_bundle
from tests.tiny_deeppcb import write_tiny_deeppcb
from trainer.__main__ import main
from trainer.datasets.sample import Sample
from trainer.gallery import find_cases, sure_on_good
from trainer.metrics import Judged, Matched
from trainer.page import Page, cut_out

NAMES = ("open", "short")
LIMITS = np.array([0.5, 0.5])


def judged(found: list[tuple[int, float, int]], truth: list[tuple[int, int]]) -> Judged:
    """Squares on a line: (place, score, label) found, (place, label) true."""
    return Judged(
        np.array([(100 * at, 0, 100 * at + 20, 20) for at, _, _ in found], np.float32).reshape(-1, 4),
        np.array([score for _, score, _ in found], np.float32),
        np.array([label for _, _, label in found], np.int64),
        np.array([(100 * at, 0, 100 * at + 20, 20) for at, _ in truth], np.float32).reshape(-1, 4),
        np.array([label for _, label in truth], np.int64),
    )


def test_each_case_has_its_heading_and_the_worst_comes_first() -> None:
    parts = [
        judged([(0, 0.9, 0), (1, 0.4, 1), (2, 0.8, 0), (3, 0.95, 1)], [(0, 0), (1, 1), (2, 1)]),
        judged([(0, 0.7, 0)], []),
        judged([], [(0, 0)]),
    ]
    found = find_cases(parts, NAMES, LIMITS)
    words = {heading: [(case.picture, case.words) for case in cases] for heading, cases in found.items()}
    assert words == {
        "Missed": [(2, "open, best score 0.00"), (0, "short, best score 0.40")],
        "Seen where nothing is": [(0, "short 0.95"), (1, "open 0.70")],
        "Taken for another kind": [(0, "short, taken for open 0.80")],
        "Labels to look at again": [(0, "short 0.95"), (2, "open, nothing is seen there")],
    }


def test_a_label_that_something_overlaps_is_not_told_to_show_nothing() -> None:
    loose = replace(judged([(0, 0.95, 0)], [(0, 0)]), true_boxes=np.array([[0, 0, 40, 20]], np.float32))
    aside = replace(loose, boxes=loose.boxes + np.array([28, 0, 28, 0], np.float32))  # IoU below 0.33
    cases = find_cases([aside], NAMES, LIMITS)
    assert [case.words for case in cases["Missed"]] == ["open, best score 0.00"]
    assert [case.words for case in cases["Labels to look at again"]] == ["open 0.95"]


def test_labels_that_contradict_what_is_surely_seen_are_to_be_looked_at_again() -> None:
    parts = [
        judged([(0, 0.97, 0)], []),
        judged([(0, 0.95, 1), (1, 0.8, 1)], [(0, 0), (1, 0)]),
        judged([(0, 0.02, 0)], [(0, 0)]),
    ]
    cases = find_cases(parts, NAMES, LIMITS)["Labels to look at again"]
    assert [(case.picture, case.words) for case in cases] == [
        (0, "open 0.97 on a good part"),
        (1, "open, taken for short 0.95"),
    ]


def test_a_limit_that_wrong_labels_pushed_up_hides_none_of_them() -> None:
    parts = [judged([(0, 0.97, 0)], []), judged([(0, 0.95, 0), (1, 0.8, 0)], []), judged([(0, 0.99, 0)], [(0, 0)])]
    cases = find_cases(parts, NAMES, np.array([0.98, 0.98]))
    assert {heading: [case.picture for case in of] for heading, of in cases.items()} == {
        "Labels to look at again": [0, 1]
    }
    other = find_cases([judged([(0, 0.95, 1)], [(0, 0)])], NAMES, np.array([0.98, 0.98]))
    assert [case.words for case in other["Labels to look at again"]] == ["open, taken for short 0.95"]
    assert [case.words for case in other["Missed"]] == ["open, best score 0.00"]
    samples = [
        Sample(Path(f"{n}.png"), np.zeros((0, 4), np.float32), np.zeros(0, np.int64), "a", True) for n in range(3)
    ]
    words = sure_on_good([*parts, judged([(0, 0.6, 0)], [])], [*samples, samples[0]])
    assert words.startswith("2 of 3 good parts have a detection with a score of 0.9 or more, the surest 0.png (0.970)")
    assert sure_on_good([judged([(0, 0.89, 0)], []), judged([], []), parts[2]], samples) == ""


def test_a_kind_that_is_surer_but_below_its_own_limit_does_not_hide_the_one_that_counts() -> None:
    part = judged([(0, 0.95, 1), (0, 0.8, 2)], [(0, 0)])
    cases = find_cases([part], (*NAMES, "spur"), np.array([0.5, 0.98, 0.5]))
    assert {heading: [case.words for case in of] for heading, of in cases.items()} == {
        "Taken for another kind": ["open, taken for spur 0.80"],
        "Labels to look at again": ["open, taken for short 0.95"],
    }


def test_two_defects_in_one_detection_are_one_that_is_found_and_one_that_is_missed() -> None:
    both = np.array([[0, 0, 20, 20], [0, 6, 20, 20]], np.float32)
    part = replace(judged([(0, 0.9, 0)], [(0, 0)]), true_boxes=both, true_labels=np.zeros(2, int))
    (case,) = find_cases([part], NAMES, LIMITS)["Missed"]
    assert (case.box, case.words) == ((0.0, 6.0, 20.0, 20.0), "open, lies with another in one detection")
    assert Matched.of([part]).hits(LIMITS)[0].tolist() == [True, False]


def test_a_defect_beside_one_of_another_kind_that_is_found_is_missed_and_not_taken_for_it() -> None:
    both = np.array([[0, 0, 20, 20], [0, 6, 20, 20]], np.float32)
    found = replace(judged([(0, 0.9, 1)], []), boxes=both[1:], true_boxes=both, true_labels=np.array([0, 1]))
    (case,) = find_cases([found], NAMES, LIMITS)["Missed"]
    assert (case.box, case.words) == ((0.0, 0.0, 20.0, 20.0), "open, best score 0.00")
    twice = replace(found, boxes=both, scores=np.array([0.8, 0.9], np.float32), labels=np.array([1, 1]))
    cases = find_cases([twice], NAMES, LIMITS)
    assert [case.words for case in cases["Taken for another kind"]] == ["open, taken for short 0.80"]
    assert "Missed" not in cases


def test_nothing_to_look_at_has_no_heading() -> None:
    assert find_cases([judged([(0, 0.9, 0)], [(0, 0)]), judged([], [])], NAMES, LIMITS) == {}


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))


def test_a_name_is_shown_and_never_obeyed() -> None:
    page = Page("<script>alert(1)</script>", "&")
    page.tables([("a",), ('"><img src=x>',)])
    page.pictures([(np.zeros((8, 8, 3), np.uint8), '" onload="x', "</style>")])
    tags = _Tags()
    tags.feed(page.html())
    assert [tag for tag, _ in tags.seen].count("img") == 1
    assert not [tag for tag, attributes in tags.seen if tag == "script" or "onload" in attributes]


def test_a_piece_is_cut_around_its_box_and_boxes_are_drawn_where_they_are() -> None:
    picture = np.full((100, 100, 1), 200, np.uint8)
    cut = cut_out(picture, (90, 90, 100, 100), [((90, 90, 100, 100), (255, 0, 0))])
    assert cut.shape == (220, 220, 3)
    red = np.argwhere((cut[:, :, 0].astype(int) - cut[:, :, 1]) > 100)
    scale = 220 / 64
    assert np.abs(red.min(axis=0) - 27 * scale).max() <= 2
    assert np.abs(red.max(axis=0) - 37 * scale).max() <= 2


@pytest.fixture
def spots(tmp_path: Path) -> Path:
    """Two pictures in COCO's layout, one with a spot that the tiny bundle does not see; the bundle lies beside them."""
    tiny_bundle(tmp_path / "tiny.bundle")
    folder = tmp_path / "coco"
    write_tiny_deeppcb(tmp_path / "pcb", {"a": 1})
    folder.mkdir()
    for name in ("test", "temp"):
        pixels = cv2.imread(str(tmp_path / "pcb" / "a" / "a" / f"0_{name}.jpg"), cv2.IMREAD_GRAYSCALE)
        cv2.imwrite(str(folder / f"{name}.png"), pixels)
    (folder / "annotations.json").write_text(
        '{"images": [{"id": 1, "file_name": "test.png", "camera": "left"}, {"id": 2, "file_name": "temp.png"}],'
        '"annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [40, 40, 16, 16]}],'
        '"categories": [{"id": 1, "name": "spot"}]}'
    )
    return folder


@pytest.mark.parametrize("command", [["evaluate", "--report"], ["report", "--out"]])
def test_an_evaluation_writes_a_page_that_opens_offline(
    spots: Path, tmp_path: Path, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    words = [command[0], "--bundle", str(tmp_path / "tiny.bundle"), "--data", str(spots)]
    assert main([*words, command[1], str(tmp_path / "page.html")]) == 0
    text = (tmp_path / "page.html").read_text()
    tags = _Tags()
    tags.feed(text)
    sources = [attributes["src"] or "" for tag, attributes in tags.seen if tag == "img"]
    assert len(sources) == 3  # missed, seen elsewhere, and a label where nothing is seen
    assert all(source.startswith("data:image/jpeg;base64,") for source in sources)
    assert not re.search(r"https?://", text)
    assert "Missed" in text
    assert "spot, best score 0.00" in text
    assert "escapes: bad parts accepted" in text
    assert re.search(r"<td>nothing is marked there</td>(<td[^>]*>0.00 %</td>)(<td[^>]*></td>)(<td[^>]*>1</td>)", text)
    said = capsys.readouterr().out
    assert "AP@0.33 is lost by: kind 0.0000, box 0.0000" in said
    assert "missed not known" in said  # nothing is found, so that nothing would be left
