"""Masks with a palette, as Pascal VOC has them: the number of the colour is the class."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.masked import HEIGHT, WIDTH, imported, photo, refused

VOC = ((0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0))
BOXES = {"a": [("dent", (5, 10, 20, 10)), ("pit", (40, 2, 7, 9))]}


def numbers(*values: int) -> NDArray[np.uint8]:
    drawn = np.zeros((HEIGHT, WIDTH), np.uint8)
    drawn[10:20, 5:25], drawn[2:11, 40:47] = values
    return drawn


def write_palette(path: Path, drawn: NDArray[np.uint8], colours: tuple[tuple[int, ...], ...], bits: int = 8) -> Path:
    """Write a PNG whose pixels are numbers of colours, each in so many bits."""
    rows = np.packbits(np.unpackbits(drawn[:, :, None], axis=2)[:, :, 8 - bits :].reshape(len(drawn), -1), axis=1)
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", WIDTH, HEIGHT, bits, 3, 0, 0, 0)),
        (b"PLTE", bytes(value for colour in colours for value in colour)),
        (b"IDAT", zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))),
        (b"IEND", b""),
    )
    written = [struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
               for kind, data in chunks]  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(written))
    return path


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("colours", [VOC, ((0, 0, 0), (127, 127, 127), (255, 255, 255))])
def test_the_number_of_the_colour_is_the_class(tmp_path: Path, bits: int, colours: tuple[tuple[int, ...], ...]) -> None:
    photo(tmp_path / "set/images/a.jpg")
    write_palette(tmp_path / "set/masks/a.png", numbers(1, 2), colours, bits)
    assert imported(tmp_path / "set", "--classes", "dent,pit") == BOXES


def test_a_palette_of_class_numbers_is_taken_by_its_values(tmp_path: Path) -> None:
    photo(tmp_path / "set/images/a.jpg")
    write_palette(tmp_path / "set/masks/a.png", numbers(2, 1), ((0, 0, 0), (2, 2, 2), (1, 1, 1)))
    assert imported(tmp_path / "set", "--classes", "dent,pit") == BOXES


def test_a_number_without_a_class_and_palettes_that_disagree_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "set"
    for name in ("a", "b"):
        photo(source / f"images/{name}.jpg")
    first = write_palette(source / "masks/a.png", numbers(1, 3), VOC)
    second = write_palette(source / "masks/b.png", numbers(0, 1), (VOC[0], VOC[2]))
    assert "a.png: has the value 3, --classes names" in refused(capsys, source, "masks", "--classes", "dent,pit")
    told = refused(capsys, source, "masks", "--classes", "dent,pit,crack")
    assert f"{second}: the number 1 of its palette has another colour than in {first}" in told
    found = imported(source, "--classes", "dent")  # of one class no number matters
    assert [len(found[name]) for name in ("a", "b")] == [2, 1]
