"""Feedback: records and pictures that a station exported, and people's verdicts on them.

FOLDER/export.json     which records these are; written last
FOLDER/records.jsonl   the records byte for byte as they were sent, one a line, without gaps
FOLDER/pictures.jsonl  one line for each picture that was taken along: FOLDER/pictures/PATH
FOLDER/human.jsonl     one line for each verdict of a person; whoever asks people writes it
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from appliance.annotations.file_name import FileName
from appliance.bundle.section import Section
from appliance.bundle.strict_json import in_words
from appliance.errors import ConfigError

EXPORT, RECORDS, PICTURES, HUMAN = "export.json", "records.jsonl", "pictures.jsonl", "human.jsonl"
PICTURE_FOLDER = "pictures"


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def _is_moment(text: str) -> str:
    _moment(text)
    return text


Words = Annotated[str, Field(min_length=1)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Utc = Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z$"), AfterValidator(_is_moment)]

Model = TypeVar("Model", bound=BaseModel)


class Export(Section):
    """Which records are there: from_seq to to_seq, chained by SHA-256 from prev_hash to last_hash."""

    schema_: Literal["vi.export/1"] = Field(default="vi.export/1", alias="schema")
    device_id: Words
    from_seq: int
    to_seq: int
    prev_hash: Digest
    last_hash: Digest
    pictures: int


class ExportedPicture(Section):
    """One picture; path is below the folder of pictures."""

    inspection_id: Words
    view: Words
    path: FileName
    sha256: Digest


class HumanBox(Section):
    """One defect that a person marked: x1 y1 x2 y2 in pixels of the view's picture."""

    view: Words
    label: Words
    box_px: tuple[float, float, float, float]


class HumanVerdict(Section):
    """What a person says of a part; who and when.

    boxes: all defects there are, in all views; None if the person marked nothing and left nothing unmarked.
    """

    schema_: Literal["vi.human/1"] = Field(default="vi.human/1", alias="schema")
    device_id: Words
    inspection_id: Words
    verdict: Literal["ACCEPT", "REJECT"]
    who: Words
    at: Utc
    boxes: tuple[HumanBox, ...] | None = None

    @property
    def moment(self) -> datetime:
        """When it was said; as text, moments with and without milliseconds are in no order."""
        return _moment(self.at)

    @model_validator(mode="after")
    def _accepts_nothing_defective(self) -> "HumanVerdict":
        if self.verdict == "ACCEPT" and self.boxes:
            raise ValueError("an accepted part has no boxes; remove them, or say REJECT")
        return self


class ExportedRecord(BaseModel):
    """What labels need of a record; it has more."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    device_id: str
    seq: int
    inspection_id: str
    part_id: str
    decided_at: str
    prev_hash: str


@dataclass(frozen=True, slots=True)
class JudgedPart:
    """One part on which people gave a verdict.

    record_hash: SHA-256 of the record. pictures: view -> file. verdicts: with file and line of each, in their order.
    """

    record: ExportedRecord
    record_hash: str
    pictures: dict[str, Path]
    verdicts: tuple[tuple[str, HumanVerdict], ...]


@dataclass(frozen=True, slots=True)
class Feedback:
    """All of an export: judged parts, how many others there are, and how many verdicts are on parts of elsewhere."""

    judged: tuple[JudgedPart, ...]
    unjudged: int
    strangers: int


def read_feedback(folder: Path) -> Feedback:
    """Read an export with people's verdicts; its chain and the pictures that are used are verified.

    Args:
        folder: what `appliance export` wrote, and `human.jsonl` in it.

    Raises:
        ConfigError: A file is missing, broken, or not as it was exported; names file and line.
    """
    export = _parsed(Export, _bytes(folder / EXPORT), str(folder / EXPORT))
    verdicts = _verdicts(folder / HUMAN, export.device_id)
    pictures: dict[str, dict[str, Path]] = {}
    for where, line in _lines(folder / PICTURES):
        picture = _parsed(ExportedPicture, line, where)
        if picture.inspection_id in verdicts:
            path = folder / PICTURE_FOLDER / picture.path
            if hashlib.sha256(_bytes(path)).hexdigest() != picture.sha256:
                raise ConfigError(f"{path}: is not as it was exported; export it again")
            pictures.setdefault(picture.inspection_id, {})[picture.view] = path
    judged, others = [], 0
    for record, record_hash in _chain(folder, export):
        said = verdicts.pop(record.inspection_id, None)
        if said is None:
            others += 1
        else:
            judged.append(JudgedPart(record, record_hash, pictures.get(record.inspection_id, {}), tuple(said)))
    return Feedback(tuple(judged), others, sum(map(len, verdicts.values())))


def _verdicts(path: Path, device_id: str) -> dict[str, list[tuple[str, HumanVerdict]]]:
    found: dict[str, list[tuple[str, HumanVerdict]]] = {}
    for where, line in _lines(path):
        said = _parsed(HumanVerdict, line, where)
        if said.device_id != device_id:
            raise ConfigError(f"{where}: is about device {said.device_id!r}, the records are of {device_id!r}; move it")
        found.setdefault(said.inspection_id, []).append((where, said))
    return found


def _chain(folder: Path, export: Export) -> Iterator[tuple[ExportedRecord, str]]:
    seq, before = export.from_seq, export.prev_hash
    for where, line in _lines(folder / RECORDS):
        record = _parsed(ExportedRecord, line, where)
        if (record.seq, record.prev_hash, record.device_id) != (seq, before, export.device_id):
            raise ConfigError(f"{where}: record {seq} is missing or was altered; export the records again")
        seq, before = seq + 1, hashlib.sha256(line).hexdigest()
        yield record, before
    if (seq, before) != (export.to_seq + 1, export.last_hash):
        raise ConfigError(f"{folder / RECORDS}: ends with another record than it had; export the records again")


def _lines(path: Path) -> Iterator[tuple[str, bytes]]:
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield f"{path}:{number}", line.rstrip(b"\r\n")
    except OSError as error:
        words = "write people's verdicts there, one a line" if path.name == HUMAN else "export the records again"
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); {words}") from error


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); name what `appliance export` wrote") from error


def _parsed(model: type[Model], content: bytes, where: str) -> Model:
    try:
        return model.model_validate_json(content)
    except ValidationError as error:
        raise ConfigError(f"{where}: {in_words(error)}; correct the line, or export the records again") from error


def line_of(model: BaseModel) -> bytes:
    """Return a model as one line of JSON, with its end."""
    document: dict[str, Any] = model.model_dump(mode="json", by_alias=True)
    return json.dumps(document, separators=(",", ":"), allow_nan=False).encode() + b"\n"
