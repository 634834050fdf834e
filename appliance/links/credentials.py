"""Certificates and passwords of the link, read when they are needed, so that a renewed one is taken up."""

import ssl

from appliance.errors import ConfigError
from appliance.links.settings import MqttSettings


def tls_context(settings: MqttSettings) -> ssl.SSLContext | None:
    """Make the TLS context that the settings ask for; None without TLS.

    Raises:
        ConfigError: a certificate or key cannot be read.
    """
    tls = settings.tls
    if tls is None:
        return None
    try:
        context = ssl.create_default_context(cafile=str(tls.ca_file))
        if tls.cert_file is not None:
            context.load_cert_chain(str(tls.cert_file), str(tls.key_file) if tls.key_file else None)
    except OSError as error:
        names = ", ".join(str(path) for path in (tls.ca_file, tls.cert_file, tls.key_file) if path)
        raise ConfigError(f"tls: cannot use {names}: {error}; give PEM files that this user may read") from error
    return context


def read_password(settings: MqttSettings) -> str | None:
    """Read the password from its file; None if there is no file.

    Raises:
        ConfigError: the file cannot be read.
    """
    if settings.password_file is None:
        return None
    try:
        return settings.password_file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"password_file {settings.password_file}: {error}; let this user read it") from error
