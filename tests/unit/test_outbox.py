"""The contract of the outbox, in memory, on SQLite and on PostgreSQL."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, event, text
from support.outboxes import LEASE_S, claimed, ids, notice, states
from support.work_queues import T0, Clock

from rollcall.core.errors import InboxUnavailable
from rollcall.core.notices import KEEP_S, NOTICE_STATES
from rollcall.core.queue_protocols import Outbox
from rollcall.database.database import IN_MEMORY, Database
from rollcall.database.tables import metadata
from rollcall.queues.memory_outbox import MemoryOutbox
from rollcall.queues.sql_outbox import MAX_COUNTED, SqlOutbox, insert_notices
from rollcall.queues.sql_statements import STATEMENTS

URLS = {"sqlite-memory": IN_MEMORY, "sqlite": "sqlite:///{}/outbox.sqlite3"}


def opened(url: str, clock: Clock) -> Database:
    database = Database(url, clock)
    metadata.create_all(database.engine)
    return database


@pytest.fixture
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgresql":
        url: str = request.getfixturevalue("postgres_url")
        return url
    return URLS[request.param].format(tmp_path)


@pytest.fixture
def database(database_url: str, clock: Clock) -> Iterator[Database]:
    with closing(opened(database_url, clock)) as database:
        yield database


@pytest.fixture(params=["memory", *URLS, "postgresql"])
def outbox(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Iterator[Outbox]:
    if request.param == "memory":
        yield MemoryOutbox(clock)
        return
    is_postgresql = request.param == "postgresql"
    url = request.getfixturevalue("postgres_url") if is_postgresql else URLS[request.param]
    with closing(opened(url.format(tmp_path), clock)) as database:
        yield SqlOutbox(database)


class TestOutbox:
    def test_a_message_is_delivered_once_and_deleted(self, outbox: Outbox) -> None:
        outbox.add([notice(1, '{"a": "ä"}')])
        found = claimed(outbox)
        assert (found.message_id, found.body) == ("msg_1", '{"a": "ä"}')
        assert (found.state, found.attempts, found.calls, found.created_s) == ("running", 1, 1, T0)
        assert not outbox.claim(10, LEASE_S)
        outbox.delivered(found)
        assert states(outbox) == {}
        assert outbox.requeue_expired(everything=True) == 0

    def test_nothing_is_claimed_from_an_empty_outbox(self, outbox: Outbox) -> None:
        outbox.add([])
        assert not outbox.claim(10, LEASE_S)
        assert outbox.counts() == dict.fromkeys(NOTICE_STATES, 0)
        assert outbox.oldest_s() == 0

    def test_the_message_that_is_due_longest_comes_first(
        self, outbox: Outbox, clock: Clock
    ) -> None:
        outbox.add([notice(1), notice(2)])
        clock.now_s += 1
        outbox.add([notice(3)])
        outbox.retry(claimed(outbox), 5.0, "http_500", "it failed")
        assert [claimed(outbox).message_id, claimed(outbox).message_id] == ["msg_2", "msg_3"]
        clock.now_s += 5
        assert claimed(outbox).message_id == "msg_1"

    def test_a_claim_takes_at_most_as_many_as_it_is_asked_for(self, outbox: Outbox) -> None:
        outbox.add(notice(number) for number in range(5))
        assert ids(outbox, 2) == ["msg_0", "msg_1"]
        assert ids(outbox, 9) == ["msg_2", "msg_3", "msg_4"]

    def test_a_retry_is_due_after_its_delay(self, outbox: Outbox, clock: Clock) -> None:
        outbox.add([notice()])
        outbox.retry(claimed(outbox), 10.0, "http_500", "the receiver answered 500")
        clock.now_s += 9.9
        assert not outbox.claim(1, LEASE_S)
        clock.now_s += 0.2
        again = claimed(outbox)
        assert (again.message_id, again.attempts, again.calls) == ("msg_1", 2, 2)
        assert (again.code, again.message) == ("http_500", "the receiver answered 500")

    def test_a_delivery_that_was_cut_off_does_not_count(self, outbox: Outbox) -> None:
        outbox.add([notice()])
        outbox.retry(claimed(outbox), 0.0, "stopping", "", counts=False)
        again = claimed(outbox)
        assert (again.attempts, again.calls) == (1, 2)

    def test_an_expired_lease_is_taken_back_and_others_are_not(
        self, outbox: Outbox, clock: Clock
    ) -> None:
        outbox.add([notice(1), notice(2)])
        claimed(outbox)
        clock.now_s += LEASE_S - 1
        claimed(outbox)
        clock.now_s += 2
        assert outbox.requeue_expired() == 1
        assert claimed(outbox).message_id == "msg_1"
        assert outbox.requeue_expired(everything=True) == 2

    @pytest.mark.parametrize("settle", ["retry", "bury"])
    def test_a_late_result_changes_nothing(self, outbox: Outbox, clock: Clock, settle: str) -> None:
        outbox.add([notice()])
        late = claimed(outbox)
        clock.now_s += LEASE_S + 1
        outbox.requeue_expired()
        claimed(outbox)
        if settle == "retry":
            outbox.retry(late, 0.0, "late", "late")
        else:
            outbox.bury(late, "late", "late")
        assert states(outbox) == {"running": 1}

    def test_a_late_delivery_still_deletes_the_message(self, outbox: Outbox, clock: Clock) -> None:
        outbox.add([notice()])
        late = claimed(outbox)
        clock.now_s += LEASE_S + 1
        outbox.requeue_expired()
        outbox.delivered(late)
        assert states(outbox) == {}

    def test_a_late_result_does_not_reach_a_new_row_with_the_same_number(
        self, outbox: Outbox
    ) -> None:
        outbox.add([notice(1)])
        first = claimed(outbox)
        outbox.delivered(first)
        outbox.add([notice(2)])
        second = claimed(outbox)
        # SQLite gives the number of a deleted last row to the next row.
        same_number = replace(first, id=second.id)
        outbox.bury(same_number, "late", "late")
        outbox.delivered(same_number)
        assert states(outbox) == {"running": 1}

    def test_dead_messages_are_kept_and_can_be_replayed(self, outbox: Outbox) -> None:
        outbox.add([notice(1), notice(2)])
        for found in outbox.claim(2, LEASE_S):
            outbox.bury(found, "http_500", "the receiver answered 500")
        assert not outbox.claim(1, LEASE_S)
        assert states(outbox) == {"dead": 2}
        dead = {each.message_id: each for each in outbox.dead(10)}
        assert dead["msg_2"].message == "the receiver answered 500"
        assert outbox.replay([dead["msg_2"].id, 999]) == 1
        again = claimed(outbox)
        assert (again.message_id, again.attempts, again.calls) == ("msg_2", 1, 2)
        assert outbox.replay() == 1
        assert outbox.replay() == 0

    def test_the_newest_dead_messages_are_listed_first(self, outbox: Outbox, clock: Clock) -> None:
        for number in range(3):
            outbox.add([notice(number)])
            outbox.bury(claimed(outbox), "gone", "")
            clock.now_s += 1
        assert [each.message_id for each in outbox.dead(2)] == ["msg_2", "msg_1"]

    def test_messages_are_deleted_when_they_are_old(self, outbox: Outbox, clock: Clock) -> None:
        outbox.add([notice(1), notice(2)])
        clock.now_s += 100
        outbox.bury(claimed(outbox), "http_500", "")
        outbox.add([notice(3)])
        clock.now_s += KEEP_S - 101
        assert outbox.prune() == 0
        clock.now_s += 2
        assert outbox.prune() == 1
        assert states(outbox) == {"queued": 1, "dead": 1}
        clock.now_s += 100
        assert outbox.prune() == 2

    def test_a_replayed_message_is_as_new(self, outbox: Outbox, clock: Clock) -> None:
        outbox.add([notice()])
        outbox.bury(claimed(outbox), "http_500", "")
        clock.now_s += KEEP_S - 1
        outbox.replay()
        clock.now_s += 10
        assert outbox.oldest_s() == 10
        assert outbox.prune() == 0

    def test_the_age_is_that_of_the_oldest_undelivered_message(
        self, outbox: Outbox, clock: Clock
    ) -> None:
        outbox.add([notice(1)])
        outbox.bury(claimed(outbox), "http_500", "")
        clock.now_s += 100
        outbox.add([notice(2)])
        clock.now_s += 10
        outbox.add([notice(3)])
        clock.now_s += 5
        assert outbox.oldest_s() == 15
        found = claimed(outbox)
        assert outbox.oldest_s() == 15
        outbox.delivered(found)
        assert outbox.oldest_s() == 5


each_database = pytest.mark.parametrize("database_url", [*URLS, "postgresql"], indirect=True)


@each_database
def test_counting_stops_at_the_limit(database: Database) -> None:
    outbox = SqlOutbox(database)
    outbox.add(notice(number) for number in range(MAX_COUNTED + 5))
    claimed(outbox)
    assert states(outbox) == {"queued": MAX_COUNTED, "running": 1}


@each_database
def test_messages_are_part_of_the_transaction_that_adds_them(database: Database) -> None:
    sql = STATEMENTS[database.shared]

    def fail(connection: Connection) -> None:
        insert_notices(connection, sql, [notice(1)], T0)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        database.run(fail)
    database.run(lambda connection: insert_notices(connection, sql, [notice(2)], T0))
    assert ids(SqlOutbox(database)) == ["msg_2"]


@each_database
def test_a_broken_database_raises_our_error(database: Database) -> None:
    outbox = SqlOutbox(database)
    with database.transaction() as connection:
        connection.execute(text("DROP TABLE notice"))
    with pytest.raises(InboxUnavailable):
        outbox.claim(1, LEASE_S)
    with pytest.raises(InboxUnavailable):
        outbox.counts()


@pytest.mark.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)
def test_several_triggers_never_hold_the_same_message(
    database_url: str, database: Database, clock: Clock
) -> None:
    held: list[str] = []

    def work(outbox: SqlOutbox) -> None:
        while found := outbox.claim(2, LEASE_S):
            held.extend(each.message_id for each in found)
            outbox.delivered(found[0])

    with closing(opened(database_url, clock)) as other:
        outboxes = [SqlOutbox(database), SqlOutbox(other)] * 2
        outboxes[0].add(notice(number) for number in range(60))
        threads = [threading.Thread(target=work, args=(each,)) for each in outboxes]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(held) == sorted(f"msg_{number}" for number in range(60))


def test_no_statement_reads_the_whole_table(tmp_path: Path, clock: Clock) -> None:
    sent: list[tuple[str, Any]] = []
    with closing(Database(f"sqlite:///{tmp_path}/outbox.sqlite3", clock)) as database:
        metadata.create_all(database.engine)
        event.listen(
            database.engine,
            "before_cursor_execute",
            lambda connection, cursor, statement, values, *rest: sent.append((statement, values)),
        )
        outbox = SqlOutbox(database)
        outbox.add([notice(1), notice(2)])
        outbox.retry(claimed(outbox), 0.0, "", "")
        outbox.bury(claimed(outbox), "", "")
        outbox.delivered(claimed(outbox))
        for call in (outbox.replay, outbox.requeue_expired, outbox.prune, outbox.counts):
            call()
        outbox.oldest_s()
        outbox.dead(1)
        checked = [each for each in sent if re.match("SELECT|UPDATE|DELETE|WITH", each[0])]
        with database.engine.connect() as connection:
            plans = {
                statement: " ".join(
                    row[-1]
                    for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)
                )
                for statement, values in checked
            }
    assert len(plans) >= 12
    for statement, plan in plans.items():
        assert not re.search("SCAN notice(?! USING)|TEMP B-TREE", plan), (statement, plan)
