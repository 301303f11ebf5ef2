"""Only one trigger at a time can use an inbox."""

from __future__ import annotations

from support.fault_workload import Workload
from support.faulty_flow import FaultyFlow


def test_a_second_trigger_on_the_same_inbox_ends_and_loses_nothing(flow: FaultyFlow) -> None:
    with Workload(flow, "two-triggers/", ["one", "two"] * 10) as workload:
        workload.wait_settled(3)
        second = flow.second_trigger()
        flow.wait(lambda: not second.alive(), "the second trigger to end")
        outcome = workload.finish()
    assert "another trigger already uses the inbox" in second.log.read_text()
    assert second._child.poll() == 1
    assert flow.trigger.alive()
    assert not outcome.wrong
    assert (outcome.results, outcome.repeats) == (20, 0)
    flow.processes.stop(second)
