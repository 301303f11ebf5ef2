"""Keeps removals of people and corrections of videos apart, in all processes that use a database.

A correction that runs while a person is removed would give the person's stored faces no name, so
that the removal could not find them, or would write what the removal has just deleted. The same
applies to whoever fills the index from reports. Many of them may run at once; a removal runs alone.

There are two locks. A removal holds both. A correction holds `_WORK` during a batch, and takes
`_GATE` for a moment before it. So no new batch begins while a removal waits for the last ones. The
locks end with the process, even after SIGKILL.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple, Protocol

from sqlalchemy import Connection, text

from rollcall.core.errors import InboxUnavailable
from rollcall.database.database import Database

WAIT_S = 300.0
"""How long a removal waits for the batches that run, and for another removal."""

POLL_S = 0.1


class _Lock(NamedTuple):
    number: int
    """Key of the advisory lock of PostgreSQL."""
    suffix: str
    """End of the name of the lock file, for an SQLite database."""


_GATE = _Lock(0x726F6C6C67617465, ".removal")  # `rollgate`
_WORK = _Lock(0x726F6C6C776F726B, ".corrections")  # `rollwork`

Check = Callable[[], None]
"""Raises InboxUnavailable if the lock is lost, because the connection to PostgreSQL broke."""


class _Locks(Protocol):
    def take(self, lock: _Lock, *, shared: bool) -> bool: ...
    def release(self, lock: _Lock) -> None: ...
    def check(self) -> None: ...


@contextmanager
def correcting(database: Database) -> Iterator[Check | None]:
    """Keep removals out during the block; None if a removal runs. Raises InboxUnavailable."""
    with _locks(database) as locks:
        if not locks.take(_GATE, shared=True):
            yield None
            return
        is_free = locks.take(_WORK, shared=True)
        locks.release(_GATE)
        yield locks.check if is_free else None


@contextmanager
def correcting_later(database: Database) -> Iterator[Check]:
    """The same, but wait until no removal runs."""
    while True:
        with correcting(database) as check:
            if check:
                yield check
                return
        time.sleep(POLL_S)


@contextmanager
def removing(database: Database, wait_s: float = WAIT_S) -> Iterator[Check]:
    """Keep corrections and other removals out during the block. Raises InboxUnavailable."""
    with _locks(database) as locks:
        deadline = time.monotonic() + wait_s
        for lock in (_GATE, _WORK):
            while not locks.take(lock, shared=False):
                if time.monotonic() > deadline:
                    raise InboxUnavailable(
                        "another removal is running, or videos are being corrected or put into"
                        " the index; run this again later"
                    )
                time.sleep(POLL_S)
        yield locks.check


@contextmanager
def _locks(database: Database) -> Iterator[_Locks]:
    if database.shared:
        with database.session() as transaction:
            session = _SessionLocks(transaction)
            try:
                yield session
            finally:
                session.release_all()
    elif database.path:
        with ExitStack() as opened:
            yield _FileLocks(database.path, opened)
    else:
        # Every command opens a database in memory for itself, so nobody else can use this one.
        yield _NoLocks()


class _SessionLocks:
    """Advisory locks of PostgreSQL, which belong to one connection outside the pool."""

    def __init__(self, transaction: Callable[[], AbstractContextManager[Connection]]) -> None:
        self._transaction = transaction

    def take(self, lock: _Lock, *, shared: bool) -> bool:
        function = "pg_try_advisory_lock_shared" if shared else "pg_try_advisory_lock"
        return bool(self._run(f"SELECT {function}(:number)", lock))

    def release(self, lock: _Lock) -> None:
        self._run("SELECT pg_advisory_unlock_shared(:number)", lock)

    def release_all(self) -> None:
        # The end of the connection would release the locks too, but a moment later.
        with suppress(InboxUnavailable), self._transaction() as connection:
            connection.execute(text("SELECT pg_advisory_unlock_all()"))

    def check(self) -> None:
        with self._transaction() as connection:
            connection.execute(text("SELECT 1"))

    def _run(self, statement: str, lock: _Lock) -> object:
        with self._transaction() as connection:
            return connection.execute(text(statement), {"number": lock.number}).scalar_one()


class _FileLocks:
    """Files beside an SQLite database. Two threads of a process exclude each other, too."""

    def __init__(self, path: Path, opened: ExitStack) -> None:
        self._path = path
        self._opened = opened
        self._handles: dict[_Lock, int] = {}

    def take(self, lock: _Lock, *, shared: bool) -> bool:
        try:
            if lock not in self._handles:
                self._handles[lock] = self._open(lock)
            kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
            fcntl.flock(self._handles[lock], kind | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            name = str(self._file(lock))
            raise InboxUnavailable(
                f"the lock file {name!r} cannot be used ({error}); check space and permissions"
            ) from error
        return True

    def release(self, lock: _Lock) -> None:
        fcntl.flock(self._handles[lock], fcntl.LOCK_UN)

    def check(self) -> None:
        """The kernel keeps the locks of a living process."""

    def _open(self, lock: _Lock) -> int:
        handle = os.open(self._file(lock), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._opened.callback(os.close, handle)
        return handle

    def _file(self, lock: _Lock) -> Path:
        return self._path.with_name(self._path.name + lock.suffix)


class _NoLocks:
    def take(self, lock: _Lock, *, shared: bool) -> bool:
        return True

    def release(self, lock: _Lock) -> None: ...
    def check(self) -> None: ...
