"""A hundred videos at a time, while processes are killed and links break, by seed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.fault_round import VIDEOS, play_round
from support.fault_workload import Workload
from support.faulty_flow import FaultyFlow
from support.invariant import Verdict

ROUNDS = 20
CEPH_SEEDS = (1000, 1002)


def assert_right(verdict: Verdict) -> None:
    assert not verdict.wrong
    assert verdict.results + verdict.dead_letters == verdict.videos == VIDEOS


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_whatever_dies_every_video_has_its_result_or_its_reason(
    flow: FaultyFlow, seed: int
) -> None:
    before = flow.injected()
    assert_right(play_round(flow, seed))
    assert flow.injected() - before, "nothing broke"


@pytest.fixture(scope="module")
def ceph_flow(
    tmp_path_factory: pytest.TempPathFactory, ceph_programs: None
) -> Iterator[FaultyFlow]:
    with FaultyFlow(tmp_path_factory.mktemp("ceph-faults"), "ceph") as running:
        yield running


@pytest.mark.parametrize("seed", CEPH_SEEDS)
def test_whatever_dies_around_a_real_ceph(ceph_flow: FaultyFlow, seed: int) -> None:
    assert_right(play_round(ceph_flow, seed))


def test_a_real_gateway_is_killed_twice_in_one_round(ceph_flow: FaultyFlow) -> None:
    killed = ceph_flow.faults["radosgw killed"]

    with Workload(ceph_flow, "gateway/", ["one"] * VIDEOS) as workload:
        for after in (10, 50):
            workload.wait_settled(after)
            ceph_flow.kill_store(0.5)
        assert_right(workload.finish())
    assert ceph_flow.faults["radosgw killed"] == killed + 2
