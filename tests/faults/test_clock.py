"""A real trigger whose clock is set forward and back, under libfaketime."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.fault_workload import Workload
from support.faulty_flow import FaultyFlow
from support.needs import need

LIBRARIES = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))


class WallClock:
    """The clock of the trigger's process, and of no other; its monotonic clock stays true."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "offset"
        self.set(0)

    def set(self, offset_s: int) -> None:
        self._file.write_text(f"{offset_s:+d}\n")

    def environ(self) -> dict[str, str]:
        return {
            "LD_PRELOAD": str(LIBRARIES[0]),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }


@pytest.fixture(scope="module")
def clock(tmp_path_factory: pytest.TempPathFactory) -> WallClock:
    need(bool(LIBRARIES), "no libfaketime; apt-get install faketime")
    return WallClock(tmp_path_factory.mktemp("clock"))


@pytest.fixture(scope="module")
def flow(clock: WallClock, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultyFlow]:
    """Its trigger waits as long as the product does, and lists so seldom that it helps nobody.

    Calls are not signed: a signature of another hour is refused, as it should be.
    """
    values = {
        "FUNCTION_TIMEOUT_S": "30",
        "RECONCILE_S": "3600",
        "MAX_INFLIGHT": "4",
        "FUNCTION_HMAC_KEY": "",
    }
    folder = tmp_path_factory.mktemp("flow")
    with FaultyFlow(
        folder, quick=False, overrides=values, trigger_environ=clock.environ()
    ) as running:
        running.links["trigger-function"].stall_s = 5.0
        yield running


def test_the_triggers_clock_is_the_one_that_is_set(flow: FaultyFlow, clock: WallClock) -> None:
    """Else the tests below would test nothing."""
    clock.set(7200)
    flow.kill_trigger()
    with Workload(flow, "set/", ["one"]) as workload:
        assert not workload.finish().wrong
    changed_s = max(row.changed_s for row in flow.works("set/"))
    assert changed_s > time.time() + 3600
    clock.set(0)
    flow.kill_trigger()


@pytest.mark.parametrize("jump_s", [-600, 3600])
def test_a_clock_that_is_set_while_calls_run_and_wait_changes_nothing(
    flow: FaultyFlow, clock: WallClock, jump_s: int
) -> None:
    """Two calls run, one waits to be repeated, and there is a place for one more."""
    prefix = f"jump{jump_s:+d}/"
    link = flow.links["trigger-function"]
    running = link.injected["slow"] + 2
    link.break_next("function_503", "slow", "slow")
    with Workload(flow, prefix, ["one", "two", "nobody"], at_once=3) as workload:
        flow.wait(lambda: link.injected["slow"] == running, "two calls that run")
        clock.set(jump_s)
        verdict = workload.finish()
    clock.set(0)
    assert not verdict.wrong
    assert (verdict.results, verdict.repeats) == (3, 1)


def test_a_clock_that_is_set_back_while_no_trigger_runs_stops_nothing(
    flow: FaultyFlow, clock: WallClock
) -> None:
    prefix = "restart/"
    flow.links["trigger-function"].break_next("function_503", "function_503")
    with Workload(flow, prefix, ["one", "two"]) as workload:
        flow.wait(lambda: len(waiting(flow, prefix)) == 2, "two calls to be repeated")
        clock.set(-600)
        flow.kill_trigger()
        verdict = workload.finish()
    clock.set(0)
    flow.kill_trigger()
    assert not verdict.wrong
    assert verdict.results == 2


def waiting(flow: FaultyFlow, prefix: str) -> list[str]:
    rows = flow.works(prefix)
    return [row.key for row in rows if row.state == "queued" and row.calls]
