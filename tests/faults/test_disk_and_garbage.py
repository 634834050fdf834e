"""A full disk stops the station and nothing else; garbage on the trigger topic stops nothing at all."""

import json
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from paho.mqtt.enums import CallbackAPIVersion

from tests.action_tap import ActionTap, accepts_in_time
from tests.line import eventually
from tests.plant import RECIPE, Plant
from tests.small_disk import fill, small_disk
from tests.stations import needs_mosquitto

pytestmark = [
    pytest.mark.faults,
    needs_mosquitto,
]


def test_a_full_disk_stops_the_station_and_room_lets_it_go_on_without_a_lost_or_double_part(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 6_000_000) as disk, Plant(disk) as plant, ActionTap(plant) as tap:
        for number in range(10):
            plant.announce(f"before-{number}", deadline_ms=10_000)
        plant.wait_for_outcomes(10)
        ballast = fill(disk)
        for number in range(200):
            plant.announce(f"during-{number}", deadline_ms=60_000, repeat_every_ms=1000)
        assert eventually(lambda: plant.consumer.station.state == "stopped"), plant.log()
        passed_before = plant.consumer.parts.passed
        ballast.unlink()
        plant.wait_for_outcomes(210, 60)
        plant.wait_for_records(210, 60)
        rows = plant.query("SELECT seq, trigger_id FROM inspection ORDER BY seq")
        assert plant.query("SELECT count(*) FROM open_trigger") == [(0,)]
        assert accepts_in_time(plant, tap.all(), int(str(RECIPE["deadline_ms"]))) > 0
    assert [row[0] for row in rows] == list(range(1, 211))
    assert len({row[1] for row in rows}) == 210
    accepted = {record.message.part_id for record in plant.records if record.message.verdict == "ACCEPT"}
    assert {part_id for part_id, outcome in plant.outcomes.items() if outcome.passes} <= accepted
    assert plant.consumer.parts.passed >= passed_before


GARBAGE = st.one_of(
    st.binary(max_size=300),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
        max_leaves=10,
    ).map(lambda value: json.dumps(value).encode()),
    st.fixed_dictionaries(
        {"schema": st.sampled_from(["vi.trigger/1", "vi.trigger/2", ""])},
        optional={
            "trigger_id": st.one_of(st.integers(), st.just(""), st.just("a b"), st.just("x" * 200)),
            "part_id": st.one_of(st.integers(), st.just("\n")),
            "repeat": st.sampled_from(["yes", 7]),
        },
    ).map(lambda value: json.dumps(value).encode()),
)


def test_no_garbage_on_the_trigger_topic_is_accepted_or_stops_the_line(tmp_path: Path) -> None:
    with Plant(tmp_path) as plant:
        publisher = paho.Client(CallbackAPIVersion.VERSION2, client_id="garbage")
        publisher.connect("127.0.0.1", plant.broker.port)
        publisher.loop_start()
        topic = plant.consumer.topics.trigger

        @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
        @given(payload=GARBAGE)
        def throw(payload: bytes) -> None:
            publisher.publish(topic, payload, qos=1).wait_for_publish(10)

        throw()
        publisher.loop_stop()
        for number in range(5):
            plant.announce(f"part-{number}", deadline_ms=10_000)
        plant.wait_for_outcomes(5)
        plant.wait_for_records(5)
        rows = plant.query("SELECT part_id FROM inspection ORDER BY seq")
        assert plant.process is not None
        assert plant.process.poll() is None
    assert sorted(row[0] for row in rows) == [f"part-{number}" for number in range(5)]
