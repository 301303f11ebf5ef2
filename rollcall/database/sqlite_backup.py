"""Consistent copies of an SQLite database, also while a trigger uses it.

A plain copy of the file would lack the newest changes, which are in a second file (`-wal`), and
could mix old pages with new ones.
"""

from __future__ import annotations

import os
import sqlite3
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from rollcall.core.errors import InboxUnavailable, PermanentError, SettingsError
from rollcall.database.file_lock import own_file
from rollcall.database.open_database import VERSION_TABLE, check_revision

BUSY_TIMEOUT_S = 10
MAX_PROBLEM_CHARS = 200
COUNTED = ("work", "finished", "notice", "video", "change")
"""Tables whose rows are counted: a restore does not replace them without `force`."""

PAGES_AT_ONCE = 4096
"""Pages that are copied between two calls of `on_bytes`, usually 16 MB."""

OnBytes = Callable[[int, int], None]
"""Gets the number of bytes that are copied, and that of all bytes."""


def _ignore(done_bytes: int, total_bytes: int) -> None:
    pass


class BackupUnusable(PermanentError):
    """A file is not a backup that this version can restore."""


def back_up(
    database: Path, target: Path, *, replace: bool = False, on_bytes: OnBytes = _ignore
) -> dict[str, int]:
    """Copy the database to the file `target`, and return its number of rows by table.

    `on_bytes` is called with the number of bytes that are copied, and with that of all bytes.
    The copy has its final name only once it is complete, on the disk, and checked. Only its owner
    may read it. Raises InboxUnavailable, and BackupUnusable if `target` exists and `replace` is not
    set.
    """
    if not database.is_file():
        raise SettingsError(
            f"there is no database {str(database)!r}; set DATABASE_URL to the same database as the"
            " trigger"
        )
    if target.exists() and target.samefile(database):
        raise BackupUnusable(f"{str(target)!r} is the database itself; choose another name")
    if target.exists() and not replace:
        raise BackupUnusable(f"{str(target)!r} exists already; choose another name, or add --yes")
    part = target.with_name(f".rollcall-{uuid.uuid4().hex}.part")
    with _errors(part):
        os.close(os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    try:
        with _errors(database), _open(database) as source, _open(part) as copy:
            # One snapshot for the rows that are counted and for those that are copied.
            source.execute("BEGIN")
            counts = _counts(source)
            _copy_pages(source, copy, on_bytes)
            source.execute("COMMIT")
            copy.execute("PRAGMA journal_mode=DELETE")  # the copy is a single file
            _check(copy, part, counts)
        with _errors(target):
            _sync(part)
            os.replace(part, target)
            _sync(target.parent)
    finally:
        # After a failure, the incomplete copy must not keep filling the disk.
        part.unlink(missing_ok=True)
    return counts


def restore(
    backup: Path, database: Path, *, force: bool = False, on_bytes: OnBytes = _ignore
) -> dict[str, int]:
    """Replace the database with a backup, completely or not at all; return its number of rows.

    `on_bytes` is called as in `back_up`.
    Raises BackupUnusable if the file is not a usable backup, or if the database has rows and
    `force` is not set; InboxUnavailable if a trigger uses the database, or the disk fails.
    """
    counts = check_backup(backup)
    with _errors(database):
        database.parent.mkdir(parents=True, exist_ok=True)
    with own_file(database), _errors(database):
        os.close(os.open(database, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        if not force and (rows := _rows(database)):
            raise BackupUnusable(
                f"the database {str(database)!r} {rows}; to replace it with the backup, add --force"
            )
        try:
            _copy_into(backup, database, counts, on_bytes)
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise
            # The file is so damaged that SQLite cannot even replace its content.
            for name in ("", "-wal", "-shm"):
                database.with_name(database.name + name).unlink(missing_ok=True)
            os.close(os.open(database, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            _copy_into(backup, database, counts, on_bytes)
    return counts


def check_backup(backup: Path) -> dict[str, int]:
    """The number of rows by table of a usable backup. Raises BackupUnusable."""
    if not backup.is_file():
        raise BackupUnusable(f"there is no file {str(backup)!r}")
    try:
        with _open(backup, read_only=True) as source:
            counts = _counts(source)
            _check(source, backup, counts)
            if "work" not in counts:
                raise BackupUnusable(f"{str(backup)!r} has no tables of Rollcall")
            with suppress(sqlite3.OperationalError):  # an inbox of an early version has no revision
                for (revision,) in source.execute(f"SELECT version_num FROM {VERSION_TABLE}"):
                    check_revision(revision, f"the backup {str(backup)!r}")
    except sqlite3.Error as error:
        raise BackupUnusable(f"{str(backup)!r} is not a usable backup ({error})") from error
    return counts


def _copy_pages(source: sqlite3.Connection, target: sqlite3.Connection, on_bytes: OnBytes) -> None:
    (page_bytes,) = source.execute("PRAGMA page_size").fetchone()

    def note(status: int, remaining: int, total: int) -> None:
        on_bytes((total - remaining) * page_bytes, total * page_bytes)

    # The source's transaction stays open, so that writers cannot make the copy begin again.
    source.backup(target, pages=PAGES_AT_ONCE, progress=note, sleep=0)


def _copy_into(backup: Path, database: Path, counts: dict[str, int], on_bytes: OnBytes) -> None:
    # SQLite copies in one transaction, so a killed process leaves the old content.
    with _open(backup, read_only=True) as source, _open(database) as target:
        _copy_pages(source, target, on_bytes)
        _check(target, database, counts)


def _rows(database: Path) -> str:
    """The content of the database as part of a sentence; empty if it has no rows."""
    try:
        with _open(database) as db:
            counts = _counts(db)
    except sqlite3.DatabaseError:
        return "is damaged"
    shown = [f"{count} rows in {table}" for table, count in counts.items() if count]
    return f"has {', '.join(shown)}" if shown else ""


def _counts(db: sqlite3.Connection) -> dict[str, int]:
    present = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type='table'")}
    return {
        name: db.execute(f"SELECT count(*) FROM {name}").fetchone()[0]
        for name in COUNTED
        if name in present
    }


def _check(db: sqlite3.Connection, path: Path, counts: dict[str, int]) -> None:
    """Raise BackupUnusable if the database is damaged or lacks rows."""
    (problem,) = db.execute("PRAGMA integrity_check(1)").fetchone()
    if problem != "ok":
        raise BackupUnusable(f"{str(path)!r} is damaged ({problem[:MAX_PROBLEM_CHARS]})")
    if (found := _counts(db)) != counts:
        raise BackupUnusable(f"{str(path)!r} has other rows ({found}) than its source ({counts})")


@contextmanager
def _open(path: Path, *, read_only: bool = False) -> Iterator[sqlite3.Connection]:
    uri = f"{path.absolute().as_uri()}?mode={'ro' if read_only else 'rw'}"
    connection = sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None)
    with closing(connection):
        # The same as the trigger: each commit is on the disk when it returns.
        connection.execute("PRAGMA synchronous=FULL")
        yield connection


@contextmanager
def _errors(path: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise InboxUnavailable(
            f"{str(path)!r} cannot be used ({error}); check space and permissions"
        ) from error


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
