"""Play rounds: upload a hundred videos while processes are killed and links break."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.fault_round import VIDEOS, play_round
from support.fault_workload import Workload
from support.faulty_flow import FaultyFlow
from support.invariant import Outcome

ROUNDS = 20
CEPH_SEEDS = (1000, 1002)


def assert_right(outcome: Outcome) -> None:
    assert not outcome.wrong
    assert outcome.results + outcome.dead_letters == outcome.videos == VIDEOS


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_every_video_of_a_round_gets_a_result_or_a_dead_letter(flow: FaultyFlow, seed: int) -> None:
    before = flow.injected()
    assert_right(play_round(flow, seed))
    assert flow.injected() - before, "no fault was injected"


@pytest.fixture(scope="module")
def ceph_flow(
    tmp_path_factory: pytest.TempPathFactory, ceph_programs: None
) -> Iterator[FaultyFlow]:
    with FaultyFlow(tmp_path_factory.mktemp("ceph-faults"), "ceph") as running:
        yield running


@pytest.mark.parametrize("seed", CEPH_SEEDS)
def test_every_video_of_a_round_on_ceph_gets_a_result_or_a_dead_letter(
    ceph_flow: FaultyFlow, seed: int
) -> None:
    assert_right(play_round(ceph_flow, seed))


def test_no_video_is_lost_when_the_gateway_of_ceph_is_killed_twice(ceph_flow: FaultyFlow) -> None:
    killed = ceph_flow.faults["radosgw killed"]

    with Workload(ceph_flow, "gateway/", ["one"] * VIDEOS) as workload:
        for after in (10, 50):
            workload.wait_settled(after)
            ceph_flow.kill_store(0.5)
        assert_right(workload.finish())
    assert ceph_flow.faults["radosgw killed"] == killed + 2
