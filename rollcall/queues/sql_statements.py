"""The SQL of the work queue, for SQLite and PostgreSQL.

A statement gets any number of rows in one parameter (`database.json_rows`). SQLite gets the name of
an index with INDEXED BY, because its planner would often choose a larger one. The cost of a
statement must depend neither on the amount of finished work nor on that of waiting work
(tests/unit/test_sql_queue.py measures it).
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import TextClause, text

from rollcall.core.work import Work
from rollcall.database.json_rows import ids_sql, ids_value, rows_sql
from rollcall.database.tables import finished

NEW = "state='queued' AND stage=1 AND attempts=0"
RETRIES = "state='queued' AND stage=1 AND attempts>0"
RESTING = "state='queued' AND stage=0"
BEHIND = "state='queued' AND stage=2"

FIELDS = ", ".join(Work.__slots__)
FACTS = ", ".join(column.name for column in finished.columns)
"""The columns that `work` and `finished` share, with the id."""

_MARKS = "identity text, bucket text, key text, version_id text, etag text, event_name text"
_MAX_TURN = 2**63 - 1


class Statements:
    """The statements for one kind of database.

    `:now_s` is the time. In PostgreSQL it may be NULL; then the time is that of the server, at the
    start of the transaction.
    """

    def __init__(self, shared: bool) -> None:
        self.shared = shared
        self._now = ":now_s"
        if shared:
            server = "CAST(extract(epoch FROM now()) AS double precision)"
            self._now = f"COALESCE(CAST(:now_s AS double precision), {server})"
        # SQLite needs the WHERE to parse the statement.
        self._or_nothing = "WHERE true ON CONFLICT {} DO NOTHING".format
        self._add_new()
        self._add_line()
        self._add_claims()
        self._add_ends()
        self._add_dead()
        self.tally = text(
            "INSERT INTO tally (slot, state, code, count) SELECT :slot, r.state, r.code, r.count"
            f" FROM {self._rows('state text, code text, count int')} WHERE true"
            " ON CONFLICT (slot, state, code) DO UPDATE SET count = tally.count + excluded.count"
        )
        self.notify = text(
            "INSERT INTO notice (message_id, body, state, due_s, created_s, changed_s)"
            f" SELECT r.message_id, r.body, 'queued', {self._now}, {self._now}, {self._now}"
            f" FROM {self._rows('message_id text, body text')} {self._or_nothing('(message_id)')}"
        )
        self.unindexed = text(
            f"INSERT INTO unindexed (document, created_s) SELECT r.document, {self._now}"
            f" FROM {self._rows('document text')}"
        )

    def _add_new(self) -> None:
        # An event is not new if the reconciler has found its upload before.
        columns = "identity text, bucket text, key text, etag text, after_s real, before_s real"
        found = (
            f"EXISTS (SELECT 1 FROM found_upload f {self._by('found_upload_object')}"
            " WHERE f.bucket=r.bucket AND f.key=r.key AND f.etag=r.etag"
            " AND f.uploaded_s > r.after_s AND f.uploaded_s < r.before_s)"
        )
        self.see = text(
            f"INSERT INTO seen_event (identity) SELECT r.identity FROM {self._rows(columns)}"
            f" WHERE NOT {found} ON CONFLICT (identity) DO NOTHING RETURNING identity"
        )
        self.found = text(f"SELECT r.identity FROM {self._rows(columns)} WHERE {found}")
        columns = f"{_MARKS}, uploaded_s real, origin text, traceparent text, stage int"
        columns += ", prefix text, turn int"
        names = [column.split()[0] for column in columns.split(", ")]
        times = ", ".join([self._now] * 3)
        self.insert = text(
            f"INSERT INTO work ({', '.join(names)}, state, due_s, received_s, changed_s)"
            f" SELECT {', '.join(f'r.{name}' for name in names)}, 'queued', {times}"
            f" FROM {self._rows(columns)} {self._or_nothing('(bucket, key) WHERE stage=1')}"
            " RETURNING id, identity"
        )

    def _add_line(self) -> None:
        objects = self._rows("bucket text, key text")
        if self.shared:
            # The comparisons of rows leave PostgreSQL only one index. For a condition like
            # `bucket=... AND key=...` it may choose another one that passes many rows.
            ahead = (
                f"SELECT a.bucket, a.key FROM {objects} CROSS JOIN LATERAL (SELECT w.bucket, w.key"
                " FROM work w WHERE w.bucket=r.bucket AND w.key=r.key AND w.stage=1 LIMIT 1"
                " FOR SHARE) AS a"
            )
            last = (
                "CASE l.prefix WHEN p.prefix THEN l.turn END FROM {} LEFT JOIN LATERAL"
                " (SELECT prefix, turn FROM work"
                f" WHERE {{}} AND (prefix, turn) <= (p.prefix, {_MAX_TURN})"
                " ORDER BY prefix DESC, turn DESC LIMIT 1) AS l ON true"
            ).format
            behind = (
                f"SELECT b.id FROM {objects} CROSS JOIN LATERAL (SELECT bucket, key, id FROM work"
                f" WHERE {BEHIND} AND (bucket, key, id) > (r.bucket, r.key, 0)"
                " ORDER BY bucket, key, id LIMIT 1) AS b WHERE b.bucket=r.bucket AND b.key=r.key"
            )
        else:
            ahead = (
                f"SELECT w.bucket, w.key FROM {objects} CROSS JOIN work w INDEXED BY work_ahead"
                " WHERE w.bucket=r.bucket AND w.key=r.key AND w.stage=1"
            )
            last = (
                "(SELECT max(turn) FROM work INDEXED BY {2}_prefix WHERE prefix=p.prefix AND {1})"
                " FROM {0}"
            ).format
            behind = (
                "SELECT (SELECT min(b.id) FROM work b INDEXED BY work_behind"
                f" WHERE b.bucket=r.bucket AND b.key=r.key AND {BEHIND}) FROM {objects}"
            )
        prefixes = self._rows("prefix text", "prefixes", "p")
        self.places = {
            is_retry: text(
                f"WITH ahead AS ({ahead}) SELECT 'ahead', bucket, key, 0 FROM ahead"
                f" UNION ALL SELECT 'last', '', p.prefix, {last(prefixes, line, index)}"
                f" UNION ALL SELECT 'front', '', '', (SELECT min(turn) FROM work {self._by(index)}"
                f" WHERE {line})"
            )
            for is_retry, index, line in ((False, "work_new", NEW), (True, "work_again", RETRIES))
        }
        self.release = text(
            f"UPDATE work SET stage=0, due_s={self._now} WHERE stage=2 AND id IN ({behind})"
        )
        self.due = text(
            f"SELECT id, bucket, key, attempts > 0 FROM work {self._by('work_resting')}"
            f" WHERE {RESTING} AND due_s <= {self._now} ORDER BY due_s, id LIMIT :limit"
            f" {self._lock('FOR NO KEY UPDATE SKIP LOCKED')}"
        )
        self.line_up = text(
            "UPDATE work SET stage=r.stage, turn=r.turn"
            f" FROM {self._rows('id int, stage int, turn int')} WHERE work.id=r.id"
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
            f" {self._by('work_resting')} WHERE {RESTING} AND due_s <= {self._now})"
        )
        self.in_line = text(
            f"SELECT EXISTS (SELECT 1 FROM work WHERE {NEW} UNION ALL"
            f" SELECT 1 FROM work WHERE {RETRIES})"
        )
        self.claim = text(
            "UPDATE work SET state='running', attempts=attempts+1, calls=calls+1,"
            f" lease_until_s={self._now} + :lease_s, changed_s={self._now}"
            f" WHERE id IN {self._ids()} RETURNING {FIELDS}"
        )
        self.requeue = text(
            f"UPDATE work SET state='queued', stage=0, due_s={self._now}, changed_s={self._now}"
            f" WHERE id IN (SELECT id FROM work {self._by('work_running')} WHERE state='running'"
            f" AND lease_until_s < COALESCE(:before_s, {self._now}) LIMIT :limit {lock})"
        )
        self.distrust = text(
            f"UPDATE work SET due_s=:now_s WHERE {RESTING} AND due_s > :now_s"
            " AND changed_s > :now_s"
        )

    def _add_ends(self) -> None:
        # After a failover that lost rows, PostgreSQL gives their ids to new rows. So the identity
        # is compared, too.
        columns = "id int, calls int, identity text, state text, code text, message text"
        rows = self._rows(f"{columns}, delay_s real, uncounted int")
        new = {"state": "r.state", "changed_s": self._now, "code": "r.code", "message": "r.message"}
        values = ", ".join(new.get(name, f"w.{name}") for name in FACTS.split(", "))
        move = f"INSERT INTO finished ({FACTS})"
        same = "{0}.id=r.id AND {0}.calls=r.calls AND {0}.identity=r.identity".format
        ended, retried = "r.state <> 'queued'", "r.state = 'queued'"
        retry = (
            f"UPDATE work SET state='queued', stage=0, due_s={self._now} + r.delay_s,"
            f" changed_s={self._now}, code=r.code, message=r.message,"
            # A retry is recorded twice if the answer of its commit was lost.
            " attempts=CASE WHEN attempts > r.uncounted THEN attempts - r.uncounted ELSE 0 END"
            " FROM {} WHERE"
        ).format
        self.end: tuple[TextClause, ...]
        """Move ended rows to `finished`, and update retried ones. Together they return the rows of
        the parameter that were still claimed, each as (id, calls, identity)."""
        if self.shared:
            # The rows are locked in the order of `places`, so that a deadlock is unlikely.
            self.end = (
                text(
                    f"WITH r AS MATERIALIZED (SELECT r.* FROM {rows}"
                    f" JOIN work w ON {same('w')}"
                    " ORDER BY w.bucket, w.key FOR NO KEY UPDATE OF w),"
                    f" gone AS (DELETE FROM work w USING r WHERE w.id=r.id AND {ended}"
                    f" RETURNING {values}), moved AS ({move} SELECT * FROM gone),"
                    f" again AS ({retry('r')} work.id=r.id AND {retried})"
                    " SELECT id, calls, identity FROM r"
                ),
            )
        else:
            self.end = (
                text(
                    f"{move} SELECT {values} FROM {rows} JOIN work w ON {same('w')} WHERE {ended}"
                ),
                text(
                    "DELETE FROM work WHERE (id, calls, identity) IN"
                    f" (SELECT r.id, r.calls, r.identity FROM {rows} WHERE {ended})"
                    " RETURNING id, calls, identity"
                ),
                text(f"{retry(rows)} {same('work')} AND {retried} RETURNING id, calls, identity"),
            )
        slash = "strpos(key, '/')" if self.shared else "instr(key, '/')"
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
        self.delete = text(f"DELETE FROM work WHERE id IN {self._ids()}")
        self.drop_old = text(
            f"DELETE FROM finished WHERE id IN {self._ids()} AND state=:state"
            " AND changed_s < :before_s RETURNING identity, code"
        )

    def _add_dead(self) -> None:
        dead = f"FROM finished {self._by('finished_dead')}"
        dead += " WHERE bucket=:bucket AND key=:key AND state='dead' AND"
        # This is `queue_rules.is_of_upload` in SQL, because a key may have many dead letters.
        self.settled = text(
            "SELECT 1 WHERE EXISTS (SELECT 1 FROM work WHERE bucket=:bucket AND key=:key)"
            f" OR EXISTS (SELECT 1 {dead} etag=:etag)"
            f" OR EXISTS (SELECT 1 {dead} etag='' AND received_s >= :modified_s)"
            f" OR EXISTS (SELECT 1 FROM finished {self._by('finished_object')} WHERE"
            " bucket=:bucket AND key=:key AND state='done' AND changed_s >= :results_s)"
        )
        self.dead_of_upload = text(f"SELECT id, code {dead} etag=:etag")

    def ids(self, ids: Iterable[int]) -> object:
        """The value of a parameter `ids`."""
        return ids_value(self.shared, ids)

    def _ids(self) -> str:
        return ids_sql(self.shared)

    def _rows(self, columns: str, name: str = "rows", table: str = "r") -> str:
        """The rows of a parameter as a table with these columns."""
        return rows_sql(self.shared, columns, name, table)

    def _by(self, index: str) -> str:
        return "" if self.shared else f"INDEXED BY {index}"

    def _lock(self, clause: str) -> str:
        return clause if self.shared else ""


STATEMENTS = {shared: Statements(shared) for shared in (False, True)}
