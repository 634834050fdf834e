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
    what = f"ca_file {tls.ca_file}"
    try:
        context = ssl.create_default_context(cafile=str(tls.ca_file))
        if tls.cert_file is not None:
            key_file = tls.key_file or tls.cert_file
            what = f"cert_file {tls.cert_file} with its key in {key_file}"
            context.load_cert_chain(tls.cert_file, key_file, password="")  # never asked for at the terminal
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"mqtt.tls: cannot use {what}: {error}; give PEM files that this user may read, the key without a password"
        ) from error
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
        raise ConfigError(
            f"mqtt.password_file {settings.password_file}: {error}; let this user read it, one line in UTF-8"
        ) from error
