"""Who is told when: every device in one ring, the same everywhere, a line as a whole, the lab by name."""

from collections import defaultdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import ConfigError
from trainer.rollout.fleet import Fleet, Placed, QuarterTerms, Rings
from trainer.rollout.rings import share_out

places = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 4)), min_size=1, max_size=150)


def fleet(where: list[tuple[int, int]], pinned: dict[int, str] | None = None, rings: Rings | None = None) -> Fleet:
    """The first device is the lab's."""
    named = {0: "lab", **(pinned or {})}
    devices = {
        f"d{number}": Placed(f"d{number}", f"site-{site}", f"line-{line}", f"{number:064x}", named.get(number))  # type: ignore[arg-type]
        for number, (site, line) in enumerate(where)
    }
    return Fleet(Path("fleet.yaml"), "reports", rings or Rings(), devices)


@given(places, st.text(max_size=20))
def test_every_device_is_in_one_ring_and_the_lab_is_who_is_named(where: list[tuple[int, int]], name: str) -> None:
    rings = share_out(fleet(where), name)
    assert rings.keys() == {f"d{number}" for number in range(len(where))}
    assert [device for device, ring in rings.items() if ring == "lab"] == ["d0"]


@given(places)
def test_the_order_in_the_file_chooses_nobody(where: list[tuple[int, int]]) -> None:
    known = fleet(where)
    turned = Fleet(known.path, known.reports, known.rings, dict(reversed(known.devices.items())))
    assert share_out(turned, "r1") == share_out(known, "r1")


@given(places)
def test_lines_are_told_as_a_whole_and_one_of_each_site(where: list[tuple[int, int]]) -> None:
    known = fleet(where)
    rings = share_out(known, "r1")
    lines, sites = defaultdict(set), set()
    for device, placed in known.devices.items():
        if placed.ring is None:
            lines[placed.site, placed.line].add(rings[device] == "line")
            sites.add(placed.site)
    assert all(len(found) == 1 for found in lines.values())
    assert {site for (site, _), found in lines.items() if True in found} == sites


def test_a_large_fleet_is_shared_out_in_the_sizes_that_are_asked_for() -> None:
    known = fleet([(number % 20, number // 20 % 10) for number in range(2000)])
    sizes = [list(share_out(known, "r1").values()).count(ring) for ring in ("lab", "line", "quarter", "all")]  # type: ignore[arg-type]
    assert sizes == [1, 200 - (sizes[1] == 199), 500 - 1 - sizes[1], 1500]


def test_another_rollout_chooses_other_devices_first() -> None:
    known = fleet([(number % 20, number // 20 % 10) for number in range(2000)])
    first, second = ({device for device, ring in share_out(known, name).items() if ring == "quarter"} for name in "ab")
    assert len(first & second) < 0.5 * len(first)


def test_too_few_lines_are_joined_by_more_of_them() -> None:
    known = fleet([(0, line) for line in range(100)])
    assert list(share_out(known, "r1").values()).count("line") == 5
    small = fleet([(0, line) for line in range(10)])
    assert list(share_out(small, "r1").values()).count("line") == 3


def test_a_device_is_where_it_is_pinned_and_out_is_nowhere() -> None:
    pinned = {1: "line", 2: "quarter", 3: "all", 4: "out"}
    known = fleet([(0, 0)] * 40, pinned, Rings(quarter=QuarterTerms(percent=100)))
    rings = share_out(known, "r1")
    assert (rings["d1"], rings["d2"], rings["d3"]) == ("line", "quarter", "all")
    assert "d4" not in rings


def test_a_fleet_without_a_laboratory_is_refused() -> None:
    with pytest.raises(ConfigError, match="ring: lab"):
        share_out(fleet([(0, 0)] * 9, {0: "all"}), "r1")
