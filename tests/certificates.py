"""Certificates as a plant's authority would issue them, made with openssl."""

import getpass
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from appliance.links.settings import TlsSettings

AS_ME = f"user {getpass.getuser()}"
"""A mosquitto that root starts would become another user, who may not read a test's folder."""

needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="the openssl program is not installed")

NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


def make_certificates(folder: Path, names: Mapping[str, str], days: int = 2) -> Path:
    """Make NAME.crt and NAME.key for each common name, signed by its authority; returns the folder.

    days: for which the certificates are valid from now on; before 0 they have expired.
    """
    for authority in set(names.values()):
        key, cert = str(folder / f"{authority}.key"), str(folder / f"{authority}.crt")
        _openssl("req", "-x509", *NEW_KEY, "-days", "2", "-keyout", key, "-out", cert, "-subj", f"/CN={authority}")
    extensions = folder / "extensions"
    extensions.write_text("subjectAltName=IP:127.0.0.1\n")
    for name, authority in names.items():
        key, request, cert = (str(folder / f"{name}.{end}") for end in ("key", "csr", "crt"))
        _openssl("req", "-new", *NEW_KEY, "-keyout", key, "-out", request, "-subj", f"/CN={name}")
        signer = ("-CA", str(folder / f"{authority}.crt"), "-CAkey", str(folder / f"{authority}.key"))
        _openssl(
            "x509", "-req", "-in", request, *signer, "-CAcreateserial", "-days", str(days), "-out", cert,
            "-extfile", str(extensions),
        )  # fmt: skip
    return folder


def tls_of(folder: Path, name: str | None, authority: str = "ca") -> TlsSettings:
    """The settings of who bears this name."""
    return TlsSettings(
        ca_file=folder / f"{authority}.crt",
        cert_file=folder / f"{name}.crt" if name else None,
        key_file=folder / f"{name}.key" if name else None,
    )


def _openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)
