"""Three triggers on one PostgreSQL lose nothing, and never call twice for one video at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import psycopg
import pytest
from support.call_ledger import read_calls
from support.canned_answers import Reply
from support.fault_round import play_round
from support.fault_workload import Workload
from support.faulty_flow import FaultyFlow
from support.faulty_proxy import FaultyProxy
from support.flow_database import OnePostgres
from support.flow_events import send_event
from support.inbox_rows import Row

ROUNDS = 5
VIDEOS = 50

LONG_S = 100.0
"""How long requests are stalled, unless the test ends that."""


@pytest.fixture(scope="module")
def running_flow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultyFlow]:
    folder = tmp_path_factory.mktemp("many")
    with OnePostgres() as database, FaultyFlow(folder, triggers=3, database=database) as running:
        yield running


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_every_video_of_a_round_gets_a_result_or_a_dead_letter(flow: FaultyFlow, seed: int) -> None:
    before = flow.injected()
    outcome = play_round(flow, seed, VIDEOS)
    assert not outcome.wrong
    assert outcome.results + outcome.dead_letters == outcome.videos == VIDEOS
    assert flow.injected() - before, "no fault was injected"


def test_three_triggers_share_the_work_and_count_it_exactly(flow: FaultyFlow) -> None:
    with Workload(flow, "shared/", ["one", "two", "nobody"] * 20, at_once=4) as workload:
        outcome = workload.finish()
    assert not outcome.wrong
    assert flow.baseline.exact
    assert outcome.results == 60
    assert called_again(flow, "shared/") == []
    counted = flow.counted()
    assert counted["rollcall_calls_total done"] == outcome.calls
    calls = [each.counters()["rollcall_calls_total done"] for each in flow.triggers]
    assert all(calls), f"one of the triggers made no calls: {calls}"


def test_the_work_of_a_dead_trigger_is_repeated_when_its_lease_ends_and_not_before(
    flow: FaultyFlow,
) -> None:
    link = flow.links["trigger-function"]
    before = link.injected["slow"]
    link.stall_s = LONG_S
    link.break_next("slow")
    with Workload(flow, "dead/", ["one", "two"] * 5) as workload:
        flow.wait(lambda: link.injected["slow"] > before, "a call of the first trigger")
        flow.crash_trigger()
        leases = lease_ends(flow)
        link.end_stalls()
        workload.wait_over()
        flow.start_trigger()
        outcome = workload.finish()
    assert not outcome.wrong
    assert outcome.results == 10
    repeated = [row for row in called_again(flow, "dead/") if row.key in leases]
    assert repeated, "the call of the dead trigger was not repeated"
    logs = [each.process.log.read_text() for each in flow.triggers]
    assert any("calls were cut off, and their leases ended" in log for log in logs)
    for row in repeated:
        calls = [call for call in read_calls(flow.folder / "calls") if call.key == row.key]
        assert max(call.sent_s for call in calls) > leases[row.key]


def lease_ends(flow: FaultyFlow) -> dict[str, float]:
    """When the leases of all running calls end, by key; in seconds of `time.monotonic`."""
    assert flow.database is not None
    since_boot_s = time.monotonic() - time.time()
    with psycopg.connect(flow.database.direct_url()) as connection:
        rows = connection.execute("SELECT key, lease_until_s FROM work WHERE state='running'")
        return {key: lease_until_s + since_boot_s for key, lease_until_s in rows}


def test_a_trigger_that_starts_leaves_the_calls_of_the_others_alone(tmp_path: Path) -> None:
    # Calls with a long time-out, so that they still run when the trigger has started.
    values = {"FUNCTION_TIMEOUT_S": str(2 * LONG_S)}
    with (
        OnePostgres() as database,
        FaultyFlow(tmp_path, triggers=3, database=database, overrides=values) as flow,
    ):
        # The process runs already when the others make their calls, but cannot register at the
        # store.
        flow.processes.stop(flow.trigger)
        store = flow.links["trigger-s3"]
        store.stall_s = LONG_S
        registers = store.injected["slow"]
        store.break_at_random(1, 1.0, ("slow",))
        flow.spawn_trigger()
        flow.wait(lambda: store.injected["slow"] > registers, "the trigger to register itself")
        slow = [flow.links[each.link("function")] for each in flow.triggers[1:]]
        before = sum(link.injected["slow"] for link in slow)
        for link in slow:
            link.stall_s = LONG_S
            link.break_next("slow", "slow")
        with Workload(flow, "restart/", ["one", "two"] * 4, at_once=4) as workload:
            flow.wait(
                lambda: sum(link.injected["slow"] for link in slow) == before + 4, "slow calls"
            )
            store.mend()
            store.end_stalls()
            done = "rollcall_calls_total done"
            trigger = flow.triggers[0]
            flow.wait(lambda: trigger.counters()[done], "a call of the trigger that started")
            assert [row for row in flow.works("restart/") if row.state == "running"]
            for link in slow:
                link.end_stalls()
            outcome = workload.finish()
        assert not outcome.wrong
        assert outcome.results == 8
        assert called_again(flow, "restart/") == []


def test_an_event_is_refused_while_no_trigger_reaches_the_database(flow: FaultyFlow) -> None:
    for name in flow.links_to("database"):
        flow.links[name].cut()
    assert send_event(flow, flow.front.url, "refused/a.mp4") == 503
    flow.mend()
    assert flow.works("refused/") == []


def called_again(flow: FaultyFlow, prefix: str) -> list[Row]:
    """The work for which the function was called more than once."""
    return [row for row in flow.works(prefix) if row.calls > 1]


class Listing(NamedTuple):
    """A request of a trigger that lists a bucket."""

    link: str
    begin_s: float
    end_s: float


def test_one_reconciler_lists_the_buckets_at_a_time_and_another_one_takes_over(
    flow: FaultyFlow, monkeypatch: pytest.MonkeyPatch
) -> None:
    listings: list[Listing] = []

    def slow(link: FaultyProxy) -> Callable[..., Reply]:
        forward = link.forward

        def forward_slowly(
            method: str, path: str, headers: Iterable[tuple[str, str]], body: bytes
        ) -> Reply:
            begin_s = time.monotonic()
            lists = method == "GET" and "list-type" in path
            if lists:
                time.sleep(0.5)
            reply = forward(method, path, headers, body)
            if lists:
                listings.append(Listing(link.name, begin_s, time.monotonic()))
            return reply

        return forward_slowly

    for name in flow.links_to("s3"):
        link = flow.links[name]
        assert isinstance(link, FaultyProxy)
        monkeypatch.setattr(link, "forward", slow(link))
    flow.wait(lambda: len(listings) >= 6, "three scans of two buckets")
    scanned_last = listings[-1].link
    (number,) = [each.number for each in flow.triggers if each.link("s3") == scanned_last]
    crash_s = time.monotonic()
    flow.crash_trigger(number)
    count = len(listings)
    flow.wait(
        lambda: [each for each in listings[count:] if each.link != scanned_last],
        "a scan of another trigger",
    )
    flow.start_trigger(number)
    # The link goes on with a listing of the trigger that was killed.
    ended = [
        each._replace(end_s=min(each.end_s, crash_s))
        if each.link == scanned_last and each.begin_s < crash_s
        else each
        for each in listings
    ]
    together = [
        (one, other)
        for one, other in combinations(ended, 2)
        if one.link != other.link and one.begin_s < other.end_s and other.begin_s < one.end_s
    ]
    assert not together
