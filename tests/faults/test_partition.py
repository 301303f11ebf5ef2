"""Links lose all packets: of a trigger to the database, or of the primary to its standby.

Each trigger and each database server runs in its own network namespace.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.fault_workload import Workload
from support.faulty_flow import FaultyFlow
from support.flow_events import send_event
from support.net_hosts import NetHosts
from support.postgres_pair import PostgresPair
from support.proxied_flow import STORE_HOST

TRIGGERS = ("trigger", "trigger2", "trigger3")
SERVERS = ("database1", "database2")
TIMEOUT_S = 5
"""FUNCTION_TIMEOUT_S. Leases are a little longer."""

WAITING_COMMITS = (
    "SELECT count(*) FROM pg_stat_activity"
    " WHERE wait_event='SyncRep' AND backend_type='client backend'"
)


@pytest.fixture(scope="module")
def hosts() -> Iterator[NetHosts]:
    with NetHosts(STORE_HOST, *TRIGGERS, *SERVERS) as made, made[STORE_HOST].entered():
        yield made


@pytest.fixture(scope="module")
def pair(hosts: NetHosts) -> Iterator[PostgresPair]:
    servers = [hosts[name] for name in SERVERS]
    with PostgresPair([s.address for s in servers], [s.prefix for s in servers]) as running:
        yield running


@pytest.fixture(scope="module")
def running_flow(
    hosts: NetHosts, pair: PostgresPair, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[FaultyFlow]:
    folder = tmp_path_factory.mktemp("partition")
    values = {"FUNCTION_TIMEOUT_S": str(TIMEOUT_S)}
    with FaultyFlow(folder, triggers=3, database=pair, hosts=hosts, overrides=values) as running:
        yield running


def test_a_trigger_that_is_cut_off_during_a_call_accepts_nothing_and_loses_nothing(
    flow: FaultyFlow, hosts: NetHosts
) -> None:
    link, cut_off = flow.links["trigger-function"], flow.triggers[0]
    link.stall_s = 60.0
    link.break_next("slow")
    with Workload(flow, "cut-off/", ["one", "two"] * 4) as workload:
        flow.wait(lambda: link.injected["slow"], "a call of the first trigger")
        hosts.isolate("trigger", *SERVERS)
        link.end_stalls()
        # A load balancer stops sending events to a replica that is not ready.
        flow.front.unready.add(cut_off.url)
        flow.database_was_cut()
        assert send_event(flow, cut_off.url, "refused/a.mp4") == 503
        # The others finish everything, also the call that the first trigger cannot record.
        workload.wait_over()
        hosts.heal()
        flow.front.unready.clear()
        outcome = workload.finish()
    assert not outcome.wrong
    assert outcome.results == 8
    assert called_again(flow, "cut-off/"), "the call that was not recorded was not repeated"
    assert flow.works("refused/") == []
    assert send_event(flow, cut_off.url, "accepted/a.mp4") == 200
    # The next test must not begin to count in the middle of this call.
    flow.wait(lambda: flow.works("accepted/")[0].state in ("done", "dead"), "the end of the call")


def test_a_primary_that_is_cut_off_from_its_standby_acknowledges_nothing(
    flow: FaultyFlow, hosts: NetHosts, pair: PostgresPair
) -> None:
    """When the standby is promoted, no acknowledged event is missing."""
    # Many, so that uploads still go on when the servers are cut off from each other.
    with Workload(flow, "split/", ["one", "two"] * 20) as workload:
        workload.wait_settled(5)
        hosts.cut(*SERVERS)
        flow.database_was_cut()
        flow.wait(lambda: pair.query(pair.primary, WAITING_COMMITS)[0][0] > 1, "waiting commits")
        before = len(flow.acknowledged)
        assert send_event(flow, flow.front.url, "unsure/a.mp4", timeout_s=2) == 0
        assert len(flow.acknowledged) == before
        # The old primary runs on, but nobody reaches it any more.
        hosts.isolate("database1", *TRIGGERS)
        pair.promote()
        workload.wait_over()
        pair.standby.kill()
        hosts.heal()
        pair.add_standby()
        outcome = workload.finish()
    assert not outcome.wrong
    assert outcome.results == 40


def called_again(flow: FaultyFlow, prefix: str) -> list[str]:
    return [row.key for row in flow.works(prefix) if row.calls > 1]
