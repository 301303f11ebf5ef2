"""Transactions for a job that only one process at a time may do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import NamedTuple

from sqlalchemy import Connection, text

from rollcall.core.errors import InboxUnavailable
from rollcall.database.database import Database

_LOCK = text("SELECT pg_try_advisory_lock(:number)")
_UNLOCK = text("SELECT pg_advisory_unlock(:number)")


class Exclusive(NamedTuple):
    """How the process that holds the lock reads and writes."""

    transaction: Callable[[], AbstractContextManager[Connection]]
    reading: Callable[[], AbstractContextManager[Connection]]


@contextmanager
def exclusive(database: Database, number: int) -> Iterator[Exclusive | None]:
    """Hold the lock `number` during the block; None if another process holds it.

    In PostgreSQL, the lock belongs to a connection outside the pool, and the transactions use the
    same connection. If the connection breaks, PostgreSQL releases the lock, and the next
    transaction raises InboxUnavailable. Therefore a process that has lost the lock cannot write. An
    SQLite file belongs to one trigger, so it needs no lock.
    """
    if not database.shared:
        yield Exclusive(database.transaction, database.reading)
        return
    # No transaction stays open between two changes. As long as an old one is open, PostgreSQL keeps
    # dead rows, which slow down the work queue.
    with database.session() as transaction:
        with transaction() as connection:
            locked = connection.execute(_LOCK, {"number": number}).scalar_one()
        try:
            yield Exclusive(transaction, transaction) if locked else None
        finally:
            # The end of the connection would release the lock too, but a moment later.
            if locked:
                with suppress(InboxUnavailable), transaction() as connection:
                    connection.execute(_UNLOCK, {"number": number})
