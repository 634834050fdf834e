"""A manifest is read before anything vouches for it: no file of a given size may take much longer than another."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.bundle import strict_json
from appliance.bundle.baseline import Baseline
from appliance.errors import BundleFormatError

BAD_STRINGS = {
    "plain": lambda size: b'"' + b"a" * size,
    "escaped quotes": lambda size: b'"' + b'\\"' * (size // 2),
    "escaped quotes and a last backslash": lambda size: b'"' + b'\\"' * (size // 2) + b"\\",
    "closed strings": lambda size: b'""' * (size // 2),
    "quotes and backslashes": lambda size: b'"\\' * (size // 2),
    "distinct keys, the last one twice": lambda size: (
        b'{"schema":1,' + b",".join(b'"%08d":1' % (n // 2 * 2 if n > size // 13 - 2 else n) for n in range(size // 13))
        + b',"%08d":1}' % (size // 13 // 2)
    ),
}  # fmt: skip


def parse(data: bytes) -> Baseline:
    return strict_json.parse(
        data, Baseline, schema="vi.baseline/1", origin="baseline.json", max_bytes=16 * 2**20
    )  # fmt: skip


def seconds_to_refuse(data: bytes) -> float:
    quickest = float("inf")
    for _ in range(3):
        started_ns = time.thread_time_ns()
        with pytest.raises(BundleFormatError):
            parse(data)
        quickest = min(quickest, (time.thread_time_ns() - started_ns) / 1e9)
    return quickest


@pytest.mark.timeout(20)
@pytest.mark.parametrize("kind", BAD_STRINGS)
def test_four_times_the_bytes_take_less_than_eight_times_as_long(kind: str) -> None:
    make = BAD_STRINGS[kind]
    small, large = (seconds_to_refuse(make(size)) for size in (2**18, 2**20))
    assert large < 8 * small + 0.01


@given(st.text(alphabet='"\\[]{}a\n', max_size=30))
def test_brackets_in_strings_do_not_count_as_depth(text: str) -> None:
    document = strict_json.dump(Baseline(schema="vi.baseline/1", count=1, statistics={}))
    deep = document.replace(b'"count"', json.dumps(text * 20).encode() + b': 1, "count"')
    with pytest.raises(BundleFormatError) as caught:
        parse(deep)
    assert "brackets deep" not in str(caught.value)


def test_a_key_that_comes_twice_is_named() -> None:
    with pytest.raises(BundleFormatError, match="the key 'b' comes twice"):
        parse(b'{"a": 1, "b": 1, "c": 1, "b": 2}')
