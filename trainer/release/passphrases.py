"""Where passphrases and PINs come from: a file's first line, else the person at the terminal."""

from __future__ import annotations

import getpass
import sys
from dataclasses import dataclass
from pathlib import Path

from appliance.errors import ConfigError

MAX_BYTES = 64_000
LEAST_PASSPHRASE = 12


@dataclass(frozen=True, slots=True)
class Secrets:
    """Where passphrases and PINs come from: files, else the person at the terminal.

    A wrong PIN is never tried twice, because tokens lock themselves.
    """

    passphrases: tuple[Path, ...] = ()
    pin: Path | None = None

    def ask_pin(self, what: str) -> str:
        """Return the PIN of a token.

        Raises:
            ConfigError: Nobody can be asked, or the file cannot be read.
        """
        return _first_line(self.pin) if self.pin else _asked(what, "--pin-file")

    def candidates(self, what: str) -> list[bytes]:
        """Return the passphrases that may open a key's file.

        Raises:
            ConfigError: as for `ask_pin`.
        """
        told = [_first_line(path) for path in self.passphrases] or [_asked(what, "--passphrase-file")]
        return [text.encode() for text in told]

    def new_passphrase(self, what: str) -> bytes:
        """Return the passphrase of a new key; a person is asked twice.

        Raises:
            ConfigError: It is too short, the two differ, or as for `ask_pin`.
        """
        (chosen, *_) = self.candidates(what)
        if (length := len(chosen.decode())) < LEAST_PASSPHRASE:
            raise ConfigError(
                f"{what}: a passphrase of {length} characters is soon guessed; take at least {LEAST_PASSPHRASE}"
            )
        if not self.passphrases and self.candidates(f"{what}, once more") != [chosen]:
            raise ConfigError(f"{what}: the two passphrases differ; nothing was written, repeat the command")
        return chosen


def read_small(path: Path) -> bytes:
    """Read a file of at most MAX_BYTES.

    Raises:
        ConfigError: It cannot be read, or is too big.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}; check path and rights") from error
    if len(content) > MAX_BYTES:
        raise ConfigError(f"{path}: more than {MAX_BYTES} bytes, so no key; check the path")
    return content


def _first_line(path: Path) -> str:
    try:
        lines = read_small(path).decode().splitlines()
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text; write the passphrase or PIN there in one line") from error
    if not lines or not lines[0]:
        raise ConfigError(f"{path}: its first line is empty; write the passphrase or PIN there")
    return lines[0]


def _asked(what: str, option: str) -> str:
    if not sys.stdin.isatty():
        raise ConfigError(f"{what}: nobody is at the terminal to ask; name a file with {option}")
    try:
        return getpass.getpass(f"{what}: ")
    except EOFError as error:
        raise ConfigError(f"{what}: nothing was typed; repeat the command, or name a file with {option}") from error
