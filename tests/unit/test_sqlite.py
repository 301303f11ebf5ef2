"""What only SQLite has: a file, a disk, a lock, and a count of steps for each query."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from support.databases import open_file
from support.work_queues import T0, Clock, claim, claimed, listed, states, video

from rollcall.core.errors import InboxUnavailable
from rollcall.core.types import VideoRef
from rollcall.core.work import Work
from rollcall.database.database import Database
from rollcall.queues.queue_rules import KEEP_BAD_BYTES
from rollcall.queues.sql_queue import SqlQueue

MANY = 100_000
MAX_STEPS = 20_000
"""Limit in steps of SQLite's virtual machine for one operation. A scan of MANY rows takes hundreds
of thousands."""


@pytest.fixture
def database(tmp_path: Path, clock: Clock) -> Iterator[Database]:
    with closing(open_file(tmp_path / "state" / "inbox.sqlite3", clock)) as opened:
        yield opened


@pytest.fixture
def queue(database: Database) -> SqlQueue:
    return SqlQueue(database)


@contextmanager
def driver(database: Database) -> Iterator[sqlite3.Connection]:
    """The connection that the queue uses next: as long as one is enough, the pool has only one."""
    with database.engine.connect() as connection:
        found = connection.connection.driver_connection
        assert isinstance(found, sqlite3.Connection)
        yield found


def execute(database: Database, statement: str) -> sqlite3.Cursor:
    with driver(database) as connection:
        return connection.execute(statement)


def test_the_file_is_for_its_owner_alone(database: Database, queue: SqlQueue) -> None:
    queue.add([video()])
    assert database.path
    found = [*database.path.parent.glob("inbox*")]
    assert len(found) == 3
    assert {path.stat().st_mode & 0o777 for path in found} == {0o600}


def refuses_everything(database: Database, queue: SqlQueue, work: Work) -> None:
    for call in (
        lambda: queue.add([video(f"{n}.mp4", f"new {n}") for n in range(2000)]),
        lambda: queue.add_bad_event(b"x" * KEEP_BAD_BYTES, "y" * 10**6),
        lambda: queue.add_missing(listed("k" * 10**6)),
        lambda: queue.bury(work, "code", "m" * 10**6),
        lambda: queue.retry(work, 1, "code", "m" * 10**6),
    ):
        with pytest.raises(InboxUnavailable, match="check space and permissions") as caught:
            call()
        assert str(database.path) in str(caught.value)


def test_full_disk_stores_nothing_and_says_so(database: Database, queue: SqlQueue) -> None:
    queue.add([video()])
    work = claimed(queue)
    pages = execute(database, "PRAGMA page_count").fetchone()[0]
    execute(database, f"PRAGMA max_page_count={pages + 1}")
    refuses_everything(database, queue, work)
    assert states(queue) == {"running": 1}
    execute(database, "PRAGMA max_page_count=1000000")
    assert queue.add([video("b.mp4", "2")]) == 1
    queue.finish(work, "recognised")
    assert states(queue) == {"queued": 1, "done": 1}


def test_read_only_disk_stores_nothing_and_says_so(database: Database, queue: SqlQueue) -> None:
    queue.add([video()])
    work = claimed(queue)
    execute(database, "PRAGMA query_only=ON")
    refuses_everything(database, queue, work)
    assert states(queue) == {"running": 1}


def test_inbox_of_another_program_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("no database" * 100)
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "notes", tmp_path / "folder", tmp_path / "notes" / "inbox"):
        with pytest.raises(InboxUnavailable, match="check space and permissions"):
            open_file(path)


def test_a_locked_inbox_is_unavailable(database: Database, queue: SqlQueue) -> None:
    execute(database, "PRAGMA busy_timeout=1")
    other = sqlite3.connect(database.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(InboxUnavailable, match="locked"):
        queue.add([video()])
    other.execute("ROLLBACK")
    other.close()
    assert queue.add([video()]) == 1


def test_every_commit_reaches_the_disk(database: Database) -> None:
    """synchronous=FULL is 2. With less, a power failure may lose acknowledged events."""
    assert execute(database, "PRAGMA synchronous").fetchone() == (2,)
    assert execute(database, "PRAGMA journal_mode").fetchone() == ("wal",)


def test_work_outlives_its_process(database: Database, queue: SqlQueue) -> None:
    queue.add([video("a.mp4", "1"), video("b.mp4", "2")])
    claimed(queue)
    queue.close()
    assert database.path
    with closing(SqlQueue(open_file(database.path))) as again:
        assert states(again) == {"queued": 1, "running": 1}


def test_an_inbox_has_one_owner_in_all_processes(database: Database, queue: SqlQueue) -> None:
    assert database.path
    with closing(SqlQueue(open_file(database.path))) as other:
        with queue.own(), pytest.raises(InboxUnavailable, match="another trigger") as caught:
            other.own().__enter__()
        assert repr(str(database.path)) in str(caught.value)
        with other.own():
            pass


def test_owners_of_two_inboxes_do_not_meet(queue: SqlQueue, tmp_path: Path) -> None:
    with closing(SqlQueue(open_file(tmp_path / "b"))) as other, queue.own(), other.own():
        pass


CHILD = """
import sys
from pathlib import Path
from rollcall.core.types import VideoRef
from support.databases import open_file
from rollcall.queues.sql_queue import SqlQueue

queue = SqlQueue(open_file(Path(sys.argv[1])))
with queue.own():
    for number in range(1_000_000):
        queue.add([VideoRef("videos", f"{number}.mp4", event_id=f"{number}")])
        print(number, flush=True)
        queue.claim(1, 100)
"""


def test_killed_in_the_middle_everything_acknowledged_is_there(tmp_path: Path) -> None:
    path = tmp_path / "inbox.sqlite3"
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, str(path)], stdout=subprocess.PIPE, text=True, env=environ
    ) as child:
        assert child.stdout is not None
        for line in child.stdout:
            if int(line) == 50:
                break
        child.send_signal(signal.SIGKILL)
        last = max([50, *(int(line) for line in child.stdout if line.endswith("\n"))])
    with closing(SqlQueue(open_file(path))) as queue, queue.own():
        counts = queue.counts()
        assert counts["queued"] + counts["running"] >= last + 1
        assert queue.requeue_expired(everything=True) >= last
        keys = [f"{number}.mp4" for number in range(last + 1)]
        assert queue.unsettled("videos", keys) == set(keys)


def test_nothing_is_left_behind_after_a_start(database: Database, queue: SqlQueue) -> None:
    """Whatever damaged the stages, the work behind other work is not lost."""
    queue.add([video("a.mp4", str(n)) for n in range(5)])
    claimed(queue)
    execute(database, "DELETE FROM work WHERE state='running'")
    queue.requeue_expired(everything=True)
    for _ in range(4):
        queue.finish(claimed(queue), "recognised")
    assert claim(queue) is None


def fill(database: Database, table: str, **columns: str) -> None:
    """Insert MANY rows. The values are SQL expressions with the row's number n."""
    facts = {
        "id": "n + 1000000",
        "identity": "'filled-' || n",
        "bucket": "'videos'",
        "key": "'a.mp4'",
        "etag": "'e1'",
        "origin": "'event'",
        "received_s": f"{T0} - 100000",
        "changed_s": f"{T0} - 1",
    }
    found = {"bucket": "'videos'", "key": "'a.mp4'", "etag": "'e1'", "found_s": f"{T0} - 100000"}
    waiting = {"state": "'queued'", "due_s": f"{T0} - 1", "prefix": "''"}
    values = {
        "finished": facts, "found_upload": found, "work": {**facts, **waiting}
    }[table] | columns  # fmt: skip
    numbers = "WITH RECURSIVE c(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM c WHERE n < {})"
    execute(
        database,
        f"INSERT INTO {table} ({', '.join(values)}) {numbers.format(MANY)}"
        f" SELECT {', '.join(values.values())} FROM c",
    )


DEAD = {"table": "finished", "state": "'dead'"}
RESTING = {"table": "work", "due_s": f"{T0} + 1000", "attempts": "1"}
HISTORIES: dict[str, dict[str, str]] = {
    "done": {"table": "finished", "state": "'done'"},
    "dead": {**DEAD, "etag": "'e' || n"},
    "dead of one etag": {**DEAD, "etag": "'other'"},
    "dead without etag": {**DEAD, "etag": "''"},
    "found without result": {"table": "found_upload", "uploaded_s": f"{T0} - 100 - n"},
    "behind": {"table": "work", "stage": "2"},
    "retries of one key, resting": RESTING,
    "retries of many keys, resting": {**RESTING, "key": "n || '.mp4'"},
    "new of many keys": {"table": "work", "stage": "1", "turn": "n", "key": "n || '.mp4'"},
    "new of many prefixes": {
        "table": "work", "stage": "1", "prefix": "n || '/'", "key": "n || '/a.mp4'",
    },
    "retries of many keys": {
        "table": "work", "stage": "1", "turn": "n", "attempts": "1", "key": "n || '.mp4'",
    },
}  # fmt: skip


def steps(database: Database, operation: Callable[[], object]) -> int:
    """The number of steps of SQLite's virtual machine that the operation takes."""
    count = [0]

    def tick() -> int:
        count[0] += 100
        return 0

    with driver(database) as connection:
        connection.set_progress_handler(tick, 100)
    operation()
    with driver(database) as connection:
        connection.set_progress_handler(None, 0)
    return count[0]


@pytest.mark.parametrize("name", HISTORIES)
def test_a_long_history_costs_nothing(database: Database, queue: SqlQueue, name: str) -> None:
    """The history may be of one key or of many. The cost is counted in steps, because time
    depends on the machine."""
    queue.add([video("first.mp4", "first"), video("a.mp4", "a0")])
    fill(database, **HISTORIES[name])
    held: list[Work] = []

    def end(how: Callable[[Work], None]) -> Callable[[], None]:
        def ended() -> None:
            if held:
                how(held.pop())

        return ended

    def take() -> None:
        held.extend(filter(None, [claim(queue)]))

    costs = {
        "claim": steps(database, take),
        "claim again": steps(database, take),
        "finish": steps(database, end(lambda work: queue.finish(work, "recognised"))),
        "claim beside": steps(database, take),
        "retry": steps(database, end(lambda work: queue.retry(work, 9, "x", ""))),
        "claim once more": steps(database, take),
        "bury": steps(database, end(lambda work: queue.bury(work, "x", ""))),
        "take back": steps(database, queue.requeue_expired),
        "add": steps(database, lambda: queue.add([video("a.mp4", "a1"), video("b.mp4", "b1")])),
        "add missing": steps(database, lambda: queue.add_missing(listed("a.mp4", "e-new", T0))),
        "result found": steps(database, lambda: queue.result_found(listed("a.mp4", "e-new", T0))),
        "counts": steps(database, queue.counts),
        "codes": steps(database, queue.codes),
        "oldest waiting": steps(database, queue.oldest_waiting_s),
        **{
            f"latest {state}": steps(database, lambda s=state: queue.latest(10, s))
            for state in SHOWN_STATES
        },
    }
    assert {each: cost for each, cost in costs.items() if cost > MAX_STEPS} == {}


SHOWN_STATES = ("", "queued", "running", "dead")
"""The states that pages and commands list."""

NARROW = re.compile(
    r"USING (COVERING )?INDEX (work_(ahead|new|again|new_prefix|again_prefix|resting|behind|running"
    r"|object)|finished_dead|found_upload_object|sqlite_autoindex_\w+)\b"
    r"|finished_object \(bucket=\? AND key=\? AND changed_s>\?\)|USING (INTEGER )?PRIMARY KEY"
)
TABLES = "work|w|b|finished|f|found_upload|seen_event|tally"


def test_every_statement_uses_an_index(database: Database, queue: SqlQueue) -> None:
    said: list[str] = []
    with driver(database) as connection:
        connection.set_trace_callback(said.append)
    queue.add([video("a.mp4", "1"), video("a.mp4", "2"), video("b/a.mp4", "3")])
    queue.retry(claimed(queue), 1, "x", "")
    queue.finish(claimed(queue), "x")
    queue.bury(claimed(queue), "x", "")
    queue.requeue_expired()
    queue.add_missing(listed("c.mp4"), T0)
    queue.result_found(listed("a.mp4"))
    queue.replay([1, 2, 3])
    with driver(database) as connection:
        connection.set_trace_callback(None)
    checked = {each for each in said if re.match("SELECT|UPDATE|INSERT|DELETE|WITH", each)}
    assert len(checked) > 15
    for statement in checked:
        for *_, line in execute(database, f"EXPLAIN QUERY PLAN {statement}").fetchall():
            if re.match(rf"(SCAN|SEARCH) ({TABLES})\b", line):
                assert NARROW.search(line), (line, statement)


def test_an_event_after_a_hundred_thousand_is_called_next(
    database: Database, queue: SqlQueue
) -> None:
    """The order stays fair with that much work."""
    fill(database, **HISTORIES["new of many keys"])
    queue.add([VideoRef("videos", "small/a.mp4", event_id="small")])
    claimed(queue)
    assert claimed(queue).key == "small/a.mp4"
