"""Which work is called next: fair by prefix, new before retries, at a cost that stays small."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from rollcall.core.types import VideoRef
from rollcall.queues import queue_order
from rollcall.queues.inbox import Inbox, Work
from rollcall.queues.queue_order import RETRY_SHARE, FairOrder, prefix_of
from tests.unit.test_inbox import T0, Clock, claim, claimed, listed, states, video

MANY = 100_000
MAX_STEPS = 20_000
"""Of SQLite's machine, for one operation. A scan of MANY rows takes hundreds of thousands."""


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def inbox(tmp_path: Path, clock: Clock) -> Iterator[Inbox]:
    opened = Inbox(tmp_path / "inbox.sqlite3", clock)
    yield opened
    opened.close()


def add(inbox: Inbox, *keys: str, name: str = "") -> None:
    inbox.add([video(key, f"{name}{key}-{n}") for n, key in enumerate(keys)])


def finish(inbox: Inbox, clock: Clock, work: Work, took_s: float = 1.0) -> None:
    clock.now_s += took_s
    inbox.finish(work, "recognised")


def served(inbox: Inbox, clock: Clock, count: int, took_s: float = 0.0) -> list[str]:
    keys = []
    for _ in range(count):
        work = claimed(inbox)
        keys.append(work.key)
        finish(inbox, clock, work, took_s)
    return keys


# --- fair by prefix


@pytest.mark.parametrize(
    ("key", "prefix"),
    [("a.mp4", ""), ("a/b.mp4", "a/"), ("a/b/c.mp4", "a/"), ("/a.mp4", "/"), ("王/a.mp4", "王/")],
)
def test_the_prefix_is_the_first_folder(key: str, prefix: str) -> None:
    assert prefix_of(key) == prefix


def test_many_videos_of_one_prefix_do_not_hold_up_another(inbox: Inbox, clock: Clock) -> None:
    add(inbox, *(f"flood/{n}.mp4" for n in range(1000)))
    served(inbox, clock, 10)
    add(inbox, "small/a.mp4", "small/b.mp4", "other/c.mp4", "plain.mp4")
    keys = served(inbox, clock, 8)
    assert {"small/a.mp4", "other/c.mp4", "plain.mp4"} <= set(keys[:5])
    assert "small/b.mp4" in keys


def test_each_prefix_is_served_in_order(inbox: Inbox, clock: Clock) -> None:
    keys = [f"{prefix}/{n}.mp4" for n in range(20) for prefix in "abc"]
    add(inbox, *keys)
    order = served(inbox, clock, len(keys))
    for prefix in "abc":
        mine = [key for key in order if key.startswith(prefix)]
        assert mine == [f"{prefix}/{n}.mp4" for n in range(20)]


def test_a_prefix_whose_calls_run_yields_the_next_slot(inbox: Inbox) -> None:
    add(inbox, *(f"slow/{n}.mp4" for n in range(50)))
    claimed(inbox), claimed(inbox)
    add(inbox, *(f"quick/{n}.mp4" for n in range(5)))
    assert claimed(inbox).key == "quick/0.mp4"
    assert claimed(inbox).key == "quick/1.mp4"


def test_slow_calls_of_a_prefix_count_against_it(inbox: Inbox, clock: Clock) -> None:
    """With a single slot, turns alone would give a slow prefix nearly all of the time."""
    add(inbox, *(f"slow/{n}.mp4" for n in range(50)), *(f"quick/{n}.mp4" for n in range(20)))
    seconds = {"slow": 280.0, "quick": 1.0}
    order = []
    for _ in range(15):
        work = claimed(inbox)
        order.append(work.key.split("/")[0])
        finish(inbox, clock, work, seconds[order[-1]])
    assert order.count("quick") > 10


def test_a_prefix_that_was_slow_is_not_held_back_for_ever(clock: Clock) -> None:
    order = FairOrder(clock)
    order.used("a/", 3600)
    clock.now_s += 10 * queue_order.HALF_LIFE_S
    assert order.used_s("a/") < 5


def test_times_of_very_many_prefixes_are_not_kept(clock: Clock) -> None:
    order = FairOrder(clock)
    for number in range(5 * queue_order.MAX_PREFIXES):
        order.used(f"{number}/", 300)
        clock.now_s += 1
    assert len(order._used) <= queue_order.MAX_PREFIXES


# --- new work before retries


def test_new_work_goes_before_retries_that_are_due(inbox: Inbox, clock: Clock) -> None:
    add(inbox, "1.mp4", "2.mp4", "3.mp4")
    for _ in range(3):
        inbox.retry(claimed(inbox), 1, "store_unavailable", "down")
    clock.now_s += 60
    add(inbox, "4.mp4", "5.mp4")
    assert served(inbox, clock, 5) == ["4.mp4", "5.mp4", "1.mp4", "2.mp4", "3.mp4"]


def test_a_call_that_was_only_busy_is_no_retry(inbox: Inbox, clock: Clock) -> None:
    add(inbox, "busy.mp4", "failed.mp4")
    inbox.retry(claimed(inbox), 1, "busy", "", counts=False)
    inbox.retry(claimed(inbox), 0, "store_unavailable", "down")
    clock.now_s += 2
    assert served(inbox, clock, 2) == ["busy.mp4", "failed.mp4"]


def test_a_retry_of_another_prefix_does_not_wait_for_a_flood(inbox: Inbox, clock: Clock) -> None:
    add(inbox, "small/a.mp4")
    inbox.retry(claimed(inbox), 1, "store_unavailable", "down")
    add(inbox, *(f"flood/{n}.mp4" for n in range(100)))
    clock.now_s += 2
    claimed(inbox)
    assert claimed(inbox).key == "small/a.mp4"


def test_retries_are_not_starved_by_new_work(inbox: Inbox, clock: Clock) -> None:
    add(inbox, "again.mp4")
    inbox.retry(claimed(inbox), 1, "store_unavailable", "down")
    clock.now_s += 2
    add(inbox, *(f"{n}.mp4" for n in range(100)))
    keys = served(inbox, clock, RETRY_SHARE)
    assert keys.index("again.mp4") == RETRY_SHARE - 1


# --- one object at a time


def test_works_of_one_object_follow_one_another(inbox: Inbox, clock: Clock) -> None:
    inbox.add([video("a.mp4", str(n)) for n in range(4)] + [video("b.mp4", "b")])
    first = claimed(inbox)
    assert claimed(inbox).key == "b.mp4"
    assert claim(inbox) is None
    for end in (
        lambda work: inbox.finish(work, "recognised"),
        lambda work: inbox.bury(work, "gone", ""),
        lambda work: inbox.retry(work, 3600, "down", ""),
    ):
        end(first)
        first = claimed(inbox)
        assert (first.key, claim(inbox)) == ("a.mp4", None)
    assert states(inbox) == {"queued": 1, "running": 2, "done": 1, "dead": 1}


def test_a_retry_that_comes_due_waits_for_the_running_work(inbox: Inbox, clock: Clock) -> None:
    inbox.add([video("a.mp4", "1")])
    inbox.retry(claimed(inbox), 10, "down", "")
    inbox.add([video("a.mp4", "2")])
    second = claimed(inbox)
    clock.now_s += 20
    assert claim(inbox) is None
    inbox.finish(second, "recognised")
    assert claimed(inbox).attempts == 2


def test_nothing_is_left_behind_after_a_start(inbox: Inbox, clock: Clock) -> None:
    """Whatever an earlier version, or a kill, left in the file."""
    inbox.add([video("a.mp4", str(n)) for n in range(5)])
    claimed(inbox)
    inbox._db.execute("UPDATE work SET state='done' WHERE state='running'")
    inbox.close()
    again = Inbox(inbox.path, clock)
    again.requeue_expired(everything=True)
    for _ in range(4):
        again.finish(claimed(again), "recognised")
    assert states(again) == {"done": 5}
    again.close()


def test_replayed_dead_letters_of_one_object_follow_one_another(inbox: Inbox) -> None:
    inbox.add([video("a.mp4", str(n)) for n in range(3)])
    for _ in range(3):
        inbox.bury(claimed(inbox), "gone", "")
    assert inbox.replay() == 3
    for _ in range(3):
        work = claimed(inbox)
        assert claim(inbox) is None
        inbox.finish(work, "recognised")


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
    inbox = Inbox(tmp_path / "old.sqlite3", clock)
    inbox.requeue_expired(everything=True)
    inbox.add([video("b/new.mp4")])
    assert sorted(served(inbox, clock, 4)) == ["a/0.mp4", "a/0.mp4", "a/1.mp4", "b/new.mp4"]
    inbox.close()


# --- cost


def fill(
    inbox: Inbox, *, state: str, key: str = "'a.mp4'", etag: str = "'e1'", **columns: str
) -> None:
    """MANY rows at once. The values are SQL over the row's number n."""
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
    inbox._db.execute(
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


def steps(inbox: Inbox, operation: Callable[[], object]) -> int:
    """How many steps of SQLite's machine the operation takes."""
    count = [0]

    def tick() -> int:
        count[0] += 100
        return 0

    inbox._db.set_progress_handler(tick, 100)
    operation()
    inbox._db.set_progress_handler(None, 0)
    return count[0]


@pytest.mark.parametrize("name", HISTORIES)
def test_a_long_history_costs_nothing(inbox: Inbox, name: str) -> None:
    """Of one busy key, or of everything; in steps, because time depends on the machine."""
    inbox.add([video("first.mp4", "first"), video("a.mp4", "a0")])
    fill(inbox, **HISTORIES[name])
    held: list[Work] = []

    def end(how: Callable[[Work], None]) -> Callable[[], None]:
        def ended() -> None:
            if held:
                how(held.pop())

        return ended

    def take() -> None:
        held.extend(filter(None, [claim(inbox)]))

    costs = {
        "claim": steps(inbox, take),
        "claim again": steps(inbox, take),
        "finish": steps(inbox, end(lambda work: inbox.finish(work, "recognised"))),
        "claim beside": steps(inbox, take),
        "retry": steps(inbox, end(lambda work: inbox.retry(work, 9, "x", ""))),
        "claim once more": steps(inbox, take),
        "bury": steps(inbox, end(lambda work: inbox.bury(work, "x", ""))),
        "take back": steps(inbox, inbox.requeue_expired),
        "add": steps(inbox, lambda: inbox.add([video("a.mp4", "a1"), video("b.mp4", "b1")])),
        "add missing": steps(inbox, lambda: inbox.add_missing(listed("a.mp4", "e-new", T0))),
        "result found": steps(inbox, lambda: inbox.result_found(listed("a.mp4", "e-new", T0))),
    }
    assert {each: cost for each, cost in costs.items() if cost > MAX_STEPS} == {}


NARROW = re.compile(
    r"USING (COVERING )?INDEX (work_(ahead|new|again|new_prefix|again_prefix|resting|resting_since"
    r"|behind|running|unsettled|dead|found)|sqlite_autoindex_work_1)\b"
    r"|USING INTEGER PRIMARY KEY"
)


def test_every_statement_uses_an_index_that_leaves_history_out(inbox: Inbox) -> None:
    said: list[str] = []
    inbox._db.set_trace_callback(said.append)
    inbox.add([video("a.mp4", "1"), video("a.mp4", "2"), video("b/a.mp4", "3")])
    inbox.retry(claimed(inbox), 1, "x", "")
    inbox.finish(claimed(inbox), "x")
    inbox.bury(claimed(inbox), "x", "")
    inbox.requeue_expired()
    inbox.add_missing(listed("c.mp4"))
    inbox.result_found(listed("a.mp4"))
    inbox._db.set_trace_callback(None)
    checked = {each for each in said if re.match("SELECT|UPDATE|INSERT", each)}
    assert len(checked) > 15
    for statement in checked:
        for *_, line in inbox._db.execute(f"EXPLAIN QUERY PLAN {statement}").fetchall():
            if re.match(r"(SCAN|SEARCH) (work|w|r)\b", line):
                assert NARROW.search(line), (line, statement)


def test_an_event_after_a_hundred_thousand_is_called_next(inbox: Inbox, clock: Clock) -> None:
    """The order is right at that size, too."""
    fill(inbox, **HISTORIES["new of many keys"])
    inbox.add([VideoRef("videos", "small/a.mp4", event_id="small")])
    claimed(inbox)
    assert claimed(inbox).key == "small/a.mp4"
