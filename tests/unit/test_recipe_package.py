"""A recipe and its pictures as one file: what went in comes out, and whatever is not one is refused in words."""

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.__main__ import main
from appliance.bundle.container import pack, unpack
from appliance.bundle.recipe_package import MANIFEST, RECIPE, read_recipe_package, write_recipe_package
from appliance.errors import BundleError, ConfigError
from appliance.recipe import load_recipe
from tests.inspections import make_document, make_manifest, view_document
from tests.references import board, reference_section

SIDE_PX = 320


def recipe_file(folder: Path, pictures: int = 2, version: int = 3) -> Path:
    boards = [board(number) for number in range(pictures)]
    view = view_document(width_px=SIDE_PX, height_px=SIDE_PX, reference=reference_section(folder, *boards))
    path = folder / "board.yaml"
    path.write_text(json.dumps(make_document(view).data | {"version": version}, indent=1))
    return path


def packed(folder: Path) -> Path:
    out = folder / "elsewhere" / "board-3.recipe"
    out.parent.mkdir()
    assert main(["pack-recipe", str(recipe_file(folder)), "--out", str(out)]) == 0
    return out


@given(
    recipe=st.binary(max_size=200), pictures=st.sets(st.binary(max_size=50), max_size=5), version=st.integers(1, 10**6)
)
def test_what_went_into_a_package_comes_out(recipe: bytes, pictures: set[bytes], version: int) -> None:
    data = write_recipe_package("board", version, recipe, pictures)
    found = read_recipe_package(data)
    assert (found.recipe, set(found.pictures.values()), found.manifest.version) == (recipe, pictures, version)
    assert found.digest == hashlib.sha256(data).hexdigest()
    assert data == write_recipe_package("board", version, recipe, sorted(pictures))


@given(st.data())
def test_a_changed_byte_is_noticed(data: st.DataObject) -> None:
    content = bytearray(write_recipe_package("board", 1, b"schema: vi.recipe/1", [b"one", b"two"]))
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(BundleError, match=r"; get the file again|; pack it again"):
        read_recipe_package(bytes(content))


@pytest.mark.parametrize("take", [MANIFEST, RECIPE, "pictures/"])
def test_a_package_without_one_of_its_files_is_refused(take: str) -> None:
    files = unpack(write_recipe_package("board", 1, b"schema: vi.recipe/1", [b"one"]), "x")
    del files[next(name for name in files if name.startswith(take))]
    with pytest.raises(BundleError, match="get the file again"):
        read_recipe_package(pack(files))


def test_a_packed_recipe_is_the_recipe_wherever_it_lies(tmp_path: Path) -> None:
    package = packed(tmp_path)
    (tmp_path / "board.yaml").unlink()
    for picture in tmp_path.glob("*.png"):
        picture.unlink()
    recipe, document = load_recipe(package)
    shape = {"width": SIDE_PX, "height": SIDE_PX, "channels": 2, "fit": "exact", "pad_value": 114}
    bound = recipe.bind(make_manifest(geometry=shape), document)
    assert (bound.name, bound.version, len(bound.references["top"])) == (recipe.name, 3, 2)
    assert bound.digest == hashlib.sha256(package.read_bytes()).hexdigest()


def test_a_package_that_calls_its_recipe_otherwise_is_refused(tmp_path: Path) -> None:
    recipe = recipe_file(tmp_path, pictures=1).read_bytes()
    path = tmp_path / "other.recipe"
    path.write_bytes(write_recipe_package("other", 3, recipe, [(tmp_path / "good_0.png").read_bytes()]))
    with pytest.raises(ConfigError, match="other version 3; pack the recipe again"):
        load_recipe(path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("lost picture", "cannot be read"),
        ("other picture", "has the SHA-256"),
        ("bad recipe", "deadline_ms"),
        ("package", "is made of a YAML file"),
        ("ending", "ends in .recipe"),
        ("other bundle", "the model does not compare"),
    ],
)
def test_what_cannot_be_packed_is_refused_in_words(
    change: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe, out, more = recipe_file(tmp_path), tmp_path / "board-3.recipe", list[str]()
    picture = next(tmp_path.glob("*.png"))
    if change == "lost picture":
        picture.unlink()
    elif change == "other picture":
        picture.write_bytes(b"another")
    elif change == "bad recipe":
        recipe.write_text(recipe.read_text().replace('"deadline_ms"', '"dead_line_ms"'))
    elif change == "package":
        recipe = recipe.rename(tmp_path / "board.recipe")
    elif change == "ending":
        out = tmp_path / "board-3.zip"
    else:
        more = ["--bundle", "appliance/bundles/demo.bundle"]
    assert main(["pack-recipe", str(recipe), "--out", str(out), *more]) in (65, 78)
    assert words in capsys.readouterr().err
    assert not out.exists()
