"""What only the SQLite queue has: its file, its disk, its lock, and the cost of its queries."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from support.work_queues import T0, Clock, claim, claimed, listed, states, video

from rollcall.core.errors import InboxUnavailable
from rollcall.core.types import VideoRef
from rollcall.core.work import Work
from rollcall.queues.queue_rules import KEEP_BAD_BYTES
from rollcall.queues.sqlite_queue import SqliteQueue

MANY = 100_000
MAX_STEPS = 20_000
"""Limit in steps of SQLite's virtual machine for one operation. A scan of MANY rows takes hundreds
of thousands."""


@pytest.fixture
def queue(tmp_path: Path, clock: Clock) -> Iterator[SqliteQueue]:
    with closing(SqliteQueue(tmp_path / "state" / "inbox.sqlite3", clock)) as opened:
        yield opened


def test_the_file_is_for_its_owner_alone(queue: SqliteQueue) -> None:
    assert {p.stat().st_mode & 0o777 for p in queue.path.parent.glob("inbox*")} == {0o600}


def refuses_everything(queue: SqliteQueue, work: Work) -> None:
    for call in (
        lambda: queue.add([video(f"{n}.mp4", f"new {n}") for n in range(2000)]),
        lambda: queue.add_bad_event(b"x" * KEEP_BAD_BYTES, "y" * 10**6),
        lambda: queue.add_missing(listed("k" * 10**6)),
        lambda: queue.bury(work, "code", "m" * 10**6),
        lambda: queue.retry(work, 1, "code", "m" * 10**6),
    ):
        with pytest.raises(InboxUnavailable, match="check free space and permissions") as caught:
            call()
        assert str(queue.path) in str(caught.value)


def fill_up(queue: SqliteQueue) -> None:
    pages = queue._db.execute("PRAGMA page_count").fetchone()[0]
    queue._db.execute(f"PRAGMA max_page_count={pages + 1}")


def test_full_disk_stores_nothing_and_says_so(queue: SqliteQueue) -> None:
    queue.add([video()])
    work = claimed(queue)
    fill_up(queue)
    refuses_everything(queue, work)
    assert states(queue) == {"running": 1}
    queue._db.execute("PRAGMA max_page_count=1000000")
    assert queue.add([video("b.mp4", "2")]) == 1
    queue.finish(work, "recognised")
    assert states(queue) == {"queued": 1, "done": 1}


def test_read_only_disk_stores_nothing_and_says_so(queue: SqliteQueue) -> None:
    queue.add([video()])
    work = claimed(queue)
    queue._db.execute("PRAGMA query_only=ON")
    refuses_everything(queue, work)
    assert states(queue) == {"running": 1}


def test_inbox_of_another_program_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("no database" * 100)
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "notes", tmp_path / "folder", tmp_path / "notes" / "inbox"):
        with pytest.raises(InboxUnavailable, match="check free space and permissions"):
            SqliteQueue(path)


def test_a_locked_inbox_is_unavailable(queue: SqliteQueue) -> None:
    queue._db.execute("PRAGMA busy_timeout=1")
    other = sqlite3.connect(queue.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(InboxUnavailable, match="locked"):
        queue.add([video()])
    other.execute("ROLLBACK")
    other.close()
    assert queue.add([video()]) == 1


def test_every_commit_reaches_the_disk(queue: SqliteQueue) -> None:
    """synchronous=FULL is 2. With less, a power failure may lose acknowledged events."""
    assert queue._db.execute("PRAGMA synchronous").fetchone() == (2,)
    assert queue._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_work_outlives_its_process(queue: SqliteQueue, clock: Clock) -> None:
    queue.add([video("a.mp4", "1"), video("b.mp4", "2")])
    claimed(queue)
    queue.close()
    again = SqliteQueue(queue.path, clock)
    assert states(again) == {"queued": 1, "running": 1}
    again.close()


def test_an_inbox_has_one_owner_in_all_processes(queue: SqliteQueue) -> None:
    with closing(SqliteQueue(queue.path)) as other:
        with queue.own(), pytest.raises(InboxUnavailable, match="another trigger") as caught:
            other.own().__enter__()
        assert repr(str(queue.path)) in str(caught.value)
        with other.own():
            pass


def test_owners_of_two_inboxes_do_not_meet(queue: SqliteQueue, tmp_path: Path) -> None:
    with closing(SqliteQueue(tmp_path / "b")) as other, queue.own(), other.own():
        pass


CHILD = """
import sys
from pathlib import Path
from rollcall.core.types import VideoRef
from rollcall.queues.sqlite_queue import SqliteQueue

queue = SqliteQueue(Path(sys.argv[1]))
with queue.own():
    for number in range(1_000_000):
        queue.add([VideoRef("videos", f"{number}.mp4", event_id=f"{number}")])
        print(number, flush=True)
        queue.claim(100)
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
    with closing(SqliteQueue(path)) as queue, queue.own():
        counts = queue.counts()
        assert counts["queued"] + counts["running"] >= last + 1
        assert queue.requeue_expired(everything=True) >= last
        assert queue.unsettled("videos") >= {f"{number}.mp4" for number in range(last + 1)}


def test_nothing_is_left_behind_after_a_start(queue: SqliteQueue, clock: Clock) -> None:
    """An earlier version, or a killed process, may have left work behind finished work."""
    queue.add([video("a.mp4", str(n)) for n in range(5)])
    claimed(queue)
    queue._db.execute("UPDATE work SET state='done' WHERE state='running'")
    queue.close()
    again = SqliteQueue(queue.path, clock)
    again.requeue_expired(everything=True)
    for _ in range(4):
        again.finish(claimed(again), "recognised")
    assert states(again) == {"done": 5}
    again.close()


OLD_TABLE = """
CREATE TABLE work (
    id INTEGER PRIMARY KEY, identity TEXT NOT NULL UNIQUE, bucket TEXT NOT NULL,
    key TEXT NOT NULL, version_id TEXT NOT NULL, etag TEXT NOT NULL, event_name TEXT NOT NULL,
    uploaded_s REAL NOT NULL, origin TEXT NOT NULL, state TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    calls INTEGER NOT NULL DEFAULT 0, due_s REAL NOT NULL, lease_until_s REAL NOT NULL DEFAULT 0,
    received_s REAL NOT NULL, changed_s REAL NOT NULL, code TEXT NOT NULL DEFAULT '',
    message TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX work_due ON work (state, due_s);
CREATE INDEX work_object ON work (bucket, key);
"""


def test_an_inbox_of_an_earlier_version_is_worked_on(tmp_path: Path, clock: Clock) -> None:
    with closing(sqlite3.connect(tmp_path / "old.sqlite3")) as db:
        db.executescript(OLD_TABLE)
        row = "INSERT INTO work (identity, bucket, key, version_id, etag, event_name, uploaded_s,"
        row += " origin, state, due_s, received_s, changed_s) VALUES (?, 'videos', ?, '', '', '',"
        row += f" 0, 'event', ?, {T0}, {T0}, {T0})"
        for number, state in enumerate(["queued", "queued", "running", "done"]):
            db.execute(row, (str(number), f"a/{number // 2}.mp4", state))
        db.commit()
    queue = SqliteQueue(tmp_path / "old.sqlite3", clock)
    queue.requeue_expired(everything=True)
    queue.add([video("b/new.mp4")])
    keys = []
    for _ in range(4):
        work = claimed(queue)
        keys.append(work.key)
        queue.finish(work, "recognised")
    assert sorted(keys) == ["a/0.mp4", "a/0.mp4", "a/1.mp4", "b/new.mp4"]
    queue.close()


def fill(
    queue: SqliteQueue, *, state: str, key: str = "'a.mp4'", etag: str = "'e1'", **columns: str
) -> None:
    """Insert MANY rows. The values are SQL expressions with the row's number n."""
    values = {
        "identity": "'filled-' || n",
        "bucket": "'videos'",
        "key": key,
        "version_id": "''",
        "etag": etag,
        "event_name": "''",
        "uploaded_s": f"{T0} - 100 - n",
        "origin": "'event'",
        "state": f"'{state}'",
        "due_s": f"{T0} - 1",
        "received_s": f"{T0} - 100000",
        "changed_s": f"{T0} - 1",
        **columns,
    }
    queue._db.execute(
        f"INSERT INTO work ({', '.join(values)}) WITH RECURSIVE c(n) AS (VALUES (1) UNION ALL"
        f" SELECT n + 1 FROM c WHERE n < {MANY}) SELECT {', '.join(values.values())} FROM c"
    )


HISTORIES: dict[str, dict[str, str]] = {
    "done": {"state": "done"},
    "dead": {"state": "dead", "etag": "'e' || n"},
    "dead of one etag": {"state": "dead", "etag": "'other'"},
    "dead without etag": {"state": "dead", "etag": "''"},
    "found without result": {"state": "done", "origin": "'reconcile'"},
    "behind": {"state": "queued", "stage": "2"},
    "retries of one key, resting": {"state": "queued", "due_s": f"{T0} + 1000", "attempts": "1"},
    "retries of many keys, resting": {
        "state": "queued", "due_s": f"{T0} + 1000", "attempts": "1", "key": "n || '.mp4'",
    },
    "new of many keys": {"state": "queued", "stage": "1", "turn": "n", "key": "n || '.mp4'"},
    "new of many prefixes": {
        "state": "queued", "stage": "1", "prefix": "n || '/'", "key": "n || '/a.mp4'",
    },
    "retries of many keys": {
        "state": "queued", "stage": "1", "turn": "n", "attempts": "1", "key": "n || '.mp4'",
    },
}  # fmt: skip


def steps(queue: SqliteQueue, operation: Callable[[], object]) -> int:
    """The number of steps of SQLite's virtual machine that the operation takes."""
    count = [0]

    def tick() -> int:
        count[0] += 100
        return 0

    queue._db.set_progress_handler(tick, 100)
    operation()
    queue._db.set_progress_handler(None, 0)
    return count[0]


@pytest.mark.parametrize("name", HISTORIES)
def test_a_long_history_costs_nothing(queue: SqliteQueue, name: str) -> None:
    """The history may be of one key or of many. The cost is counted in steps, because time
    depends on the machine."""
    queue.add([video("first.mp4", "first"), video("a.mp4", "a0")])
    fill(queue, **HISTORIES[name])
    held: list[Work] = []

    def end(how: Callable[[Work], None]) -> Callable[[], None]:
        def ended() -> None:
            if held:
                how(held.pop())

        return ended

    def take() -> None:
        held.extend(filter(None, [claim(queue)]))

    costs = {
        "claim": steps(queue, take),
        "claim again": steps(queue, take),
        "finish": steps(queue, end(lambda work: queue.finish(work, "recognised"))),
        "claim beside": steps(queue, take),
        "retry": steps(queue, end(lambda work: queue.retry(work, 9, "x", ""))),
        "claim once more": steps(queue, take),
        "bury": steps(queue, end(lambda work: queue.bury(work, "x", ""))),
        "take back": steps(queue, queue.requeue_expired),
        "add": steps(queue, lambda: queue.add([video("a.mp4", "a1"), video("b.mp4", "b1")])),
        "add missing": steps(queue, lambda: queue.add_missing(listed("a.mp4", "e-new", T0))),
        "result found": steps(queue, lambda: queue.result_found(listed("a.mp4", "e-new", T0))),
    }
    assert {each: cost for each, cost in costs.items() if cost > MAX_STEPS} == {}


NARROW = re.compile(
    r"USING (COVERING )?INDEX (work_(ahead|new|again|new_prefix|again_prefix|resting|resting_since"
    r"|behind|running|unsettled|dead|found)|sqlite_autoindex_work_1)\b"
    r"|USING INTEGER PRIMARY KEY"
)


def test_every_statement_uses_an_index_that_leaves_history_out(queue: SqliteQueue) -> None:
    said: list[str] = []
    queue._db.set_trace_callback(said.append)
    queue.add([video("a.mp4", "1"), video("a.mp4", "2"), video("b/a.mp4", "3")])
    queue.retry(claimed(queue), 1, "x", "")
    queue.finish(claimed(queue), "x")
    queue.bury(claimed(queue), "x", "")
    queue.requeue_expired()
    queue.add_missing(listed("c.mp4"))
    queue.result_found(listed("a.mp4"))
    queue._db.set_trace_callback(None)
    checked = {each for each in said if re.match("SELECT|UPDATE|INSERT", each)}
    assert len(checked) > 15
    for statement in checked:
        for *_, line in queue._db.execute(f"EXPLAIN QUERY PLAN {statement}").fetchall():
            if re.match(r"(SCAN|SEARCH) (work|w|r)\b", line):
                assert NARROW.search(line), (line, statement)


def test_an_event_after_a_hundred_thousand_is_called_next(queue: SqliteQueue, clock: Clock) -> None:
    """The order stays fair with that much work."""
    fill(queue, **HISTORIES["new of many keys"])
    queue.add([VideoRef("videos", "small/a.mp4", event_id="small")])
    claimed(queue)
    assert claimed(queue).key == "small/a.mp4"
