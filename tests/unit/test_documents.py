import hashlib
import re
import string
from pathlib import Path
from typing import Annotated, Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from appliance.documents import Document, LocatedPath, Section, parse_document, read_document
from appliance.errors import ConfigError

FILE = Path("folder/line.yaml")


class Lamp(Section):
    power_w: float
    exposure_us: int = 100


class Line(Section):
    name: str
    deadline_ms: Annotated[int, Field(ge=1)]
    is_fast: bool = False
    lamps: tuple[Lamp, ...] = ()
    by_view: dict[str, Lamp] = Field(default_factory=dict)
    file: LocatedPath | None = None


def parse(text: str) -> Document:
    return parse_document(FILE, text.encode())


def refusal(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(text).into(Line)
    return str(caught.value)


def test_a_file_becomes_a_model_with_the_digest_of_its_bytes(tmp_path: Path) -> None:
    file = tmp_path / "line.yaml"
    file.write_bytes(b"name: a # comment\ndeadline_ms: 5\nlamps:\n- power_w: 3\n")
    document = read_document(file)
    line, digest = document.into(Line), document.digest
    assert line == Line(name="a", deadline_ms=5, lamps=(Lamp(power_w=3.0),))
    assert digest == hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("name: a\ndeadline_s: 5", 2, "did you mean `deadline_ms` (in milliseconds)?"),
        ("name: a\ndeadline: 5", 2, "did you mean `deadline_ms`"),
        ("name: a\ndedline_ms: 5", 2, "did you mean `deadline_ms`"),
        ("name: a\ndeadline_ms: 5\nzzz: 1", 3, "delete it (keys here: name, deadline_ms"),
        ("name: a\n\ndeadline_ms: 5ms", 3, "expected a valid integer, got '5ms'; write the bare number, in millisec"),
        ("name: a\ndeadline_ms: 0", 2, "expected greater than or equal to 1, got 0"),
        ("name: a\ndeadline_ms: 5.5", 2, "got 5.5"),
        ("name: a\ndeadline_ms: true", 2, "expected a valid integer, got True"),
        ("name: 7\ndeadline_ms: 5", 1, "expected a valid string, got 7"),
        ("name: a\ndeadline_ms: 5\nis_fast: yes", 3, "expected a valid boolean, got 'yes'"),
        ("name: a\ndeadline_ms: null", 2, "got None"),
        ("deadline_ms: 5", 1, "the key `name` is missing"),
        ("name: a\ndeadline_ms: 5\nlamps:\n  - power_w: 1\n  - powr_w: 2", 5, "lamps[1].powr_w: unknown key"),
        ("name: a\ndeadline_ms: 5\nlamps:\n  - power_w: 1\n  - powr_w: 2", 5, "did you mean `power_w`?"),
        ("name: a\ndeadline_ms: 5\nby_view:\n  top:\n    power_w: 1\n    exposure_ms: 2", 6, "`exposure_us` (in micro"),
        ("name: a\ndeadline_ms: 5\nfile: ''", 3, "an empty path"),
    ],
)
def test_a_mistake_is_reported_with_file_line_key_and_remedy(text: str, line: int, words: str) -> None:
    message = refusal(text)
    assert words in message
    assert any(part.startswith(f"{FILE}:{line}: ") for part in message.splitlines() if words in part)


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("name: a\ndeadline_ms: 5\nname: b", 3, "the key `name` stands here and in line 1"),
        ("lamps:\n  - power_w: 1\n    power_w: 2", 3, "stands here and in line 2"),
        ("name: &n a", 1, "anchors"),
        ("a: [*n]", 1, "anchors"),
        ("a: 1\nb: !!python/object/apply:os.system [ls]", 2, "the tag"),
        ("a: !!binary aaaa", 1, "the tag"),
        ("a: ! x", 1, "the tag"),
        ("a: " + "[" * 100_000, 1, "nested more than 16 deep"),
        ("a:\n  - [1, 2", 2, "not YAML"),
        ("a: 1\n\tb: 2", 2, "not YAML"),
        ("a: 1\n---\nb: 2", 2, "not YAML"),
        ("a: \x01", 1, "control character"),
        ("", 1, "is empty"),
        ("- 1", 1, "is empty or holds something else"),
        ("a: 1\n2: 1", 2, "a key must be a word"),
        ("? [1]\n: 2", 1, "a key must be a word"),
        ("a: -1e999", 1, "too large"),
    ],
)
def test_what_hides_or_bursts_is_refused_with_its_line(text: str, line: int, words: str) -> None:
    message = refusal(text)
    assert message.startswith(f"{FILE}:{line}: ")
    assert words in message


def test_an_alias_bomb_is_refused_before_it_grows() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    assert "aliases" in refusal("\n".join(lines))


@pytest.mark.parametrize(
    ("text", "value"),
    [("on", "on"), ("no", "no"), ("12:30", "12:30"), ("0123", 123), ("0x1F", "0x1F"), ("2026-01-01", "2026-01-01"),
     ("1e3", 1000.0), (".5", 0.5), ("~", None), ("", None), ("-7", -7), ("'7'", "7"), (".nan", ".nan"), ("true", True),
     ("1" * 40, 1e40 / 9), ("=", "="), ("<<", "<<")],
)  # fmt: skip
def test_values_are_what_they_look_like(text: str, value: Any) -> None:
    found = parse(f"a: {text}").data["a"]
    assert found == (pytest.approx(value) if isinstance(value, float) else value)
    assert type(found) is type(value)


def test_too_much_not_utf8_and_unreadable_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="more than 262144 bytes"):
        parse_document(FILE, b"a" * 300_000)
    with pytest.raises(ConfigError, match="not UTF-8 text at byte 3"):
        parse_document(FILE, b"a: \xff")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_document(tmp_path / "absent.yaml")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_document(tmp_path)


def test_many_mistakes_are_told_up_to_ten() -> None:
    message = refusal("name: a\n" + "".join(f"wrong_{i}: 1\n" for i in range(20)))
    assert len(message.splitlines()) == 11
    assert "and 11 more mistakes" in message


def test_paths_are_relative_to_the_document() -> None:
    line = parse("name: a\ndeadline_ms: 1\nfile: sub/x.txt").into(Line)
    assert line.file == Path("folder/sub/x.txt")
    assert parse("name: a\ndeadline_ms: 1\nfile: /x.txt").into(Line).file == Path("/x.txt")


def test_a_section_is_validated_by_its_own_model_with_the_files_lines() -> None:
    document = parse("cameras:\n  top:\n    power_w: 1\n    exposur_us: 3\n")
    with pytest.raises(ConfigError, match=re.escape("line.yaml:4: cameras.top.exposur_us: unknown key")):
        document.section(("cameras", "top"), Lamp)
    with pytest.raises(ConfigError, match=re.escape("line.yaml:1: cameras.side: the key is missing")):
        document.section(("cameras", "side"), Lamp)


def test_what_the_program_gives_a_section_may_not_be_written_there() -> None:
    document = parse("lamp:\n  exposure_us: 3\n")
    assert document.section(("lamp",), Lamp, given={"power_w": 2.0}) == Lamp(power_w=2.0, exposure_us=3)
    with pytest.raises(ConfigError, match=re.escape("line.yaml:2: lamp.exposure_us: `exposure_us` is set elsewhere")):
        document.section(("lamp",), Lamp, given={"exposure_us": 4})


words = st.text(string.ascii_lowercase + "_ ", min_size=1, max_size=8)
plain = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(10**17), 10**17), st.floats(-1e9, 1e9), words),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(words, inner, max_size=3)),
    max_leaves=8,
)


@given(st.dictionaries(words, plain, min_size=1, max_size=4))
def test_plain_data_comes_back_as_it_was_written(data: dict[str, Any]) -> None:
    class Unaliased(yaml.SafeDumper):
        def ignore_aliases(self, data: Any) -> bool:
            return True

    text = yaml.dump(data, Dumper=Unaliased, default_style=None)
    assert parse(text).data == data


@given(st.one_of(st.text(max_size=200), st.text("[]{}:,-&*!|>'\"%@`# \n\tab01", max_size=60)))
def test_any_text_is_either_read_or_refused_in_words(text: str) -> None:
    try:
        parse_document(FILE, text.encode("utf-8", "surrogatepass"))
    except ConfigError as error:
        assert str(error).startswith(str(FILE))
