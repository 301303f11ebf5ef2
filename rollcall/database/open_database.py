"""Opens the database that the settings name, with the tables of this version.

A fresh database gets all tables at once. The tables of an earlier version are brought up to date by
Alembic, which is imported only then, because it is slow to load.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from sqlalchemy import (
    Column,
    Connection,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    insert,
    inspect,
    select,
    text,
)

from rollcall.core.errors import InboxUnavailable, SettingsError
from rollcall.core.settings import SQLITE_URL, Settings
from rollcall.database.database import Database
from rollcall.database.file_lock import own_file
from rollcall.database.tables import metadata

log = logging.getLogger(__name__)

REVISIONS = ("0001", "0002")
"""The revisions in `migrations/versions`, oldest first."""

NEWEST = REVISIONS[-1]

VERSION_TABLE = "alembic_version"

_version = Table(
    VERSION_TABLE,
    MetaData(),
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)
"""Alembic's table, which holds the revision of the other tables."""

BEFORE_REVISIONS = ""
"""Stands for the inbox of a version that had no revisions yet."""

_INBOX = frozenset({"work", "bad_event"})
"""The tables of such an inbox."""

_QUEUE = frozenset({"work", "seen_event", "finished"})
"""Tables that every version with revisions has."""

_MIGRATION_LOCK = 0x726F6C6C63616C6C
"""Key of the advisory lock that a process holds while it creates or changes tables: `rollcall`."""


def open_database(settings: Settings, *, must_exist: bool = False) -> Database:
    """Open the database. The caller has to close it.

    With `must_exist`, a database without Rollcall's tables is an error; otherwise the tables are
    created. Raises SettingsError for a database that this version cannot use, and InboxUnavailable.
    """
    path = sqlite_path(settings)
    if must_exist and path is not None and not path.is_file():
        raise _does_not_exist(repr(str(path)))
    database = Database(settings.database_url)
    try:
        prepare(database, must_exist=must_exist)
    except BaseException:
        database.close()
        raise
    return database


def sqlite_path(settings: Settings) -> Path | None:
    """The file of the SQLite database that the settings name; None for another database."""
    url = settings.database_url
    return Path(url[len(SQLITE_URL) :]) if url.startswith(SQLITE_URL) else None


def prepare(database: Database, *, must_exist: bool = False) -> None:
    """Create the tables, or bring those of an earlier version up to date.

    If several processes do this at the same time, one of them does the work, and the others wait.
    Raises SettingsError and InboxUnavailable.
    """
    with database.reading() as connection:
        found = _revision(connection, database.name)
    if found == NEWEST:
        return
    if found is None and must_exist:
        raise _does_not_exist(database.name)
    with _no_trigger(database, found), database.transaction() as connection:
        if database.shared:
            _wait_for_others(connection)
        found = _revision(connection, database.name)  # another process may have been faster
        if found is None:
            create_tables(connection)
        elif found != NEWEST:
            log.info("bringing the tables of %s up to date", database.name)
            migrate(connection)
            log.info("the tables of %s are up to date", database.name)


def create_tables(connection: Connection) -> None:
    """Create all tables in an empty database, and note their revision."""
    metadata.create_all(connection)
    _version.create(connection)
    connection.execute(insert(_version).values(version_num=NEWEST))


def _revision(connection: Connection, name: str) -> str | None:
    """The revision of the tables, and None if there are none.

    Raises SettingsError if the tables are not Rollcall's, or those of a newer version.
    """
    tables = set(inspect(connection).get_table_names())
    if _version.name not in tables:
        if connection.dialect.name == "sqlite" and _is_inbox(connection, tables):
            return BEFORE_REVISIONS
        if others := sorted(tables & metadata.tables.keys()):
            raise SettingsError(
                f"the database {name} has a table {others[0]} of another program;"
                " set DATABASE_URL to a database of its own for Rollcall"
            )
        return None
    if not tables >= _QUEUE:
        raise SettingsError(
            f"the database {name} has a table {_version.name} of another program;"
            " set DATABASE_URL to a database of its own for Rollcall"
        )
    found = connection.execute(select(_version.c.version_num)).scalar()
    check_revision(found, f"the database {name}")
    return str(found)


def check_revision(found: object, what: str) -> None:
    """Raise SettingsError if the tables of a database or a backup are those of a newer version."""
    if found not in REVISIONS:
        raise SettingsError(
            f"{what} was written by a newer version of Rollcall (its tables have the revision"
            f" {found}, this version knows revisions up to {NEWEST}); install the newer version"
            " again, or restore a backup of this version"
        )


def _is_inbox(connection: Connection, tables: set[str]) -> bool:
    if not tables >= _INBOX or "seen_event" in tables:
        return False
    return "identity" in {column["name"] for column in inspect(connection).get_columns("work")}


@contextmanager
def _no_trigger(database: Database, found: str | None) -> Iterator[None]:
    """Make sure that no trigger of an earlier version uses an SQLite file that is changed."""
    with ExitStack() as stack:
        if database.path and found is not None:
            try:
                stack.enter_context(own_file(database.path))
            except InboxUnavailable as error:
                if not isinstance(error.__cause__, BlockingIOError):  # the lock cannot be opened
                    raise
                raise InboxUnavailable(
                    f"the tables of {database.name} are those of an earlier version and have to be"
                    " brought up to date, but a trigger uses them; stop that trigger, and run this"
                    " again"
                ) from error
        yield


def _wait_for_others(connection: Connection) -> None:
    # A migration may take longer than the time limits of other statements.
    connection.execute(text("SET LOCAL lock_timeout = 0"))
    connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
    connection.execute(text("SET LOCAL statement_timeout = 0"))
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})


def migrate(connection: Connection, revision: str = "head") -> None:
    """Run the revisions that the database does not have yet, in the connection's transaction.

    Raises SettingsError if another program has a table with the name of a new one.
    """
    from alembic.command import upgrade
    from alembic.config import Config

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", "rollcall.database:migrations")
    config.set_main_option("path_separator", "os")
    upgrade(config, revision)


def _does_not_exist(name: str) -> SettingsError:
    return SettingsError(
        f"there is no database {name}; set DATABASE_URL to the same database as the trigger; if"
        " `rollcall up` runs: . state/up/env.sh"
    )
