"""The primary of two PostgreSQL servers dies while three triggers work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.call_checks import acknowledged
from support.fault_workload import Workload
from support.faulty_flow import FaultyFlow
from support.postgres_pair import PostgresPair


@contextmanager
def flow_on(pair: PostgresPair, folder: Path) -> Iterator[FaultyFlow]:
    with pair, FaultyFlow(folder, triggers=3, database=pair) as running:
        yield running


@pytest.fixture(scope="module")
def pair() -> PostgresPair:
    return PostgresPair()


@pytest.fixture(scope="module")
def running_flow(
    pair: PostgresPair, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[FaultyFlow]:
    with flow_on(pair, tmp_path_factory.mktemp("failover")) as running:
        yield running


def test_no_acknowledged_event_is_lost_when_the_primary_dies_amid_100_videos(
    flow: FaultyFlow, pair: PostgresPair
) -> None:
    with Workload(flow, "failover/", ["one", "two", "nobody", "stranger"] * 25) as workload:
        workload.wait_settled(30)
        died = pair.primary
        flow.fail_over()
        assert pair.primary is not died
        outcome = workload.finish()
    assert not outcome.wrong
    assert (outcome.results, outcome.dead_letters) == (100, 0)


def test_the_old_primary_becomes_a_standby_that_can_take_over_again(
    flow: FaultyFlow, pair: PostgresPair
) -> None:
    with Workload(flow, "failback/", ["one", "two"] * 15) as workload:
        for settled in (5, 15):
            workload.wait_settled(settled)
            before = pair.primary
            flow.fail_over()
            assert pair.primary is not before
        outcome = workload.finish()
    assert not outcome.wrong
    assert (outcome.results, outcome.dead_letters) == (30, 0)


def test_asynchronous_replication_loses_acknowledged_events_but_no_video(tmp_path: Path) -> None:
    """The reconciler finds each video whose event was lost."""
    pair = PostgresPair(synchronous=False)
    with flow_on(pair, tmp_path) as flow:
        pair.wait_replicated()
        pair.stop_receiving()
        for name in flow.links_to("function"):
            flow.links[name].break_at_random(1, 1.0, ("function_503",))
        with Workload(flow, "lost/", ["one", "two"] * 5) as workload:
            sent = workload.sent()
            assert {video.key for video in acknowledged(flow, "lost/")} == set(sent)
            assert {row.key for row in flow.works("lost/")} == set(sent)
            flow.fail_over()
            assert not [row for row in flow.works("lost/") if row.origin == "event"]
            outcome = workload.finish(late_s=0)
    assert (outcome.results, outcome.dead_letters) == (10, 0)
    # The checker reports only what is expected: the lost events, and counters that include them.
    missing = [sentence for sentence in outcome.wrong if "was acknowledged, but" in sentence]
    assert len(missing) == 10
    others = set(outcome.wrong) - set(missing)
    assert all(sentence.startswith("the metrics count") for sentence in others), others
