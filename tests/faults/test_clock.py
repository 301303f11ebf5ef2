"""Change the wall clock of a running trigger with libfaketime."""

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
    """The wall clock of the trigger's process. The monotonic clock is never changed."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "offset"
        self.set(0)

    def set(self, offset_s: int) -> None:
        # The trigger reads the file again and again, so it must never see half of it.
        new = self._file.with_suffix(".new")
        new.write_text(f"{offset_s:+d}\n")
        new.replace(self._file)

    def environ(self) -> dict[str, str]:
        return {
            "LD_PRELOAD": str(LIBRARIES[0]),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }


@pytest.fixture(scope="module")
def clock(tmp_path_factory: pytest.TempPathFactory) -> WallClock:
    need(bool(LIBRARIES), "libfaketime is not installed: apt-get install faketime")
    return WallClock(tmp_path_factory.mktemp("clock"))


@pytest.fixture(scope="module")
def flow(clock: WallClock, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultyFlow]:
    """A flow with the waits of production, whose trigger lists the bucket only once an hour.

    Calls are not signed, because the function rejects signatures with a wrong time.
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


def test_libfaketime_changes_the_clock_of_the_trigger(flow: FaultyFlow, clock: WallClock) -> None:
    """Without this, the other tests would prove nothing."""
    clock.set(7200)
    flow.kill_trigger()
    with Workload(flow, "set/", ["one"]) as workload:
        assert not workload.finish().wrong
    changed_s = max(row.changed_s for row in flow.works("set/"))
    assert changed_s > time.time() + 3600
    clock.set(0)
    flow.kill_trigger()


@pytest.mark.parametrize("jump_s", [-600, 3600])
def test_a_clock_change_while_calls_run_and_wait_loses_nothing(
    flow: FaultyFlow, clock: WallClock, jump_s: int
) -> None:
    """The clock changes while two calls are running and the third video waits for its retry."""
    prefix = f"jump{jump_s:+d}/"
    link = flow.links["trigger-function"]
    running = link.injected["slow"] + 2
    link.break_next("function_503", "slow", "slow")
    with Workload(flow, prefix, ["one", "two", "nobody"], at_once=3) as workload:
        flow.wait(lambda: link.injected["slow"] == running, "two running calls")
        clock.set(jump_s)
        outcome = workload.finish()
    clock.set(0)
    assert not outcome.wrong
    assert (outcome.results, outcome.repeats) == (3, 1)


def test_a_clock_set_back_before_the_trigger_restarts_loses_nothing(
    flow: FaultyFlow, clock: WallClock
) -> None:
    prefix = "restart/"
    # Several failures for each video: on a busy machine, the first video may be retried before the
    # second one fails. With longer delays, both wait at the same time soon.
    flow.links["trigger-function"].break_next(*["function_503"] * 8)
    with Workload(flow, prefix, ["one", "two"]) as workload:
        flow.wait(
            lambda: len(waiting_for_retry(flow, prefix)) == 2, "two videos that wait for a retry"
        )
        clock.set(-600)
        flow.kill_trigger()
        outcome = workload.finish()
    clock.set(0)
    flow.kill_trigger()
    assert not outcome.wrong
    assert outcome.results == 2


def waiting_for_retry(flow: FaultyFlow, prefix: str) -> list[str]:
    rows = flow.works(prefix)
    return [row.key for row in rows if row.state == "queued" and row.calls]
