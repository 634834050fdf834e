"""A refusal: why this device gave a bundle no certificate, for programs; people read the same on the screen."""

from collections.abc import Sequence
from typing import Annotated, Final, Literal

from pydantic import Field

from appliance import __version__
from appliance.bundle.archive import Bundle
from appliance.bundle.manifest import Digest
from appliance.bundle.section import Section
from appliance.certification.certificate import Computed
from appliance.errors import ApplianceError, exit_code
from appliance.wire import Utc

SCHEMA: Final = "vi.refusal/1"


class Refusal(Section):
    """The whole file, in the place of a certificate.

    product: of several; empty where the configuration has one only.
    bundle, bundle_revision, bundle_digest: null where no bundle could be read.
    precision: what was computed with when it was refused; null where it did not come to that.
    reason: in words, what to do included. differences: each one of them, where the reason names but the first.
    refused: other models that were tried before, each with the reason.
    exit_code: of the command, see docs/operating.md.
    """

    schema_: Literal["vi.refusal/1"] = Field(alias="schema")
    refused_at: Utc
    software: str
    product: str
    bundle: str | None
    bundle_revision: Annotated[int, Field(ge=1)] | None
    bundle_digest: Digest | None
    precision: Computed | None
    reason: str
    differences: tuple[str, ...]
    refused: tuple[str, ...]
    exit_code: Annotated[int, Field(ge=1)]


def refuse(
    error: ApplianceError,
    *,
    product: str = "",
    bundle: Bundle | None = None,
    tried: Sequence[tuple[Computed, ApplianceError]] = (),
    refused_at: str,
) -> Refusal:
    """Write down why there is no certificate.

    Args:
        error: what ended the attempt.
        product: that was to be proved.
        bundle: None if it could not be read.
        tried: the models that were refused, in their order; the last may be what ended the attempt.
        refused_at: UTC.
    """
    before = [each for each in tried if each[1] is not error]
    return Refusal(
        schema=SCHEMA,
        refused_at=refused_at,
        software=__version__,
        product=product,
        bundle=bundle.manifest.name if bundle else None,
        bundle_revision=bundle.manifest.revision if bundle else None,
        bundle_digest=bundle.digest if bundle else None,
        precision=next((precision for precision, its in tried if its is error), None),
        reason=str(error),
        differences=error.differences,
        refused=tuple(f"{precision}: {its}" for precision, its in before),
        exit_code=exit_code(error),
    )
