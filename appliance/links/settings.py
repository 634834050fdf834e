"""How to reach the plant's broker: the part of the configuration file that a plant engineer fills in."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from appliance.bundle.section import LocatedPath, Section

Segment = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
"""One name in a topic or a client id: letters, digits, _ . - only."""


class TlsSettings(Section):
    """Certificates, PEM: ca_file vouches for the broker, cert_file and key_file for this device."""

    ca_file: LocatedPath
    cert_file: LocatedPath | None = None
    key_file: LocatedPath | None = None

    @model_validator(mode="after")
    def _a_key_has_its_certificate(self) -> "TlsSettings":
        if self.key_file is not None and self.cert_file is None:
            raise ValueError("key_file without cert_file does nothing; add cert_file, or delete key_file")
        return self


class MqttSettings(Section):
    """One broker and this station's place in the plant.

    consumers: who must acknowledge every record; while this is empty, the broker's own acknowledgement counts.
    protocol "auto": MQTT 5, and 3.1.1 with a warning where the broker refuses 5.
    """

    host: Annotated[str, Field(min_length=1, max_length=255)] = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = 1883
    enterprise: Segment
    site: Segment
    area: Segment
    line: Segment
    station: Segment
    device_id: Segment
    username: Annotated[str, Field(min_length=1, max_length=256)] | None = None
    password_file: LocatedPath | None = None
    tls: TlsSettings | None = None
    keepalive_s: Annotated[int, Field(ge=1, le=600)] = 5
    protocol: Literal["auto", "mqtt5", "mqtt311"] = "auto"
    consumers: list[Segment] = Field(default_factory=list)

    @model_validator(mode="after")
    def _a_password_has_its_user(self) -> "MqttSettings":
        if self.password_file is not None and self.username is None:
            raise ValueError("password_file without username does nothing; add username, or delete password_file")
        return self
