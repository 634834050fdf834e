"""A certificate: this device, as it is set up now, runs this bundle for this recipe as the trainer did, and in time."""

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from appliance.bundle import strict_json
from appliance.bundle.golden import GoldenKind
from appliance.bundle.manifest import Digest, Ratio
from appliance.bundle.proof import Proof
from appliance.bundle.section import Section
from appliance.bundle.tolerance import Deciding, Tolerated
from appliance.device_state import DeviceState, differences
from appliance.errors import BundleFormatError
from appliance.messages import CertificateInBrief, ProvedDevice
from appliance.wire import Utc

SCHEMA: Final = "vi.certificate/1"
MAX_BYTES = 2**20

Computed = Literal["f32", "bf16", "fp16", "int8"]
"""What a device computes with; bf16 has no model of its own: it is model.onnx, computed with less."""

Milliseconds = Annotated[float, Field(ge=0.0)]
_Text = Annotated[str, Field(max_length=4096)]

_SHOWN_OF_A_DIGEST = 12
_WORDS = {
    "bundle": "bundle",
    "bundle_revision": "bundle's revision",
    "bundle_digest": "bundle's SHA-256",
    "recipe": "recipe",
    "recipe_version": "recipe's version",
    "recipe_digest": "recipe's SHA-256",
    "reject_limits": "reject limit",
    "accept_limits": "accept limit",
    "asked": "precision that this device would rather compute with",
    "software": "software",
    "runtime": "runtime",
    "threads": "number of threads",
    "pins_threads": "pinning of threads",
    "instances": "number of parts that are inspected at once",
    "precision": "precision",
    "model_digest": "model file's SHA-256",
    "engine_key": "engine's key",
    "engine_digest": "engine file's SHA-256",
}
"""Field -> what a person calls it."""


class Subject(Section):
    """What was proved, and for which recipe.

    reject_limits, accept_limits: class -> score from which the line rejects, or asks a person.
    asked: what this device would rather compute with.
    """

    bundle: _Text
    bundle_revision: int
    bundle_digest: Digest
    recipe: _Text
    recipe_version: int
    recipe_digest: Digest
    reject_limits: dict[str, Ratio]
    accept_limits: dict[str, Ratio]
    asked: Computed


class Means(Section):
    """What it was proved with: precision is what is computed with, model_digest the SHA-256 of the model file.

    runtime: as in every record, with the library's version. threads: None where the runtime has none of its own.
    pins_threads: whether each thread stays on one core; None where the runtime cannot be told.
    instances: copies of the model that are at work at once, on the line and in the timed runs; None in certificates of
        before, whose runs had one copy and nothing beside it.
    engine_key, engine_digest: SHA-256 of what the engine was built of and for, and of its file; None without an engine.
    """

    software: _Text
    runtime: _Text
    threads: int | None
    pins_threads: bool | None
    instances: Annotated[int, Field(ge=1)] | None = None
    precision: Computed
    model_digest: Digest
    engine_key: Digest | None
    engine_digest: Digest | None


class Latency(Section):
    """Milliseconds of one picture of the model's size, over the timed runs."""

    p50: Milliseconds
    p95: Milliseconds
    p99: Milliseconds
    max: Milliseconds


class Result(Section):
    """How near this device came to the trainer (appliance.bundle.proof), and what it took.

    kinds: what the golden images are there for, as far as the bundle says, and how many of each there are.
    golden_lacks: what they do not tell, in words, empty if they tell enough; None in certificates of before.
    deciding: of the detections alone that decide. tolerated: how near they had to come. None in certificates of before.
    budget_ms: what a picture might take when this was proved. attempts: rounds of timed runs until one was good.
    memory_growth_bytes: None where the system does not tell.
    """

    images: Annotated[int, Field(ge=1)]
    kinds: dict[GoldenKind, int]
    golden_lacks: _Text | None = None
    detections: Annotated[int, Field(ge=0)]
    worst_iou: Ratio
    worst_score_difference: Ratio
    agreement_ap: Ratio
    deciding: Deciding | None = None
    tolerated: Tolerated | None = None
    latency_ms: Latency
    budget_ms: Milliseconds
    runs: Annotated[int, Field(ge=1)]
    attempts: Annotated[int, Field(ge=1)]
    memory_growth_bytes: int | None


class Certificate(Section):
    """The whole file; id is the SHA-256 of everything else in it, refused says which other models were, and why.

    put_aside: those of them on which the device failed, which tells nothing of the model; none in those of before.
    held_back: what held the device back during the proof, in words: device may name the clocks that it had for that.
        None in certificates of before, which do not tell.
    """

    schema_: Literal["vi.certificate/1"] = Field(alias="schema")
    id: Digest
    proved_at: Utc
    subject: Subject
    means: Means
    device: DeviceState
    result: Result
    refused: tuple[str, ...]
    put_aside: tuple[Computed, ...] = ()
    held_back: tuple[str, ...] | None = None

    @property
    def beware(self) -> str:
        """What a person should know of a device that was held back, and do; empty if it ran freely, or nobody knows."""
        if not self.held_back:
            return ""
        return (
            f"the device was held back while it was proved: {'; '.join(self.held_back)}; the certificate may name the "
            "clocks that it had for that, so look after its cooling and its power supply, and prove again when it runs "
            "freely"
        )

    def has_refused(self, precision: Computed) -> bool:
        """Tell whether the proof came to a verdict against a model.

        Args:
            precision: the model's.
        """
        return precision not in self.put_aside and any(each.startswith(f"{precision}: ") for each in self.refused)

    def other_subject(self, now: Subject, device: DeviceState) -> list[str]:
        """Say in words what bundle, recipe and device are now that they were not.

        Args:
            now: what is to judge.
            device: on which it is to judge.
        """
        return [*_changed(self.subject, now), *differences(self.device, device)]

    def other_means(self, now: Means, budget_ms: float) -> list[str]:
        """Say in words what the engine is now that it was not, or that it may no longer take so long.

        Args:
            now: what is loaded.
            budget_ms: what a picture may take now.
        """
        changed = _changed(self.means, now)
        if not self.result.latency_ms.p99 <= budget_ms:
            changed.append(f"a picture took {self.result.latency_ms.p99:.1f} ms and may take {budget_ms:.1f} ms now")
        return changed

    def summary(self) -> CertificateInBrief:
        """Return what `meta`, the command `status` and people need of it: what was proved, with what, and where."""
        result, means = self.result, self.means
        return CertificateInBrief(
            id=self.id,
            proved_at=self.proved_at,
            precision=means.precision,
            instances=means.instances,
            model_digest=means.model_digest,
            engine_key=means.engine_key,
            device=ProvedDevice.model_validate(self.device, from_attributes=True),
            images=result.images,
            golden_lacks=result.golden_lacks,
            worst_iou=result.worst_iou,
            worst_score_difference=result.worst_score_difference,
            agreement_ap=result.agreement_ap,
            p99_ms=result.latency_ms.p99,
            budget_ms=result.budget_ms,
            refused=list(self.refused),
        )


def certify(
    subject: Subject,
    means: Means,
    device: DeviceState,
    proof: Proof,
    *,
    budget_ms: float,
    refused: tuple[str, ...],
    put_aside: tuple[Computed, ...],
    held_back: tuple[str, ...],
    proved_at: str,
) -> Certificate:
    """Write a certificate about a proof that was passed.

    Args:
        subject: what was proved.
        means: with what.
        device: on what.
        proof: what it measured.
        budget_ms: what a picture may take.
        refused: which models were tried before and may not judge, each with the reason.
        put_aside: those of them on which the device failed.
        held_back: what held the device back meanwhile, in words.
        proved_at: UTC.
    """
    timing, compared = proof.timing, proof.comparison
    times = {"p50": timing.p50_ms, "p95": timing.p95_ms, "p99": timing.p99_ms, "max": timing.max_ms}
    result = Result(
        images=compared.images,
        kinds=dict(compared.kinds),
        golden_lacks=compared.golden_lacks,
        detections=compared.detections,
        worst_iou=compared.worst_iou,
        worst_score_difference=compared.worst_score_difference,
        agreement_ap=compared.agreement_ap,
        deciding=compared.deciding,
        tolerated=compared.tolerated,
        latency_ms=Latency(**{name: round(value, 3) for name, value in times.items()}),
        budget_ms=round(budget_ms, 3),
        runs=timing.runs,
        attempts=timing.attempts,
        memory_growth_bytes=timing.memory_growth_bytes,
    )
    draft = Certificate(
        schema=SCHEMA, id="0" * 64, proved_at=proved_at, subject=subject, means=means, device=device, result=result,
        refused=refused, put_aside=put_aside, held_back=held_back,
    )  # fmt: skip
    return draft.model_copy(update={"id": _digest(json.loads(strict_json.dump(draft)))})


def read_certificate(data: bytes, origin: str) -> Certificate:
    """Read a certificate as it was written.

    Args:
        data: the file.
        origin: names it in messages.

    Raises:
        BundleFormatError: it is torn, edited, or none.
    """
    certificate = strict_json.parse(
        data, Certificate, schema=SCHEMA, origin=origin, max_bytes=MAX_BYTES, remedy="prove again"
    )
    if _digest(json.loads(data)) != certificate.id:
        raise BundleFormatError(f"{origin} was edited: its content is not the one of its id; prove again")
    return certificate


def _digest(document: Mapping[str, Any]) -> str:
    content = {name: value for name, value in document.items() if name != "id"}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def _changed(before: Section, now: Section) -> list[str]:
    words = []
    for name, was in before:
        value = getattr(now, name)
        if was != value and isinstance(was, dict):
            words += [
                f"the {_WORDS[name]} of {label} was {was.get(label)} and is {value.get(label)} now"
                for label in sorted({*was, *value})
                if was.get(label) != value.get(label)
            ]
        elif was != value:
            words.append(f"the {_WORDS[name]} was {_short(name, was)} and is {_short(name, value)} now")
    return words


def _short(name: str, value: object) -> str:
    return str(value)[:_SHOWN_OF_A_DIGEST] if name.endswith(("_digest", "_key")) else str(value)
