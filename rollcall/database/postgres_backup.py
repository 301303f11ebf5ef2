"""Backups of a PostgreSQL database, with PostgreSQL's own programs."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import text

from rollcall.core.errors import InboxUnavailable
from rollcall.database.database import Database
from rollcall.database.sqlite_backup import BackupUnusable

_SERVICE = "rollcall"

CLOSING_S = 5.0
"""How long a restore waits for other connections to end. PostgreSQL notices a moment later that a
trigger or a command has ended, for example the command before the restore in a script."""

_POLL_S = 0.1

ADVICE = (
    "install PostgreSQL's client programs (on Debian: apt-get install postgresql-client), or use"
    " the backups of your cluster (with CloudNativePG: kubectl cnpg backup)"
)

_OTHERS = text(
    "SELECT count(*) FROM pg_stat_activity WHERE datname=current_database()"
    " AND application_name='rollcall' AND pid <> pg_backend_pid()"
)


def dump(url: str, target: Path, *, replace: bool = False) -> None:
    """Write all tables to the file `target`, in pg_dump's own format.

    Raises BackupUnusable if the file exists and `replace` is not set, InboxUnavailable if pg_dump
    is not installed or fails.
    """
    if target.exists() and not replace:
        raise BackupUnusable(f"{str(target)!r} exists already; choose another name, or add --yes")
    part = target.with_name(f".rollcall-{uuid.uuid4().hex}.part")
    try:
        os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        _run(url, "pg_dump", "--format=custom", f"--file={part}", f"--dbname=service={_SERVICE}")
        _run(url, "pg_restore", "--list", str(part))  # checks that it can be read
        os.replace(part, target)
    except OSError as error:
        raise InboxUnavailable(
            f"{str(target)!r} cannot be written ({error}); check space and permissions"
        ) from error
    finally:
        part.unlink(missing_ok=True)


def restore_dump(url: str, backup: Path, *, force: bool = False) -> None:
    """Replace the tables with those in a file that `dump` wrote, in one transaction.

    Raises BackupUnusable if there is no such file, or if the database has tables and `force` is not
    set; InboxUnavailable if a trigger is connected, or pg_restore is not installed or fails.
    """
    if not backup.is_file():
        raise BackupUnusable(f"there is no file {str(backup)!r}")
    database = Database(url)
    try:
        others = _other_connections(database)
        with database.reading() as connection:
            has_tables = connection.execute(text("SELECT to_regclass('work')")).scalar_one()
    finally:
        database.close()
    if others:
        raise InboxUnavailable(
            f"triggers, pages or commands are connected to {database.name} ({others} connections);"
            " stop the triggers and the pages first"
        )
    if has_tables and not force:
        raise BackupUnusable(
            f"the database {database.name} has tables already; to replace them with the backup,"
            " add --force"
        )
    options = ("--clean", "--if-exists", "--no-owner", "--single-transaction", "--exit-on-error")
    _run(url, "pg_restore", *options, f"--dbname=service={_SERVICE}", str(backup))


def _other_connections(database: Database) -> int:
    """The number of connections of others, once those that are just ending have ended."""
    until_s = time.monotonic() + CLOSING_S
    while True:
        with database.reading() as connection:
            others: int = connection.execute(_OTHERS).scalar_one()
        if not others or time.monotonic() >= until_s:
            return others
        time.sleep(_POLL_S)


def _run(url: str, name: str, *arguments: str) -> None:
    program = shutil.which(name)
    if program is None:
        raise InboxUnavailable(f"{name} is not installed here; {ADVICE}")
    with _service(url) as service:
        # The program also gets the other variables of this process, such as PGSSLMODE.
        command = ["/usr/bin/env", f"PGSERVICEFILE={service}", program, *arguments]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True)  # noqa: S603
    if done.returncode:
        said = " ".join(done.stderr.decode(errors="replace").split())[-500:]
        raise InboxUnavailable(f"{name} failed: {said}")


@contextmanager
def _service(url: str) -> Iterator[str]:
    """A service file, in which libpq finds the parameters of the database.

    They are not arguments, because the URL may contain a password, and other users can see the
    arguments of a program.
    """
    # Imported here, because psycopg is slow to load, and SQLite does not need it.
    from psycopg.conninfo import conninfo_to_dict

    options = conninfo_to_dict(url)
    lines = [f"[{_SERVICE}]", *(f"{name}={value}" for name, value in options.items())]
    with tempfile.NamedTemporaryFile("w", prefix="rollcall-", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")
        file.flush()
        yield file.name
