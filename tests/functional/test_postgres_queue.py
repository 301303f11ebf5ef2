"""What only PostgreSQL has: several triggers on one queue, and a server that goes away."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import PoolProxiedConnection, event, text
from support.needs import REPOSITORY
from support.postgres import FreshDatabases, running_postgres
from support.waiting import wait_until
from support.work_queues import LEASE_S, T0, claim, claimed, listed, states, video

from rollcall.core.errors import InboxUnavailable
from rollcall.core.work import Notice, Work
from rollcall.database.database import Database
from rollcall.queues import sql_queue
from rollcall.queues.sql_queue import ANALYZE_AFTER, SqlQueue


@pytest.fixture
def databases(postgres_url: str) -> Iterator[tuple[Database, Database]]:
    with closing(Database(postgres_url)) as one, closing(Database(postgres_url)) as other:
        for database in (one, other):
            event.listen(database.engine, "connect", be_patient)
        yield one, other


def be_patient(connection: psycopg.Connection[object], record: object) -> None:
    """Let transactions pause and wait for locks longer than usual, for a busy machine."""
    for name in ("idle_in_transaction_session", "lock", "statement"):
        connection.execute(f"SET {name}_timeout = '120s'")
    connection.commit()


@pytest.fixture
def queues(databases: tuple[Database, Database]) -> tuple[SqlQueue, SqlQueue]:
    """The queues of two triggers."""
    return SqlQueue(databases[0]), SqlQueue(databases[1])


class Paused:
    """Pauses the transactions of one database before each statement that contains a text."""

    def __init__(self, database: Database, fragment: str) -> None:
        self.reached, self.go_on = threading.Event(), threading.Event()

        def pause(connection: object, cursor: object, statement: str, *_: object) -> None:
            if fragment in statement and not self.go_on.is_set():
                self.reached.set()
                assert self.go_on.wait(60)

        event.listen(database.engine, "before_cursor_execute", pause)


@pytest.mark.parametrize("pause_before", ["INSERT INTO work", "INSERT INTO tally"])
def test_work_that_joins_while_the_work_ahead_ends_is_not_left_behind(
    databases: tuple[Database, Database], queues: tuple[SqlQueue, SqlQueue], pause_before: str
) -> None:
    """The trigger that ends the work must see the new row, or the new row must see the end."""
    one, other = queues
    one.add([video(event_id="1")])
    running = claimed(one)
    pause = Paused(databases[1], pause_before)
    adding = threading.Thread(target=lambda: other.add([video(event_id="2")]))
    adding.start()
    assert pause.reached.wait(60)
    ending = threading.Thread(target=lambda: one.finish(running, "recognised"))
    ending.start()
    ending.join(0.5)
    assert ending.is_alive()  # it waits for the lock of the other trigger
    pause.go_on.set()
    adding.join(60)
    ending.join(60)
    second = claimed(one)
    assert second.identity == "id:2"
    one.finish(second, "recognised")
    assert states(one) == {"done": 2}


def test_work_that_joins_after_the_work_ahead_ended_is_in_line(
    databases: tuple[Database, Database], queues: tuple[SqlQueue, SqlQueue]
) -> None:
    """The new work does not see work ahead; then it does, because another trigger is faster."""
    one, other = queues
    pause = Paused(databases[1], "INSERT INTO work")
    adding = threading.Thread(target=lambda: other.add([video(event_id="2")]))
    adding.start()
    assert pause.reached.wait(60)
    one.add([video(event_id="1")])
    pause.go_on.set()
    adding.join(60)
    first = claimed(one)
    assert first.identity == "id:1"
    assert claim(other) is None
    one.finish(first, "recognised")
    assert claimed(other).identity == "id:2"


def test_a_retry_that_comes_due_while_other_work_joins_waits_behind_it(
    databases: tuple[Database, Database], queues: tuple[SqlQueue, SqlQueue]
) -> None:
    one, other = queues
    one.add([video(event_id="1")])
    one.retry(claimed(one), 0, "down", "down")
    pause = Paused(databases[1], "UPDATE work SET stage=r.stage")
    found: list[object] = []
    claiming = threading.Thread(target=lambda: found.append(claim(other)))
    claiming.start()
    assert pause.reached.wait(60)
    one.add([video(event_id="2")])
    pause.go_on.set()
    claiming.join(60)
    works = [each for each in (*found, claim(one)) if each]
    assert len(works) == 1
    one.finish(works[0], "recognised")  # type: ignore[arg-type]
    one.finish(claimed(one), "recognised")
    assert states(one) == {"done": 2}


def test_two_triggers_never_claim_the_same_work(queues: tuple[SqlQueue, SqlQueue]) -> None:
    one, other = queues
    one.add([video(f"{n}.mp4", str(n)) for n in range(200)])
    claims: list[int] = []

    def take(queue: SqlQueue) -> None:
        while works := queue.claim(3, LEASE_S):
            claims.extend(work.id for work in works)

    threads = [threading.Thread(target=take, args=(queue,)) for queue in (one, other) * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert sorted(claims) == list(range(1, 201))


def test_an_event_that_meets_the_reconciler_queues_nothing(
    databases: tuple[Database, Database], queues: tuple[SqlQueue, SqlQueue]
) -> None:
    """Neither trigger sees the other's row before it has looked for one."""
    one, other = queues
    pause = Paused(databases[0], "INSERT INTO found_upload")
    added: list[int] = []
    reconciler = threading.Thread(target=lambda: one.add_missing(listed()))
    events = threading.Thread(target=lambda: added.append(other.add([video()])))
    reconciler.start()
    assert pause.reached.wait(60)
    events.start()
    events.join(0.5)
    pause.go_on.set()
    reconciler.join(60)
    events.join(60)
    assert (added, states(one)) == ([0], {"queued": 1})
    assert other.add([video()]) == 0


def test_the_reconciler_that_meets_an_event_queues_nothing(
    databases: tuple[Database, Database], queues: tuple[SqlQueue, SqlQueue]
) -> None:
    one, other = queues
    pause = Paused(databases[0], "INSERT INTO tally")
    found: list[bool] = []
    events = threading.Thread(target=lambda: one.add([video()]))
    reconciler = threading.Thread(target=lambda: found.append(other.add_missing(listed())))
    events.start()
    assert pause.reached.wait(60)
    reconciler.start()
    reconciler.join(0.5)
    pause.go_on.set()
    events.join(60)
    reconciler.join(60)
    assert (found, states(one)) == ([False], {"queued": 1})


def test_two_triggers_that_prune_at_the_same_time_count_each_row_once(
    databases: tuple[Database, Database], queues: tuple[SqlQueue, SqlQueue]
) -> None:
    one, other = queues
    one.add([video(f"{n}.mp4", str(n)) for n in range(3)])
    for work in one.claim(2, LEASE_S):
        one.finish(work, "recognised")
    pause = Paused(databases[0], "DELETE FROM finished")
    pruning = threading.Thread(target=lambda: one.prune(-60))
    pruning.start()
    assert pause.reached.wait(60)
    other.prune(-60)
    pause.go_on.set()
    pruning.join(60)
    assert states(one) == {"queued": 1}


def test_work_that_another_trigger_locks_for_a_moment_is_claimed(
    databases: tuple[Database, Database],
    queues: tuple[SqlQueue, SqlQueue],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A claim locks more than it takes. Another trigger must not take that for an empty line."""
    monkeypatch.setattr(sql_queue, "LOCKED_TRIES", 10_000)  # the moment may be long
    one, other = queues
    one.add([video("a.mp4", "1"), video("b.mp4", "2")])
    pause = Paused(databases[0], "SET state='running'")
    claiming = threading.Thread(target=lambda: one.claim(1, LEASE_S))
    claiming.start()
    assert pause.reached.wait(60)
    threading.Timer(0.01, pause.go_on.set).start()
    assert claimed(other).key == "b.mp4"
    claiming.join(60)


def test_the_same_event_at_two_triggers_is_one_work(queues: tuple[SqlQueue, SqlQueue]) -> None:
    new: list[int] = []

    def send(queue: SqlQueue) -> None:
        for start in range(0, 100, 5):
            new.append(queue.add([video(f"{n}.mp4", str(n)) for n in range(start, start + 5)]))

    threads = [threading.Thread(target=send, args=(queue,)) for queue in queues * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert sum(new) == 100
    assert states(queues[0]) == {"queued": 100}


def test_a_dead_triggers_work_is_taken_back_when_its_lease_ends(
    queues: tuple[SqlQueue, SqlQueue],
) -> None:
    """The lease ends by the clock of the server; other work stays with its trigger."""
    one, other = queues
    one.add([video("dead.mp4", "1"), video("alive.mp4", "2")])
    (dead,) = one.claim(1, 0.2)
    (alive,) = one.claim(1, 60)
    wait_until(lambda: other.requeue_expired() == 1, "the end of the lease")
    again = claimed(other)
    assert (again.id, again.calls) == (dead.id, 2)
    one.finish(dead, "recognised")  # too late
    assert states(one) == {"running": 2}
    other.finish(again, "recognised")
    one.finish(alive, "recognised")
    assert states(one) == {"done": 2}


@pytest.mark.parametrize("how", ["terminated", "restarted", "read-only"])
def test_the_queue_works_again_after_the_server_was_away(how: str) -> None:
    with (
        running_postgres() as server,
        FreshDatabases(server).url() as url,
        closing(Database(url)) as database,
    ):
        queue = SqlQueue(database)
        queue.add([video("a.mp4", "1")])
        if how == "terminated":
            query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            with server.connect() as admin:
                admin.execute(f"{query} WHERE application_name='rollcall'")
        elif how == "restarted":
            server.kill()
            server.start()
        else:  # as on a primary that became a standby
            with database.reading() as connection:
                connection.exec_driver_sql("SET default_transaction_read_only=on")
                connection.commit()
        with pytest.raises(InboxUnavailable):
            queue.add([video("b.mp4", "2")])
        assert queue.add([video("b.mp4", "2")]) == 1
        assert {claimed(queue).key, claimed(queue).key} == {"a.mp4", "b.mp4"}


END_CALLS: dict[str, Callable[[SqlQueue, Work], None]] = {
    "done": lambda queue, work: queue.finish(work, "recognised", Notice("m", "body")),
    "dead": lambda queue, work: queue.bury(work, "gone", "gone", Notice("m", "body")),
    "queued": lambda queue, work: queue.retry(work, 60, "down", "down"),
}


@pytest.mark.parametrize("state", END_CALLS)
def test_a_change_whose_commit_was_not_answered_can_be_repeated(
    postgres_url: str, state: str
) -> None:
    """The server commits, but the connection breaks before it says so."""
    with closing(Database(postgres_url)) as database:
        queue, lost = SqlQueue(database), LostAnswers(database)
        with lost.next(), pytest.raises(InboxUnavailable):
            queue.add([video()])
        assert queue.add([video()]) == 0
        work = claimed(queue)
        with lost.next(), pytest.raises(InboxUnavailable):
            END_CALLS[state](queue, work)
        END_CALLS[state](queue, work)
        assert states(queue) == {state: 1}
        assert queue.outbox.counts()["queued"] == (state != "queued")
        (ended,) = queue.latest(2)
        assert (ended.attempts, ended.calls) == (1, 1)


class LostAnswers:
    """Breaks the connection of a database after its next commit."""

    def __init__(self, database: Database) -> None:
        self._armed = False
        dialect = database.engine.dialect
        commit = dialect.do_commit

        def do_commit(connection: PoolProxiedConnection) -> None:
            commit(connection)
            if self._armed:
                self._armed = False
                assert connection.dbapi_connection
                connection.dbapi_connection.close()
                raise psycopg.OperationalError("the connection is lost")

        dialect.do_commit = do_commit  # type: ignore[method-assign]

    @contextmanager
    def next(self) -> Iterator[None]:
        self._armed = True
        yield
        assert not self._armed


def test_an_unreachable_server_is_unavailable() -> None:
    with closing(Database("postgresql://u:secret@127.0.0.1:1/x")) as database:
        with pytest.raises(InboxUnavailable, match="check that the server runs") as caught:
            SqlQueue(database).counts()
        assert "secret" not in str(caught.value)


MANY = 100_000
MAX_BLOCKS = 1000
"""Limit in blocks of 8 KiB that one operation reads. A scan of MANY rows reads thousands."""

FACTS = {
    "id": "n + 1000000",
    "identity": "'filled-' || n",
    "bucket": "'videos'",
    "key": "'a.mp4'",
    "etag": "'e1'",
    "origin": "'event'",
    "received_s": f"{T0} - 100000",
    "changed_s": f"{T0} - 1",
}
DEAD = {**FACTS, "state": "'dead'"}
WAITING = {**FACTS, "state": "'queued'", "due_s": f"{T0} - 1", "prefix": "''"}
RESTING = {**WAITING, "due_s": f"{T0} + 1000000000", "attempts": "1"}
IN_LINE = {**WAITING, "stage": "1", "turn": "n + 1000", "key": "'x' || n || '.mp4'"}
HISTORIES: dict[str, tuple[str, dict[str, str]]] = {
    "done": ("finished", {**FACTS, "state": "'done'"}),
    "done, of many keys": ("finished", {**FACTS, "state": "'done'", "key": "n || '.mp4'"}),
    "dead": ("finished", {**DEAD, "etag": "'e' || n"}),
    "dead without etag": ("finished", {**DEAD, "etag": "''"}),
    "behind": ("work", {**WAITING, "stage": "2"}),
    "retries of one key, resting": ("work", RESTING),
    "new of many keys": ("work", IN_LINE),
    "new of many prefixes": ("work", {**IN_LINE, "turn": "0", "prefix": "n || '/'"}),
    "retries of many keys": ("work", {**IN_LINE, "attempts": "1"}),
}


def blocks(database: Database, operation: Callable[[], object]) -> int:
    """The number of blocks of tables and indexes that the operation reads."""

    def read() -> int:
        with database.reading() as connection:
            connection.execute(text("SELECT pg_stat_force_next_flush()"))
            connection.commit()
            connection.execute(text("SELECT 1"))
            connection.commit()
            parts = [f"coalesce({kind}_blks_{how}, 0)" for kind in KINDS for how in ("hit", "read")]
            query = f"SELECT sum({' + '.join(parts)}) FROM pg_statio_user_tables"
            return int(connection.execute(text(query)).scalar_one())

    before = read()
    operation()
    return read() - before


KINDS = ("heap", "idx")


def vacuum(database: Database) -> None:
    with database.reading() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT")
        connection.execute(text("VACUUM ANALYZE"))


@pytest.mark.parametrize("plans", ["of a new database", "with statistics", "made before"])
@pytest.mark.parametrize("name", HISTORIES)
def test_a_long_history_costs_nothing(postgres_url: str, name: str, plans: str) -> None:
    """The server reads only a few blocks, whatever it knew when it planned the statements."""
    table, values = HISTORIES[name]
    with closing(Database(postgres_url)) as database:
        queue = SqlQueue(database)
        if plans == "made before":
            vacuum(database)
            for n in range(20):  # psycopg prepares a statement that is repeated
                queue.add([video(f"warm{n}.mp4", f"warm{n}"), video(f"warm{n}.mp4", f"other{n}")])
                queue.retry(claimed(queue), 0, "x", "")
                queue.finish(claimed(queue), "x")
                queue.finish(claimed(queue), "x")
                queue.add_missing(listed(f"found{n}.mp4"))
                queue.bury(claimed(queue), "x", "")
                queue.result_found(listed(f"found{n}.mp4"))
        if plans == "of a new database":
            queue.add([video(f"{n}.mp4", f"new{n}") for n in range(ANALYZE_AFTER)])
        queue.add([video("first.mp4", "first"), video("a.mp4", "a0")])
        with database.transaction() as connection:
            connection.execute(
                text(
                    f"INSERT INTO {table} ({', '.join(values)}) SELECT {', '.join(values.values())}"
                    f" FROM generate_series(1, {MANY}) AS g(n)"
                )
            )
        if plans == "with statistics":
            vacuum(database)
        held: list[Work] = []
        costs = {
            "claim": blocks(database, lambda: held.extend(queue.claim(1, LEASE_S))),
            "claim again": blocks(database, lambda: held.extend(queue.claim(4, LEASE_S))),
            "finish": blocks(database, lambda: queue.finish(held.pop(), "recognised")),
            "retry": blocks(database, lambda: held and queue.retry(held.pop(), 9, "x", "")),
            "claim once more": blocks(database, lambda: held.extend(queue.claim(1, LEASE_S))),
            "bury": blocks(database, lambda: held and queue.bury(held.pop(), "x", "")),
            "take back": blocks(database, queue.requeue_expired),
            "add": blocks(
                database, lambda: queue.add([video("a.mp4", "a1"), video("b.mp4", "b1")])
            ),
            "add missing": blocks(database, lambda: queue.add_missing(listed("a.mp4", "e-new"))),
            "result found": blocks(database, lambda: queue.result_found(listed("a.mp4", "e-new"))),
            "counts": blocks(database, queue.counts),
            "codes": blocks(database, queue.codes),
            "oldest waiting": blocks(database, queue.oldest_waiting_s),
            "latest dead": blocks(database, lambda: queue.latest(50, "dead")),
            "latest queued": blocks(database, lambda: queue.latest(10, "queued")),
            "latest": blocks(database, lambda: queue.latest(10)),
        }
        assert {each: cost for each, cost in costs.items() if cost > MAX_BLOCKS} == {}


TRIGGER = """
import os, random, sys, time
from threading import Thread
from rollcall.core.types import VideoRef
from rollcall.core.work import Notice, Work
from rollcall.database.database import Database
from rollcall.queues.sql_queue import SqlQueue

url, number, ledger, lease_s, dies_at_once = sys.argv[1:]
lease_s, dies_at_once = float(lease_s), dies_at_once == "True"
database = Database(url)
queue = SqlQueue(database)
rng = random.Random(f"{number} {os.getpid()}")
out = os.open(ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

def note(*words):
    os.write(out, (" ".join(map(str, words)) + "\\n").encode())

def add():
    numbers = rng.sample(range(60), 60)
    for start in range(0, 60, 3):
        queue.add([VideoRef("videos", f"p{n % 3}/{n % 20}.mp4", event_id=str(n))
                   for n in numbers[start : start + 3]])

def call(work, claimed_s):
    note("begin", work.key, os.getpid(), claimed_s, time.monotonic())
    time.sleep(rng.random() * 0.01)
    if dies_at_once or rng.random() < 0.1:
        note("die", "-", os.getpid())
        os._exit(1)
    how = rng.random()
    note("end", work.key, os.getpid())
    if how < 0.6:
        queue.finish(work, "recognised")
    elif how < 0.7:
        queue.bury(work, "gone", "gone")
    else:
        queue.retry(work, rng.random() * 0.05, "down", "down", counts=False)

adder = Thread(target=add)
adder.start()
while adder.is_alive() or sum(map(queue.counts().get, ("queued", "running"))):
    queue.requeue_expired()
    claimed_s = time.monotonic()
    works = queue.claim(rng.randrange(1, 5), lease_s)
    callers = [Thread(target=call, args=(work, claimed_s)) for work in works]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    time.sleep(0 if works else 0.05)
"""


def test_triggers_that_die_lose_and_repeat_nothing(postgres_url: str, tmp_path: Path) -> None:
    """Three processes add, claim, end and die. Each of 60 uploads ends once, one call at a time."""
    ledger, lease_s = tmp_path / "ledger", 3.0
    environ = {**os.environ, "PYTHONPATH": str(REPOSITORY)}

    def start(number: int, dies_at_once: bool = False) -> subprocess.Popen[str]:
        values = [postgres_url, number, ledger, lease_s, dies_at_once]
        command = [sys.executable, "-c", TRIGGER, *map(str, values)]
        with open(tmp_path / "log", "a") as log:
            return subprocess.Popen(command, env=environ, stderr=log, text=True)

    with closing(Database(postgres_url)) as database:
        triggers = {number: start(number, dies_at_once=True) for number in range(3)}
        try:
            while triggers:
                for number, trigger in list(triggers.items()):
                    try:
                        code = trigger.wait(0.05)
                    except subprocess.TimeoutExpired:
                        continue
                    del triggers[number]
                    if code:
                        triggers[number] = start(number)
        finally:
            for trigger in triggers.values():
                trigger.send_signal(signal.SIGKILL)
                trigger.wait()
        assert "Traceback" not in (tmp_path / "log").read_text()
        queue = SqlQueue(database)
        ended = queue.latest(1000)
        added = {work.identity for work in ended}
        assert len(added) == len(ended) == 60
        assert {work.state for work in ended} <= {"done", "dead"}
        with database.reading() as connection:
            assert connection.execute(text("SELECT count(*) FROM work")).scalar_one() == 0
            seen = connection.execute(text("SELECT identity FROM seen_event")).scalars()
            assert set(seen) == added
        counts = queue.counts()
        assert (counts["queued"], counts["running"]) == (0, 0)
        assert counts["done"] + counts["dead"] == len(ended)
    running: dict[str, tuple[str, float]] = {}
    """The process that calls for each key, and when it began to claim."""
    dead: set[str] = set()
    overtaken: set[tuple[str, str]] = set()
    """Calls, by process and key, that got no processor until their lease or the next one ended."""
    for line in ledger.read_text().splitlines():
        what, key, process, *times = line.split()
        if what == "die":
            dead.add(process)
        elif what == "begin":
            claimed_s, begun_s = map(float, times)
            other, other_claimed_s = running.get(key, ("", 0.0))
            if other not in {"", *dead}:
                # The clock of the server may run a little faster than ours.
                assert begun_s - min(claimed_s, other_claimed_s) > 0.9 * lease_s, line
                overtaken.add((other, key))
            running[key] = process, claimed_s
        elif running.get(key, ("", 0.0))[0] == process:
            del running[key]
        else:
            assert (process, key) in overtaken, line
    assert dead
