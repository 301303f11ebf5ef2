"""The invariant check of the fault tests finds each violation that is made on purpose."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest
from support.call_ledger import LedgerLine
from support.fault_workload import Workload
from support.faulty_flow import FaultyFlow
from support.invariant import check_invariant

from rollcall.core.keys import report_key, result_key
from rollcall.core.results import parse_csv


class Spoiler:
    """Each public method makes one violation: in the result, report, work or calls of one video."""

    def __init__(self, flow: FaultyFlow, key: str) -> None:
        self.flow, self.key = flow, key
        self.bucket, self.result = flow.settings.output_bucket, result_key(key)

    def sql(self, query: str) -> None:
        with closing(sqlite3.connect(self.flow.inbox, timeout=30)) as db, db:
            db.execute(query, (self.key,))

    @contextmanager
    def restoring_work(self) -> Iterator[None]:
        """Restore the work in the inbox after the block, for the next test."""
        with closing(sqlite3.connect(self.flow.inbox, timeout=30)) as db:
            rows = db.execute("SELECT * FROM finished WHERE key=?", (self.key,)).fetchall()
            yield
            with db:
                for table in ("work", "finished"):
                    db.execute(f"DELETE FROM {table} WHERE key=?", (self.key,))
                places = ", ".join("?" * len(rows[0]))
                db.executemany(f"INSERT INTO finished VALUES ({places})", rows)

    def result_is_missing(self) -> None:
        self.flow.s3.delete(self.bucket, self.result)

    def result_is_of_another_video(self) -> None:
        body = self.flow.s3.read(self.bucket, self.result, 1 << 20)
        self.flow.s3.write(self.bucket, self.result, body, "text/csv", {"source-etag": "other"})

    def result_is_wrong(self) -> None:
        source = dict(self.flow.s3.metadata(self.bucket, self.result))
        body = self.flow.s3.read(self.bucket, self.result, 1 << 20).replace(b"alice", b"bob")
        assert parse_csv(body)[0]["name"] == "bob"
        self.flow.s3.write(self.bucket, self.result, body, "text/csv", source)

    def result_has_no_video(self) -> None:
        self.flow.s3.write(self.bucket, f"{self.result}.stray.csv", b"", "text/csv", {})

    def work_is_lost(self) -> None:
        self.sql("DELETE FROM finished WHERE key=?")

    def work_never_ends(self) -> None:
        columns = "id, identity, bucket, key, attempts, calls, received_s, changed_s"
        self.sql(
            f"INSERT INTO work ({columns}, state, stage, lease_until_s, prefix)"
            f" SELECT {columns}, 'running', 1, 9e9, '' FROM finished WHERE key=?"
        )
        self.work_is_lost()

    def dead_letter_beside_the_result(self) -> None:
        self.sql("UPDATE finished SET state='dead', code='x', message='y' WHERE key=?")

    def dead_letter_has_no_reason(self) -> None:
        self.result_is_missing()
        self.sql("UPDATE finished SET state='dead', code='', message='' WHERE key=?")

    def call_was_not_counted(self) -> None:
        self._add_call("uncounted", 1.0, 2.0)

    def calls_ran_at_the_same_time(self) -> None:
        for call in ("first", "second"):
            self._add_call(call, 3.0, 4.0)

    def acknowledged_event_is_missing(self) -> None:
        event = {"bucket": self.flow.settings.input_bucket, "key": f"{self.key}.mp4"}
        self.flow.acknowledged.append((json.dumps(event).encode(), time.time()))

    def _add_call(self, call: str, begin_s: float, end_s: float) -> None:
        with open(self.flow.folder / "calls", "a") as ledger:
            for at_s in (begin_s, end_s):
                line = LedgerLine(call, self.key, "link", begin_s, 1, at_s, ends=at_s == end_s)
                ledger.write(json.dumps(line) + "\n")

    def call_had_no_cause(self) -> None:
        self.sql("UPDATE finished SET calls=calls+1 WHERE key=?")

    def event_came_twice(self) -> None:
        columns = "bucket, key, version_id, etag, event_name, uploaded_s, origin, state,"
        columns += " received_s, changed_s"
        self.sql(
            f"INSERT INTO finished (id, identity, {columns})"
            f" SELECT id + 1000000, 'copy-' || identity, {columns} FROM finished WHERE key=?"
        )

    def report_contradicts_the_result(self) -> None:
        key, bucket = report_key(self.key), self.flow.settings.report_bucket
        self.flow.s3.write(bucket, key, b'{"error": {}}', "application/json", {})

    def report_is_missing(self) -> None:
        self.flow.s3.delete(self.flow.settings.report_bucket, report_key(self.key))


SPOILS = [n for n in vars(Spoiler) if n[0] != "_" and n not in ("sql", "restoring_work")]


@pytest.fixture(scope="module")
def rare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultyFlow]:
    """A flow that lists the bucket too rarely to repair anything during a test."""
    values = {"RECONCILE_S": "3600"}
    with FaultyFlow(tmp_path_factory.mktemp("rare"), overrides=values) as running:
        yield running


@pytest.mark.parametrize("spoil", SPOILS)
def test_every_violation_is_found(rare: FaultyFlow, spoil: str) -> None:
    prefix = f"{spoil}/"
    with Workload(rare, prefix, ["one", "page"]) as workload:
        workload.wait_settled(2)
        sent = workload.sent()
    assert not check_invariant(rare, prefix, sent).wrong
    spoiler = Spoiler(rare, f"{prefix}000-one.mp4")
    with spoiler.restoring_work():
        getattr(spoiler, spoil)()
        wrong = check_invariant(rare, prefix, sent, late_s=0).wrong
    assert any(f"{prefix}000-one" in sentence or "calls" in sentence for sentence in wrong), wrong
    assert not spoil.startswith("calls_ran") or any("at the same time" in each for each in wrong)
