"""Keys on a PKCS#11 token: SoftHSM, which behaves as a hardware token does."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.release_desk import PASSPHRASE, Desk, ServedFolder
from tests.update_server import UpdateServer
from trainer.__main__ import main as trainer

LIBRARIES = [
    Path(folder) / "softhsm" / "libsofthsm2.so"
    for folder in ("/usr/lib", "/usr/lib64", "/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu")
]
LIBRARY = next((path for path in LIBRARIES if path.exists()), None)
pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(
        LIBRARY is None or shutil.which("softhsm2-util") is None, reason="SoftHSM is not installed (package softhsm2)"
    ),
]
PIN = "987654"


class Token:
    """A token of its own; commands that use it run in processes of their own, as its library is loaded once."""

    def __init__(self, folder: Path, desk: Desk) -> None:
        self.desk = desk
        (folder / "tokens").mkdir()
        config = folder / "softhsm2.conf"
        config.write_text(f"directories.tokendir = {folder / 'tokens'}\n")
        self.environment = {**os.environ, "SOFTHSM2_CONF": str(config), "PYKCS11LIB": str(LIBRARY)}
        words = ["--init-token", "--free", "--label", "Anna B", "--so-pin", "123456", "--pin", PIN]
        subprocess.run(["softhsm2-util", *words], env=self.environment, check=True, capture_output=True)
        self.pin = folder / "pin"
        self.pin.write_text(f"{PIN}\n")

    def trainer(self, *words: str, pin: str = PIN) -> subprocess.CompletedProcess[str]:
        self.pin.write_text(f"{pin}\n")
        command = [sys.executable, "-m", "trainer", *words, "--pin-file", str(self.pin)]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)

    def make(self, name: str, *words: str) -> subprocess.CompletedProcess[str]:
        told = ["--holder", name.capitalize(), "--part", "person", "--out", str(self.desk.key(name)), *words]
        return self.trainer("keys", "new", *told)


@pytest.fixture
def token(tmp_path: Path) -> Token:
    desk = Desk(tmp_path, str(tmp_path / "updates"))
    desk.make_keys()
    return Token(tmp_path, desk)


def test_a_token_signs_the_root_and_its_key_never_leaves_it(token: Token) -> None:
    desk = token.desk
    made = token.make("tina", "--token", "Anna B")
    assert made.returncode == 0, made.stderr
    assert "made there" in made.stdout
    assert not desk.key("tina").exists()
    assert trainer(desk.ceremony_words(root="tina,ben,carla")) == 0
    files = desk.requests("ceremony")
    assert desk.sign("ben", *files) == 0
    address = re.search(r"hsm:\S+\?label=[^:\s]+", made.stdout)
    assert address
    signed = token.trainer("keys", "sign", *map(str, files), "--key", address[0])
    assert signed.returncode == 0, signed.stderr
    assert "all signatures are there" in signed.stdout
    assert desk.publish_signed(files) == 0
    with UpdateServer(ServedFolder(Path(desk.address))) as server:
        assert desk.device(server).repository.refresh().root == 1
    assert PASSPHRASE not in files[0].read_text()


def test_a_key_that_is_on_a_token_is_taken_as_it_is(token: Token) -> None:
    assert token.make("tina", "--token", "Anna B", "--number", "7").returncode == 0
    again = token.make("tim", "--token", "Anna B", "--number", "7")
    assert "was there already" in again.stdout
    keys = [re.search(r'"keyid": "(\w+)"', Path(token.desk.public(name)).read_text()) for name in ("tina", "tim")]
    assert keys[0] and keys[1] and keys[0][1] == keys[1][1]


@pytest.mark.parametrize(
    ("address", "pin", "words"),
    [
        ("hsm:2?label=Anna%20B", "111111", "PinIncorrect"),
        ("hsm:9?label=Anna%20B", PIN, "could not find ECDSA key"),
        ("hsm:2?label=Other", PIN, "No PKCS#11 token found"),
        ("hsm:two", PIN, "no address of a token's key"),
    ],
)
def test_what_a_token_refuses_is_said_in_words(token: Token, address: str, pin: str, words: str) -> None:
    assert token.make("tina", "--token", "Anna B").returncode == 0
    assert trainer(token.desk.ceremony_words(root="tina,ben,carla")) == 0
    files = token.desk.requests("ceremony")
    before = files[0].read_bytes()
    refused = token.trainer("keys", "sign", str(files[0]), "--key", address, pin=pin)
    assert refused.returncode == 78, refused.stderr
    assert words in " ".join(refused.stderr.split())
    assert files[0].read_bytes() == before


def test_without_a_library_the_way_to_one_is_told(token: Token) -> None:
    del token.environment["PYKCS11LIB"]
    assert "PYKCS11LIB names no PKCS#11 library" in token.make("tina", "--token", "Anna B").stderr
    token.environment["PYKCS11LIB"] = str(token.pin)
    refused = token.make("tina", "--token", "Anna B")
    assert refused.returncode == 78
    assert "Traceback" not in refused.stderr
