"""A publisher's desk: keys in files as people keep them, and the trainer's commands as people type them."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import cv2
import pytest

from appliance.__main__ import main as appliance
from tests.begun_once import begun_once
from tests.inspections import SIDE_PX, make_document, view_document
from tests.models import spot_picture, tiny_bundle
from tests.references import board, reference_section
from tests.update_device import Device
from tests.update_server import UpdateServer
from trainer.__main__ import main as trainer
from trainer.release.shelf import Shelf
from trainer.release.standing import Standing, stands

PASSPHRASE = "a long passphrase"
KEYS = {
    "anna": "person", "ben": "person", "carla": "person", "quentin": "quality", "quirin": "quality", "ci": "ci",
    "online": "online", "ulm": "online",
}  # fmt: skip


def said(capsys: pytest.CaptureFixture[str]) -> str:
    """What a command has complained of since this was asked last, on one line."""
    return " ".join(capsys.readouterr().err.split())


class ServedFolder(Mapping[str, bytes]):
    """A folder as an HTTP server's files: what lies there at the moment of a request."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __getitem__(self, path: str) -> bytes:
        try:
            return (self._folder / unquote(path)).read_bytes()
        except OSError as error:
            raise KeyError(path) from error

    def __iter__(self) -> Iterator[str]:
        return (str(path.relative_to(self._folder)) for path in self._folder.rglob("*") if path.is_file())

    def __len__(self) -> int:
        return len(list(iter(self)))


@dataclass
class Desk:
    """A folder with keys, and a repository at an address."""

    folder: Path
    address: str

    @property
    def root(self) -> Path:
        return self.folder / "root.json"

    def key(self, name: str) -> Path:
        return self.folder / f"{name}.key"

    def public(self, name: str) -> str:
        return f"{self.key(name)}.pub.json"

    def secret(self) -> list[str]:
        file = self.folder / "passphrase"
        file.write_text(f"{PASSPHRASE}\n")
        return ["--passphrase-file", str(file)]

    def at(self) -> list[str]:
        return ["--repository", self.address, "--root", str(self.root)]

    def keyed(self, *names: str) -> list[str]:
        return [*(word for name in names for word in ("--key", str(self.key(name)))), *self.secret()]

    def new_key(self, name: str, part: str) -> int:
        words = ["--holder", name.capitalize(), "--part", part, "--out", str(self.key(name))]
        return trainer(["keys", "new", *words, *self.secret()])

    def make_keys(self, keys: Mapping[str, str] = KEYS) -> None:
        for name, part in keys.items():
            assert self.new_key(name, part) == 0

    def ceremony_words(self, **changes: str) -> list[str]:
        named = {
            "root": "anna,ben,carla", "ci": "ci", "quality": "quentin,quirin", "online": "online", **changes,
        }  # fmt: skip
        words = [f"--site=ulm={self.public('ulm')}", "--by", "Anna", "--out", str(self.folder / "ceremony")]
        for option, names in named.items():
            words += [f"--{option}", ",".join(self.public(name) for name in names.split(","))]
        return ["keys", "ceremony", *words]

    def sign(self, name: str, *files: Path) -> int:
        return trainer(["keys", "sign", *map(str, files), "--key", str(self.key(name)), *self.secret()])

    def publish_signed(self, files: Sequence[Path], *names: str) -> int:
        return trainer(["publish", "signed", *map(str, files), *self.at(), *self.keyed(*(names or ("online",)))])

    def begin(self, *, has_recipes: bool = True) -> None:
        """Make a repository whose root and targets are signed by two of three, with one site.

        has_recipes: False for one that was signed before there was such a role.
        """
        self.make_keys()
        assert trainer(self.ceremony_words()) == 0
        files = self.requests("ceremony")
        if not has_recipes:
            request = json.loads(files[1].read_text())
            delegations = request["metadata"]["signed"]["delegations"]
            delegations["roles"] = [role for role in delegations["roles"] if role["name"] != "recipes"]
            files[1].write_text(json.dumps(request))
        for name in ("anna", "ben"):
            assert self.sign(name, *files) == 0
        assert self.publish_signed(files) == 0

    def requests(self, folder: str) -> list[Path]:
        return sorted((self.folder / folder).glob("*.json"))

    def bundle(self, name: str = "boards", **changes: object) -> Path:
        return tiny_bundle(self.folder / f"{name}.bundle", name=name, **changes)

    def recipe(self, version: int = 1, name: str = "board", **changes: object) -> Path:
        """A recipe with a reference picture, packed by the command that people use."""
        view = view_document(reference=reference_section(self.folder, board(side_px=SIDE_PX)))
        written = self.folder / f"{name}.yaml"
        document = make_document(view, name=name, version=version, **changes)
        written.write_text(json.dumps(document.data, indent=1))
        out = self.folder / f"{name}-{version}.recipe"
        assert appliance(["pack-recipe", str(written), "--out", str(out)]) == 0
        return out

    def release(self, file: Path, *words: str, keys: Sequence[str] = ("ci", "quentin", "online")) -> int:
        """Release a file; where a model's evaluation is not what is tested, say that there is none."""
        if file.suffix == ".bundle" and not {"--report", "--no-report", "--kind", "--name"} & set(words):
            words = (*words, "--no-report", "a test of something else")
        return self.release_as_typed(file, *words, keys=keys)

    def known_parts(self) -> Path:
        """Write one good and one bad part to judge a tiny bundle by; returns their folder."""
        data = self.folder / "judged"
        data.mkdir(exist_ok=True)
        for name, spots in (("bad", [(1, 1, 200)]), ("good", [])):
            cv2.imwrite(str(data / f"{name}.png"), spot_picture(64, 64, spots))
        images = [{"id": 1, "file_name": "bad.png"}, {"id": 2, "file_name": "good.png"}]
        boxes = [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [16, 16, 16, 16]}]
        document = {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "spot"}]}
        (data / "annotations.json").write_text(json.dumps(document))
        return data

    def evaluated(self, file: Path) -> tuple[str, str]:
        """Evaluate a bundle; returns its figures' file, and its page's."""
        figures, page = str(file.with_suffix(".report.json")), str(file.with_suffix(".report.html"))
        words = [
            "evaluate",
            "--bundle",
            str(file),
            "--data",
            str(self.known_parts()),
            "--json",
            figures,
            "--report",
            page,
        ]
        assert trainer(words) == 0
        return figures, page

    def release_as_typed(self, file: Path, *words: str, keys: Sequence[str] = ("ci", "quentin", "online")) -> int:
        return trainer(["publish", "release", str(file), "--by", "Anna", *self.at(), *self.keyed(*keys), *words])

    def assign(self, *words: str, site: str = "ulm", ring: str = "lab", keys: Sequence[str] = ("ulm", "online")) -> int:
        given = ["--site", site, "--ring", ring, "--rollout", "r1", *words]
        return trainer(["publish", "assign", *given, *self.at(), *self.keyed(*keys)])

    def refresh(self, *names: str) -> int:
        return trainer(["publish", "refresh", *self.at(), *self.keyed(*(names or ("online",)))])

    def verify(self, *words: str) -> int:
        return trainer(["publish", "verify", *self.at(), *words])

    def change(self, task: str, *words: str, folder: str) -> int:
        out = ["--by", "Anna", "--out", str(self.folder / folder)]
        return trainer(["keys", task, *words, *self.at(), *out])

    def standing(self) -> Standing:
        return stands(Shelf(self.address), self.root.read_bytes())

    def device(self, server: UpdateServer, name: str = "device") -> Device:
        """A device whose image has the first root."""
        return Device(self.folder / name, server, self.root.read_bytes())


def begin(folder: Path) -> Desk:
    """A desk whose keys are its own, and the repository that it has begun."""
    made = Desk(folder, str(folder / "updates"))
    made.begin()
    return made


def begun(folder: Path) -> Desk:
    """A desk after the ceremony, with a repository of its own and the keys of every other of this process."""
    begun_once(folder, begin)
    return Desk(folder, str(folder / "updates"))
