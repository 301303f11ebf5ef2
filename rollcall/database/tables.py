"""The tables of the database, for SQLite and PostgreSQL.

All times are Unix times in seconds. A row of `work` is small and short-lived: when the work ends,
its row moves to `finished`, so claims never pass old rows.
"""

from __future__ import annotations

from sqlalchemy import (
    REAL,
    BigInteger,
    CheckConstraint,
    Column,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    text,
)
from sqlalchemy.types import TypeEngine

metadata = MetaData()

ID: TypeEngine[int] = BigInteger().with_variant(Integer(), "sqlite")
TIME: TypeEngine[float] = Double().with_variant(REAL(), "sqlite")
# Keys are compared by their bytes in both databases.
KEY: TypeEngine[str] = Text().with_variant(Text(collation="C"), "postgresql")


def id_column() -> Column[int]:
    return Column("id", ID, primary_key=True, autoincrement=True)


def text_column(name: str) -> Column[str]:
    return Column(name, Text, nullable=False, server_default="")


def key(name: str) -> Column[str]:
    return Column(name, KEY, nullable=False)


def time(name: str) -> Column[float]:
    return Column(name, TIME, nullable=False, server_default=text("0"))


def number(name: str) -> Column[int]:
    return Column(name, BigInteger, nullable=False, server_default=text("0"))


def _facts() -> tuple[Column[str] | Column[float] | Column[int], ...]:
    """The columns that `work` and `finished` share."""
    return (
        key("identity"),
        key("bucket"),
        key("key"),
        text_column("version_id"),
        text_column("etag"),
        text_column("event_name"),
        time("uploaded_s"),
        text_column("origin"),
        text_column("state"),
        number("attempts"),
        number("calls"),
        time("received_s"),
        time("changed_s"),
        text_column("code"),
        text_column("message"),
        text_column("traceparent"),
    )


seen_event = Table(
    "seen_event",
    metadata,
    Column("identity", KEY, primary_key=True),
)
"""The identity of each event whose work is in `work` or `finished`. The primary key makes sure that
two triggers cannot both queue the same event."""

work = Table(
    "work",
    metadata,
    id_column(),
    *_facts(),
    time("due_s"),
    time("lease_until_s"),
    number("stage"),
    key("prefix"),
    number("turn"),
    CheckConstraint("state IN ('queued', 'running')", name="work_state"),
    # An id must not be used again after its row has moved to `finished`.
    sqlite_autoincrement=True,
)
"""Queued and running work. `rollcall.queues.queue_order` explains stage, prefix and turn."""

_NEW = "state='queued' AND stage=1 AND attempts=0"
_RETRIES = "state='queued' AND stage=1 AND attempts>0"


def _work_index(name: str, *columns: str, where: str, unique: bool = False) -> None:
    indexed = (work.c[column] for column in columns)
    Index(name, *indexed, unique=unique, sqlite_where=text(where))


# Running work stays in stage 1, so this index also allows only one running call for each object.
_work_index("work_ahead", "bucket", "key", where="stage=1", unique=True)
_work_index("work_new", "turn", "id", where=_NEW)
_work_index("work_again", "turn", "id", where=_RETRIES)
_work_index("work_new_prefix", "prefix", "turn", where=_NEW)
_work_index("work_again_prefix", "prefix", "turn", where=_RETRIES)
_work_index("work_resting", "due_s", "id", where="state='queued' AND stage=0")
_work_index("work_behind", "bucket", "key", "id", where="state='queued' AND stage=2")
_work_index("work_running", "lease_until_s", where="state='running'")
Index("work_object", work.c.bucket, work.c.key)

finished = Table(
    "finished",
    metadata,
    Column("id", ID, primary_key=True, autoincrement=False),
    *_facts(),
    CheckConstraint("state IN ('done', 'dead')", name="finished_state"),
)
"""Work that is done, and dead letters."""

Index("finished_changed", finished.c.changed_s, finished.c.id)
Index(
    "finished_dead",
    finished.c.bucket,
    finished.c.key,
    finished.c.etag,
    finished.c.received_s,
    sqlite_where=text("state='dead'"),
)
Index(
    "finished_dead_changed",
    finished.c.changed_s,
    finished.c.id,
    sqlite_where=text("state='dead'"),
)
Index("finished_object", finished.c.bucket, finished.c.key, finished.c.changed_s)

found_upload = Table(
    "found_upload",
    metadata,
    id_column(),
    key("bucket"),
    key("key"),
    text_column("etag"),
    time("uploaded_s"),
    time("found_s"),
)
"""Each time that the reconciler queued an upload because it had no result."""

Index(
    "found_upload_object",
    found_upload.c.bucket,
    found_upload.c.key,
    found_upload.c.etag,
    found_upload.c.uploaded_s,
)
Index("found_upload_time", found_upload.c.found_s)

bad_event = Table(
    "bad_event",
    metadata,
    id_column(),
    time("received_s"),
    text_column("reason"),
    Column("body", LargeBinary, nullable=False),
)

tally = Table(
    "tally",
    metadata,
    Column("slot", Integer, primary_key=True, autoincrement=False),
    Column("state", Text, primary_key=True),
    Column("code", Text, primary_key=True),
    number("count"),
)
"""The tally: how much work is done and dead, by code. `queued` counts queued and running work
together, and `bad` counts bad events.

A count is the sum over all slots. In PostgreSQL each transaction adds to a slot that it chooses at
random, because transactions that change the same row have to wait for each other.
"""

listed_video = Table(
    "listed_video",
    metadata,
    Column("bucket", KEY, primary_key=True),
    Column("key", KEY, primary_key=True),
    key("result_key"),
    text_column("version_id"),
    text_column("etag"),
    number("size_bytes"),
    time("modified_s"),
    sqlite_with_rowid=False,
)
"""The videos of the input bucket, as the reconciler last listed them."""

listed_result = Table(
    "listed_result",
    metadata,
    Column("bucket", KEY, primary_key=True),
    Column("key", KEY, primary_key=True),
    text_column("etag"),
    time("modified_s"),
    Column("source_etag", Text),
    sqlite_with_rowid=False,
)
"""The objects of the output bucket, as the reconciler last listed them. `source_etag` is the etag
of the video that a result was made from; NULL if it has not been read since the result changed."""

reconciled = Table(
    "reconciled",
    metadata,
    Column("bucket", KEY, primary_key=True),
    time("finished_s"),
)
"""When the reconciler last scanned an input bucket to the end."""

notice = Table(
    "notice",
    metadata,
    id_column(),
    Column("message_id", Text, nullable=False, unique=True),
    Column("body", Text, nullable=False),
    text_column("state"),
    number("attempts"),
    number("calls"),
    time("due_s"),
    time("lease_until_s"),
    time("created_s"),
    time("changed_s"),
    text_column("code"),
    text_column("message"),
    CheckConstraint("state IN ('queued', 'running', 'dead')", name="notice_state"),
)
"""The outbox: messages for RESULT_WEBHOOK_URL that are not delivered yet, and those given up."""

Index(
    "notice_due",
    notice.c.due_s,
    notice.c.id,
    sqlite_where=text("state='queued'"),
)
Index(
    "notice_running",
    notice.c.lease_until_s,
    sqlite_where=text("state='running'"),
)
Index(
    "notice_waiting",
    notice.c.created_s,
    sqlite_where=text("state<>'dead'"),
)
Index(
    "notice_dead",
    notice.c.changed_s,
    notice.c.id,
    sqlite_where=text("state='dead'"),
)


def prepare_postgresql() -> None:
    """Give the indexes the same conditions in PostgreSQL as in SQLite.

    They are not set above, because SQLAlchemy would then load all its code for PostgreSQL, which
    would make a start on SQLite 20 ms slower.
    """
    for table in metadata.tables.values():
        for index in table.indexes:
            where = index.dialect_options["sqlite"]["where"]
            index.dialect_options["postgresql"]["where"] = where
