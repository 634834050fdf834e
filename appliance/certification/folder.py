"""The folder of this device's certificates: one file each, written whole, and believed only as it was written."""

import logging
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from appliance.bundle import strict_json
from appliance.bundle.whole_file import write_whole
from appliance.certification.certificate import MAX_BYTES, Certificate, read_certificate
from appliance.errors import BundleFormatError, StorageError

log = logging.getLogger(__name__)

LOOKED_AT = 200
"""Certificates of one recipe and bundle, the newest, that may still be valid; older ones stay as evidence."""


class CertificateFolder:
    """Keeps certificates; none is ever removed here."""

    def __init__(self, folder: Path) -> None:
        """Name the folder; it is made when the first certificate is kept."""
        self._folder = folder

    def newest_first(self, recipe: str, bundle: str) -> list[Certificate]:
        """Return the certificates of a recipe and a bundle that are as they were written; the log names torn ones.

        Args:
            recipe: its name; a station's products share the folder.
            bundle: its name.

        Raises:
            StorageError: one is there and cannot be read.
        """
        theirs = (each for each in self._all() if (each.subject.recipe, each.subject.bundle) == (recipe, bundle))
        return list(islice(theirs, LOOKED_AT))

    def _all(self) -> Iterator[Certificate]:
        """Read them, the newest first."""
        for path in sorted(self._folder.glob("*.json"), key=lambda path: path.name, reverse=True):
            if certificate := self._read(path):
                yield certificate

    def engines_of_the_newest(self) -> set[str]:
        """Return the keys of the engines that the newest certificate of each recipe and bundle names.

        Raises:
            StorageError: a certificate is there and cannot be read.
        """
        newest: dict[tuple[str, str], str | None] = {}
        for each in self._all():
            newest.setdefault((each.subject.recipe, each.subject.bundle), each.means.engine_key)
        return {key for key in newest.values() if key is not None}

    def keep(self, certificate: Certificate) -> Path:
        """Write a certificate down; return where.

        Raises:
            StorageError: the disk is full or refuses.
        """
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(
                f"{self._folder} cannot be made: {error.strerror}; name another folder in proof.certificates"
            ) from error
        path = self.path_of(certificate)
        write_whole(path, strict_json.dump(certificate))
        return path

    def path_of(self, certificate: Certificate) -> Path:
        """Return where a certificate lies: by time, then by id."""
        moment = certificate.proved_at.translate(str.maketrans("", "", "-:."))
        return self._folder / f"{moment}-{certificate.id[:16]}.json"

    def _read(self, path: Path) -> Certificate | None:
        try:
            with path.open("rb") as file:
                data = file.read(MAX_BYTES + 1)
        except OSError as error:
            raise StorageError(f"{path}: {error.strerror}; check this user's rights there") from error
        try:
            return read_certificate(data, str(path))
        except BundleFormatError as error:
            log.warning("%s is not as it was written and proves nothing: %s", path, error)
            return None
