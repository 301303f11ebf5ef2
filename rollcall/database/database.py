"""A connection pool for SQLite or PostgreSQL, with transactions, a clock and our errors."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import URL, Connection, Engine, ExceptionContext, create_engine, event, text
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.pool import StaticPool

from rollcall.core.errors import InboxUnavailable, SettingsError
from rollcall.core.settings import POSTGRESQL_URLS, SQLITE_URL
from rollcall.database import index_tables  # noqa: F401 (adds its tables to the metadata)
from rollcall.database.steady_clock import SteadyClock
from rollcall.database.tables import prepare_postgresql

Result = TypeVar("Result")

IN_MEMORY = "sqlite://"

BUSY_TIMEOUT_S = 10
"""How long a transaction in SQLite waits for another process. Apart from the trigger, the pages and
commands such as `rollcall replay` write to the file, each time for some milliseconds."""

CONNECTIONS = 8
"""Limit on the open connections of one process."""

MAX_TRIES = 5
"""How often a transaction is run if PostgreSQL ends it because of a deadlock."""

_REPEATABLE = frozenset({"40001", "40P01"})
"""SQLSTATE of a serialization failure and of a deadlock."""

_DROP_CONNECTIONS = frozenset({"25006", "57P01", "57P02", "57P03"})
"""SQLSTATEs after which no pooled connection can be used: after a failover, the server is read-only
or shuts down. The next transaction connects again, and finds the new primary."""

_POSTGRESQL_OPTIONS = {
    "connect_timeout": 5,
    # A connection whose server has vanished fails after about 10 s, instead of hours.
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
    "application_name": "rollcall",
    # The same for the server, if this process has vanished, so that its locks do not stay for long.
    # The server ends an open transaction before others give up waiting for its locks.
    "options": "-c statement_timeout=30s -c lock_timeout=10s"
    " -c idle_in_transaction_session_timeout=5s -c tcp_user_timeout=10s"
    " -c tcp_keepalives_idle=5 -c tcp_keepalives_interval=2 -c tcp_keepalives_count=3"
    # PostgreSQL keeps the plan of a prepared statement. A plan that was made while a table was
    # almost empty would scan the whole table, even after a flood of events has filled it.
    " -c enable_seqscan=off"
    # The setting makes the remaining scans look so costly that PostgreSQL would compile them.
    " -c jit=off",
}
"""Defaults of libpq's parameters. The same parameters in DATABASE_URL replace them."""


class Database:
    """One database. Safe to share between threads.

    `clock` replaces the database's clock in tests; its unit is seconds of Unix time.
    """

    def __init__(self, url: str, clock: Callable[[], float] | None = None) -> None:
        self.shared = url.startswith(POSTGRESQL_URLS)
        """Whether several triggers may use the database at the same time."""
        self.path = None if self.shared or url == IN_MEMORY else Path(url.removeprefix(SQLITE_URL))
        """The file of an SQLite database."""
        self.name = IN_MEMORY if self.path is None else repr(str(self.path))
        """The database's name in messages, without its password."""
        self.clock = clock if self.shared else clock or SteadyClock()
        """The clock of this process, or None if the server's clock is used."""
        self._writer = threading.RLock()
        """SQLite has one writer at a time. Threads wait for each other here, because SQLite would
        poll."""
        self._closed = False
        self.engine = self._postgresql(url) if self.shared else self._sqlite()
        event.listen(self.engine, "handle_error", _drop_useless_connections)
        event.listen(self.engine, "handle_error", _leave_rows_out)

    def close(self) -> None:
        """Close all connections. Later transactions raise InboxUnavailable."""
        self._closed = True
        self.engine.dispose()

    def now_s(self, connection: Connection) -> float:
        """The time of the database's clock.

        SQLite has no clock of its own, so there the time is that of this process, which is not
        affected when the system's clock is set (docs/decisions/0021).
        """
        if self.clock:
            return self.clock()
        now_s: float = connection.execute(_NOW).scalar_one()
        return now_s

    def run(self, change: Callable[[Connection], Result]) -> Result:
        """Run `change` in a transaction, which is on the disk when this method returns.

        `change` is run again if the database ended the transaction because of a deadlock, so it
        must have no other effects. Raises InboxUnavailable.
        """
        for left in reversed(range(MAX_TRIES)):
            try:
                with self.transaction() as connection:
                    return change(connection)
            except InboxUnavailable as error:
                if left == 0 or _sqlstate(error.__cause__) not in _REPEATABLE:
                    raise
        raise AssertionError("unreachable")

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A transaction that is committed at the end of the block. Raises InboxUnavailable."""
        if self.shared:
            with self._errors(), self.engine.begin() as connection:
                yield connection
        else:
            with self._writer, self._errors(), self.engine.connect() as connection:
                # IMMEDIATE waits for the write lock. A transaction that began with a read would
                # fail at its first write if another process had written since the read.
                connection.exec_driver_sql("BEGIN IMMEDIATE")
                try:
                    yield connection
                except BaseException:
                    connection.rollback()
                    raise
                connection.commit()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection for queries. Raises InboxUnavailable.

        Readers do not wait for writers, except in an SQLite database in memory, where all threads
        share one connection.
        """
        lock = self._writer if self.path is None and not self.shared else nullcontext()
        with lock, self._errors(), self.engine.connect() as connection:
            yield connection

    @contextmanager
    def session(self) -> Iterator[Callable[[], AbstractContextManager[Connection]]]:
        """Connect outside the pool, for a lock that ends with its connection.

        Yields a function that opens transactions on this connection. They raise InboxUnavailable
        once the connection is broken.
        """
        with self._errors():
            connection = self.engine.connect()
        connection.detach()

        @contextmanager
        def transaction() -> Iterator[Connection]:
            if connection.invalidated:  # SQLAlchemy would connect again, without the lock
                raise InboxUnavailable(f"the connection to the database {self.name} is broken")
            with self._errors(), connection.begin():
                yield connection

        try:
            yield transaction
        finally:
            connection.close()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        if self._closed:
            raise InboxUnavailable(f"the database {self.name} is closed")
        try:
            yield
        except (SQLAlchemyError, OSError) as error:
            cause = getattr(error, "orig", None) or error
            # The details of PostgreSQL may quote a row, which may have a person's name.
            primary = getattr(getattr(cause, "diag", None), "message_primary", None)
            what = " ".join(str(primary or cause).split())
            hint = "check that the server runs" if self.shared else "check space and permissions"
            message = f"the database {self.name} cannot be used ({what}); {hint}"
            raise InboxUnavailable(message) from error

    def _sqlite(self) -> Engine:
        if self.path is None:
            engine = create_engine(
                "sqlite://",
                poolclass=StaticPool,
                connect_args={"check_same_thread": False},
                hide_parameters=True,
            )
        else:
            with self._errors():
                self.path.parent.mkdir(parents=True, exist_ok=True)
                # Names of videos are personal data, so only the owner may read the file. SQLite
                # gives the -wal and -shm files the same permissions.
                os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            engine = create_engine(
                # The path is not put into a URL text, in which %, ? and # have a meaning.
                URL.create("sqlite", database=str(self.path.absolute())),
                pool_size=CONNECTIONS,
                max_overflow=0,
                connect_args={"check_same_thread": False, "timeout": BUSY_TIMEOUT_S},
                # Tracebacks would show the values, which may be names and encodings of people.
                hide_parameters=True,
            )
        event.listen(engine, "connect", _prepare_sqlite)
        return engine

    def _postgresql(self, url: str) -> Engine:
        import psycopg
        from psycopg.conninfo import conninfo_to_dict

        prepare_postgresql()

        try:
            given = conninfo_to_dict(url)
        except psycopg.Error:
            given = None  # the parser's own error may contain the password, so it is left out
        # The host contains an @ if the password does, and it is then a part of the password.
        if given is None or "@" in str(given.get("host", "")):
            raise SettingsError(
                "DATABASE_URL cannot be parsed; write it as postgresql://USER:PASSWORD@HOST/NAME,"
                " with %XX for special characters in the password"
            )
        self.name = f"postgresql://{given.get('host', '')}/{given.get('dbname', '')}"
        options = {**_POSTGRESQL_OPTIONS, **given}

        def connect() -> psycopg.Connection[Any]:
            return psycopg.connect(**options)  # type: ignore[arg-type]

        # SQLAlchemy does not accept URLs with several hosts, so libpq parses the URL.
        return create_engine(
            "postgresql+psycopg://",
            creator=connect,
            pool_size=CONNECTIONS,
            max_overflow=0,
            pool_recycle=300,
            hide_parameters=True,  # as for SQLite
        )


_NOW = text("SELECT extract(epoch FROM clock_timestamp())::double precision")


def _prepare_sqlite(connection: Any, record: object) -> None:
    # Transactions begin explicitly, with BEGIN IMMEDIATE.
    connection.isolation_level = None
    # In WAL mode, only synchronous=FULL writes each commit to the disk before it returns. With
    # NORMAL, a power failure could lose events that were acknowledged already.
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")


def _drop_useless_connections(context: ExceptionContext) -> None:
    if getattr(context.original_exception, "sqlstate", None) in _DROP_CONNECTIONS:
        context.is_disconnect = True


def _leave_rows_out(context: ExceptionContext) -> None:
    """The details of PostgreSQL may quote a row, which may have a person's name. Tracebacks would
    show them."""
    diagnosis = getattr(context.original_exception, "diag", None)
    if primary := getattr(diagnosis, "message_primary", None):
        for error in (context.original_exception, context.sqlalchemy_exception):
            if error is not None:
                error.args = (primary,)


def is_about_data(error: InboxUnavailable) -> bool:
    """Whether a database refused the data of a transaction, and could store other data."""
    cause = error.__cause__
    # 54: a program limit, for example a text that is too long for an index.
    return isinstance(cause, DataError | IntegrityError) or _sqlstate(cause).startswith("54")


def _sqlstate(error: BaseException | None) -> str:
    if isinstance(error, DBAPIError):
        return getattr(error.orig, "sqlstate", None) or ""
    return ""
