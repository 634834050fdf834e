"""A certificate is believed only as it was written, and says in words what has changed since."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from appliance.bundle import strict_json
from appliance.bundle.comparison import Comparison
from appliance.bundle.endurance import Timing
from appliance.bundle.manifest import Tolerance
from appliance.bundle.proof import Proof
from appliance.bundle.tolerance import Deciding, Tolerated, tolerated
from appliance.certification.certificate import Certificate, Means, Result, Subject, certify, read_certificate
from appliance.certification.folder import LOOKED_AT, CertificateFolder
from appliance.device_state import DeviceState
from appliance.errors import BundleFormatError, StorageError
from appliance.messages import CertificateInBrief, ProvedDevice

SUBJECT = Subject(
    bundle="tiny", bundle_revision=1, bundle_digest="a" * 64, recipe="spots", recipe_version=1, recipe_digest="b" * 64,
    reject_limits={"spot": 0.5}, accept_limits={"spot": 0.4}, asked="int8",
)  # fmt: skip
OTHER_PRODUCT = SUBJECT.model_copy(update={"recipe": "dots"})
MEANS = Means(
    software="0.1.0", runtime="tensorrt 10.3.0 Orin fp16", threads=None, pins_threads=None, instances=2,
    precision="fp16", model_digest="c" * 64, engine_key="d" * 64, engine_digest="e" * 64,
)  # fmt: skip
DEVICE = DeviceState(board="NVIDIA Jetson", cores=6, gpu_driver="540.4.0", power_mode="MAXN (0)", unread=("/x",))
PROOF = Proof(
    "a" * 64,
    Comparison(
        images=40,
        detections=31,
        worst_iou=0.97,
        worst_score_difference=0.011,
        agreement_ap=0.9985,
        kinds={"dark": 5, "near_limit": 8},
        golden_lacks="no golden image is there for: bright",
        deciding=Deciding(detections=20, worst_iou=0.98, worst_score_difference=0.01, displaced=1, worst_edge_px=1.25),
        tolerated=tolerated(Tolerance(min_iou=0.8, max_score_difference=0.1)),
    ),
    Timing(runs=200, attempts=1, p50_ms=4.0, p95_ms=5.0, p99_ms=6.0, max_ms=9.25, memory_growth_bytes=4096),
)


def certificate(proved_at: str = "2026-11-26T10:00:00.000Z", subject: Subject = SUBJECT) -> Certificate:
    refused = ("int8: spot 0.9 is not found",)
    return certify(
        subject,
        MEANS,
        DEVICE,
        PROOF,
        budget_ms=50.0,
        refused=refused,
        put_aside=(),
        held_back=("heat",),
        proved_at=proved_at,
    )


WRITTEN = strict_json.dump(certificate())


def test_what_was_written_is_read() -> None:
    assert read_certificate(WRITTEN, "c.json") == certificate()
    assert certificate().id != certificate("2026-11-26T10:00:00.001Z").id


def test_it_obeys_its_published_schema() -> None:
    schema = json.loads((Path(__file__).parents[2] / "docs" / "schemas" / "certificate.json").read_text())
    document = json.loads(WRITTEN)
    Draft202012Validator(schema).validate(document)
    for key in document:
        lacking = {name: value for name, value in document.items() if name != key}
        assert not Draft202012Validator(schema).is_valid(lacking), key


@given(st.binary(max_size=200))
def test_any_bytes_are_a_certificate_or_refused_in_words(data: bytes) -> None:
    with pytest.raises(BundleFormatError, match=r"c\.json"):
        read_certificate(data, "c.json")


@given(st.integers(0, len(WRITTEN) - 2))
def test_a_torn_file_is_refused(length: int) -> None:
    with pytest.raises(BundleFormatError, match=r"c\.json"):
        read_certificate(WRITTEN[:length], "c.json")


@given(st.integers(0, len(WRITTEN) - 1), st.integers(1, 255))
def test_a_byte_that_was_changed_is_noticed_or_means_nothing(at: int, by: int) -> None:
    changed = bytearray(WRITTEN)
    changed[at] ^= by
    with suppress(BundleFormatError):
        assert read_certificate(bytes(changed), "c.json") == certificate()  # white space for white space


def leaves(document: Any, place: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if not isinstance(document, dict):
        yield place
        return
    for name, value in document.items():
        yield from leaves(value, (*place, name))


@pytest.mark.parametrize("place", list(leaves(json.loads(WRITTEN))), ids=".".join)
def test_no_value_can_be_edited_without_being_noticed(place: tuple[str, ...]) -> None:
    document = json.loads(WRITTEN)
    holder = document
    for name in place[:-1]:
        holder = holder[name]
    was = holder[place[-1]]
    holder[place[-1]] = "f" * 64 if isinstance(was, str) else None if was is not None else 1
    with pytest.raises(BundleFormatError, match=r"c\.json"):
        read_certificate(json.dumps(document).encode(), "c.json")


def test_a_key_that_was_put_in_is_noticed_wherever() -> None:
    for place in ((), ("device",), ("result",)):
        document = json.loads(WRITTEN)
        holder = document[place[0]] if place else document
        holder["approved_by"] = "nobody"
        with pytest.raises(BundleFormatError):
            read_certificate(json.dumps(document).encode(), "c.json")


def test_nothing_has_changed_where_all_is_as_it_was() -> None:
    assert certificate().other_subject(SUBJECT, DEVICE) == []
    assert certificate().other_means(MEANS, 6.0) == []


CHANGES: dict[str, Any] = {
    "bundle": "other", "bundle_revision": 2, "bundle_digest": "f" * 64, "recipe": "other", "recipe_version": 2,
    "recipe_digest": "f" * 64, "asked": "f32", "software": "0.2.0", "runtime": "tensorrt 10.4.0 Orin fp16",
    "threads": 2, "pins_threads": True, "instances": 1, "precision": "f32", "model_digest": "f" * 64,
    "engine_key": "f" * 64, "engine_digest": None,
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_each_change_is_told_in_words(name: str) -> None:
    if name in Subject.model_fields:
        told = certificate().other_subject(SUBJECT.model_copy(update={name: CHANGES[name]}), DEVICE)
    else:
        told = certificate().other_means(MEANS.model_copy(update={name: CHANGES[name]}), 50.0)
    assert len(told) == 1
    assert f"and is {str(CHANGES[name])[:12]}" in told[0]


def test_no_field_is_left_out_of_that() -> None:
    assert {*Subject.model_fields, *Means.model_fields} == {*CHANGES, "reject_limits", "accept_limits"}


def test_a_certificate_of_before_is_read_and_proves_no_number_of_copies() -> None:
    document = json.loads(WRITTEN)
    del document["means"]["instances"], document["result"]["deciding"], document["result"]["tolerated"], document["id"]
    del document["result"]["golden_lacks"], document["held_back"]
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    document["id"] = hashlib.sha256(text.encode("ascii")).hexdigest()
    before = read_certificate(json.dumps(document).encode(), "c.json")
    assert before.other_means(MEANS, 50.0) == ["the number of parts that are inspected at once was None and is 2 now"]
    assert before.summary().golden_lacks is None
    assert (before.held_back, before.beware) == (None, "")


def test_another_limit_another_device_and_a_smaller_budget_are_told() -> None:
    limits = SUBJECT.model_copy(update={"reject_limits": {"spot": 0.6, "dent": 0.5}, "accept_limits": {"spot": 0.3}})
    now = replace(DEVICE, gpu_driver="560.28", power_mode="15W (1)")
    assert certificate().other_subject(limits, now) == [
        "the reject limit of dent was None and is 0.5 now",
        "the reject limit of spot was 0.5 and is 0.6 now",
        "the accept limit of spot was 0.4 and is 0.3 now",
        "the NVIDIA driver was 540.4.0 and is 560.28 now",
        "the power mode was MAXN (0) and is 15W (1) now",
    ]
    assert certificate().other_means(MEANS, 5.9) == ["a picture took 6.0 ms and may take 5.9 ms now"]


def test_the_newest_comes_first_and_none_is_removed(tmp_path: Path) -> None:
    folder = CertificateFolder(tmp_path / "certificates")
    assert folder.newest_first("spots", "tiny") == []
    old, new = certificate(), certificate("2026-11-26T10:00:01.000Z")
    for each in (new, old, new):
        folder.keep(each)
    assert folder.newest_first("spots", "tiny") == [new, old]
    assert read_certificate(folder.path_of(new).read_bytes(), "x") == new


def test_certificates_of_other_products_take_no_place_among_the_newest(tmp_path: Path) -> None:
    folder = CertificateFolder(tmp_path)
    folder.keep(certificate())
    for number in range(LOOKED_AT):
        folder.keep(certificate(f"2026-11-26T11:00:00.{number:03}Z", subject=OTHER_PRODUCT))
    assert folder.newest_first("spots", "tiny") == [certificate()]
    assert len(folder.newest_first("dots", "tiny")) == LOOKED_AT
    folder.keep(certificate("2026-11-26T12:00:00.000Z", subject=OTHER_PRODUCT))
    assert len(folder.newest_first("dots", "tiny")) == LOOKED_AT


@pytest.mark.parametrize("damage", [lambda data: data[:-200], lambda data: data.replace(b"540.4.0", b"560.2.8")])
def test_a_torn_or_edited_file_proves_nothing_and_the_log_says_so(
    tmp_path: Path, damage: Any, caplog: pytest.LogCaptureFixture
) -> None:
    folder = CertificateFolder(tmp_path)
    path = folder.keep(certificate())
    path.write_bytes(damage(path.read_bytes()))
    assert folder.newest_first("spots", "tiny") == []
    assert f"{path} is not as it was written and proves nothing" in caplog.text
    assert path.exists()


def test_a_folder_that_cannot_be_is_said_in_words(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"name another folder in proof\.certificates"):
        CertificateFolder(tmp_path / "file" / "certificates").keep(certificate())
    (tmp_path / "x.json").mkdir()
    with pytest.raises(StorageError, match=r"x\.json: .*check this user's rights"):
        CertificateFolder(tmp_path).newest_first("spots", "tiny")


def test_the_documentation_names_every_key() -> None:
    words = (Path(__file__).parents[2] / "docs" / "certificate.md").read_text(encoding="utf-8")
    sections = (Certificate, Subject, Means, Result, Deciding, Tolerated)
    names = {name for section in sections for name in section.model_fields}
    names |= {field.name for field in fields(DeviceState)}
    assert not [name for name in names - {"schema_"} if f"`{name}`" not in words]


def test_the_summary_says_where_it_was_proved_and_with_what_engine() -> None:
    told = certificate().summary().model_dump(mode="json")
    assert told["device"] == {
        field.name: getattr(DEVICE, field.name) for field in fields(DeviceState) if field.name != "unread"
    }
    assert (told["device"]["gpu_driver"], told["device"]["power_mode"]) == ("540.4.0", "MAXN (0)")
    assert (told["engine_key"], told["model_digest"], told["instances"]) == ("d" * 64, "c" * 64, 2)
    assert told["golden_lacks"] == "no golden image is there for: bright"
    assert (told["id"], told["p99_ms"], told["refused"]) == (certificate().id, 6.0, ["int8: spot 0.9 is not found"])


def test_the_documentation_names_every_key_of_the_summary() -> None:
    words = (Path(__file__).parents[2] / "docs" / "messages.md").read_text(encoding="utf-8")
    (row,) = [line for line in words.splitlines() if line.startswith("| `certificate` |")]
    names = {*CertificateInBrief.model_fields, *ProvedDevice.model_fields}
    assert not [name for name in names if f"`{name}`" not in row]
