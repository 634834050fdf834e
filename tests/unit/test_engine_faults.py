from hypothesis import given
from hypothesis import strategies as st

from appliance.engine_faults import MOST_IN_A_ROW, EngineFaults

PARTS = st.lists(st.tuples(st.integers(0, 2), st.booleans()), max_size=40)
"""Of each part the copy of the model that looked at it, and whether its engine failed."""


@given(PARTS)
def test_an_engine_is_lost_once_and_only_where_one_copy_failed_so_often_in_a_row(parts: list[tuple[int, bool]]) -> None:
    lost: list[str] = []
    faults = EngineFaults(lost.append)
    for instance, has_failed in parts:
        if has_failed:
            faults.failed(instance, "out of memory")
        else:
            faults.answered(instance)
    rows = ["".join("x" if bad else "." for which, bad in parts if which == copy) for copy in range(3)]
    assert len(lost) == any("x" * MOST_IN_A_ROW in row for row in rows)
    assert all("out of memory" in words for words in lost)
