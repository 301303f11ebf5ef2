"""The SQL of the work queue, for SQLite and PostgreSQL.

A statement gets any number of rows in one parameter, as JSON. So it is prepared once, and a batch
costs as many statements as a single row. SQLite gets the name of an index with INDEXED BY, because
its planner would often choose a larger one. The cost of a statement must depend neither on the
amount of finished work nor on that of waiting work (tests/unit/test_sql_queue.py measures it).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import text

from rollcall.core.work import Work
from rollcall.database.tables import finished

NEW = "state='queued' AND stage=1 AND attempts=0"
RETRIES = "state='queued' AND stage=1 AND attempts>0"
RESTING = "state='queued' AND stage=0"
BEHIND = "state='queued' AND stage=2"

FIELDS = ", ".join(Work.__slots__)
FACTS = ", ".join(column.name for column in finished.columns)
"""The columns that `work` and `finished` share, with the id."""

_MARKS = "identity text, bucket text, key text, version_id text, etag text, event_name text"
_PG_TYPES = {"int": "bigint", "real": "double precision"}


def as_rows(rows: Iterable[Mapping[str, Any]]) -> str:
    """The value of a parameter `rows`."""
    return json.dumps(list(rows))


class Statements:
    """The statements for one kind of database."""

    def __init__(self, shared: bool) -> None:
        self._shared = shared
        on_conflict = "WHERE true ON CONFLICT"  # SQLite needs the WHERE to parse it
        self.see = text(
            "INSERT INTO seen_event (identity) SELECT r.identity"
            f" FROM {self._rows('identity text')}"
            f" {on_conflict} (identity) DO NOTHING RETURNING identity"
        )
        times = "n int, bucket text, key text, etag text, after_s real, before_s real"
        self.reconciled = text(
            f"SELECT r.n FROM {self._rows(times)} WHERE EXISTS (SELECT 1 FROM found_upload f"
            f" {self._by('found_upload_object')} WHERE f.bucket=r.bucket AND f.key=r.key"
            " AND f.etag=r.etag AND f.uploaded_s > r.after_s AND f.uploaded_s < r.before_s)"
        )
        self.tally = text(
            "INSERT INTO tally (slot, state, code, count) SELECT :slot, r.state, r.code, r.count"
            f" FROM {self._rows('state text, code text, count int')} {on_conflict}"
            " (slot, state, code) DO UPDATE SET count = tally.count + excluded.count"
        )
        self.notify = text(
            "INSERT INTO notice (message_id, body, state, due_s, created_s, changed_s)"
            " SELECT r.message_id, r.body, 'queued', :now_s, :now_s, :now_s"
            f" FROM {self._rows('message_id text, body text')}"
            f" {on_conflict} (message_id) DO NOTHING"
        )
        self._add_line(on_conflict)
        self._add_claims()
        self._add_ends()
        self._add_dead()

    def _add_line(self, on_conflict: str) -> None:
        self.ahead = text(
            f"SELECT w.bucket, w.key FROM {self._rows('bucket text, key text')} CROSS JOIN work w"
            f" {self._by('work_ahead')} WHERE w.bucket=r.bucket AND w.key=r.key AND w.stage=1"
            f" {self._lock('ORDER BY w.bucket, w.key FOR SHARE OF w')}"
        )
        self.turns = {
            is_retry: text(
                f"SELECT r.prefix, (SELECT max(turn) FROM work {self._by(index + '_prefix')}"
                f" WHERE prefix=r.prefix AND {line}) FROM {self._rows('prefix text')} UNION ALL"
                f" SELECT NULL, (SELECT min(turn) FROM work {self._by(index)} WHERE {line})"
            )
            for is_retry, index, line in ((False, "work_new", NEW), (True, "work_again", RETRIES))
        }
        columns = f"{_MARKS}, uploaded_s real, origin text, traceparent text, stage int"
        columns += ", prefix text, turn int"
        names = [column.split()[0] for column in columns.split(", ")]
        self.insert = text(
            f"INSERT INTO work ({', '.join(names)}, state, due_s, received_s, changed_s)"
            f" SELECT {', '.join(f'r.{name}' for name in names)}, 'queued', :now_s, :now_s, :now_s"
            f" FROM {self._rows(columns)} {on_conflict} (bucket, key) WHERE stage=1 DO NOTHING"
            " RETURNING id, identity"
        )
        self.due = text(
            f"SELECT id, bucket, key, attempts > 0 FROM work {self._by('work_resting')}"
            f" WHERE {RESTING} AND due_s <= :now_s ORDER BY due_s, id LIMIT :limit"
            f" {self._lock('FOR NO KEY UPDATE SKIP LOCKED')}"
        )
        self.line_up = text(
            "UPDATE work SET stage=r.stage, turn=r.turn"
            f" FROM {self._rows('id int, stage int, turn int')} WHERE work.id=r.id"
        )
        first = f"SELECT min(b.id) FROM work b {self._by('work_behind')} WHERE b.bucket=r.bucket"
        self.release = text(
            "UPDATE work SET stage=0, due_s=:now_s WHERE stage=2 AND id IN"
            f" (SELECT ({first} AND b.key=r.key AND {BEHIND})"
            f" FROM {self._rows('bucket text, key text')})"
        )
        self.release_all = text(
            "UPDATE work SET stage=0, due_s=:now_s WHERE id IN (SELECT min(id) FROM work"
            f" {self._by('work_behind')} WHERE {BEHIND} GROUP BY bucket, key)"
        )

    def _add_claims(self) -> None:
        lock = self._lock("FOR NO KEY UPDATE SKIP LOCKED")
        self.look = text(
            f"WITH fresh AS (SELECT id, prefix, turn FROM work {self._by('work_new')} WHERE {NEW}"
            f" ORDER BY turn, id LIMIT :limit {lock}),"
            f" again AS (SELECT id, prefix, turn FROM work {self._by('work_again')} WHERE {RETRIES}"
            f" ORDER BY turn, id LIMIT :limit {lock})"
            " SELECT 'new', id, prefix, turn FROM fresh"
            " UNION ALL SELECT 'again', id, prefix, turn FROM again"
            " UNION ALL SELECT 'running', 0, prefix, count(*) FROM work"
            f" {self._by('work_running')} WHERE state='running' GROUP BY prefix"
            " UNION ALL SELECT 'due', 0, '', 0 WHERE EXISTS (SELECT 1 FROM work"
            f" {self._by('work_resting')} WHERE {RESTING} AND due_s <= :now_s)"
        )
        self.in_line = text(
            f"SELECT EXISTS (SELECT 1 FROM work WHERE {NEW} UNION ALL"
            f" SELECT 1 FROM work WHERE {RETRIES})"
        )
        self.claim = text(
            "UPDATE work SET state='running', attempts=attempts+1, calls=calls+1,"
            " lease_until_s=:until_s, changed_s=:now_s"
            f" WHERE id IN {self._ids()} RETURNING {FIELDS}"
        )
        self.requeue = text(
            "UPDATE work SET state='queued', stage=0, due_s=:now_s, changed_s=:now_s WHERE id IN"
            f" (SELECT id FROM work {self._by('work_running')} WHERE state='running'"
            f" AND lease_until_s < :before_s LIMIT :limit {lock})"
        )
        self.distrust = text(
            f"UPDATE work SET due_s=:now_s WHERE {RESTING} AND due_s > :now_s"
            " AND changed_s > :now_s"
        )

    def _add_ends(self) -> None:
        self.claimed = text(
            f"SELECT w.id, w.calls, w.state FROM {self._rows('id int, calls int')}"
            " JOIN work w ON w.id=r.id AND w.calls=r.calls"
            f" {self._lock('ORDER BY w.bucket, w.key FOR NO KEY UPDATE OF w')}"
        )
        ended = "id int, state text, code text, message text"
        new = {"state": "r.state", "changed_s": ":now_s", "code": "r.code", "message": "r.message"}
        values = ", ".join(new.get(name, f"w.{name}") for name in FACTS.split(", "))
        self.finish = text(
            f"INSERT INTO finished ({FACTS}) SELECT {values} FROM {self._rows(ended)}"
            " JOIN work w ON w.id=r.id"
        )
        self.delete = text(f"DELETE FROM work WHERE id IN {self._ids()}")
        retried = "id int, delay_s real, code text, message text, uncounted int"
        self.retry = text(
            "UPDATE work SET state='queued', stage=0, due_s=:now_s + r.delay_s, changed_s=:now_s,"
            " code=r.code, message=r.message, attempts=attempts - r.uncounted"
            f" FROM {self._rows(retried)} WHERE work.id=r.id"
        )
        slash = "strpos(key, '/')" if self._shared else "instr(key, '/')"
        # The attempts start again at 0, but `calls` keeps growing, because it distinguishes claims.
        new = {"state": "'queued'", "attempts": "0", "changed_s": ":now_s"}
        values = ", ".join(new.get(name, name) for name in FACTS.split(", "))
        dead = f"FROM finished WHERE state='dead' AND id IN {self._ids()}"
        self.replay = text(
            f"INSERT INTO work ({FACTS}, due_s, prefix) SELECT {values}, :now_s,"
            f" substr(key, 1, {slash}) {dead} ORDER BY id"
        )
        self.dead_codes = text(f"SELECT id, code {dead} {self._lock('FOR UPDATE')}")
        self.drop_finished = text(f"DELETE FROM finished WHERE id IN {self._ids()}")

    def _add_dead(self) -> None:
        dead = f"FROM finished {self._by('finished_dead')}"
        dead += " WHERE bucket=:bucket AND key=:key AND state='dead' AND"
        # This is `queue_rules.is_of_upload` in SQL, because a key may have many dead letters.
        self.settled = text(
            "SELECT 1 WHERE EXISTS (SELECT 1 FROM work WHERE bucket=:bucket AND key=:key)"
            f" OR EXISTS (SELECT 1 {dead} etag=:etag)"
            f" OR EXISTS (SELECT 1 {dead} etag='' AND received_s >= :modified_s)"
        )
        self.dead_of_upload = text(f"SELECT id, code {dead} etag=:etag ORDER BY id")

    def ids(self, ids: Iterable[int]) -> object:
        """The value of a parameter `ids`."""
        return list(ids) if self._shared else json.dumps(list(ids))

    def _ids(self) -> str:
        if self._shared:
            return "(SELECT unnest(CAST(:ids AS bigint[])))"
        return "(SELECT value FROM json_each(:ids))"

    def _rows(self, columns: str) -> str:
        """The rows of the parameter `rows` as a table `r` with these columns."""
        pairs = [column.split() for column in columns.split(", ")]
        if self._shared:
            typed = ", ".join(f"{name} {_PG_TYPES.get(kind, kind)}" for name, kind in pairs)
            return f"json_to_recordset(CAST(:rows AS json)) AS r({typed})"
        picked = ", ".join(f"json_extract(value, '$.{name}') AS {name}" for name, _ in pairs)
        return f"(SELECT {picked} FROM json_each(:rows)) AS r"

    def _by(self, index: str) -> str:
        return "" if self._shared else f"INDEXED BY {index}"

    def _lock(self, clause: str) -> str:
        return clause if self._shared else ""


STATEMENTS = {shared: Statements(shared) for shared in (False, True)}
