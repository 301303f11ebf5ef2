"""The choice of the work queue."""

from __future__ import annotations

from pathlib import Path

from rollcall.core.errors import SettingsError
from rollcall.core.protocols import WorkQueue
from rollcall.core.settings import SQLITE_URL, Settings
from rollcall.queues.sqlite_queue import SqliteQueue


def open_queue(settings: Settings, *, must_exist: bool = False) -> WorkQueue:
    """Open the work queue that the settings name. The caller has to close it.

    A queue that does not exist is created; with `must_exist`, SettingsError is raised instead.
    Raises InboxUnavailable if the queue cannot be opened.
    """
    path = Path(settings.database_url.removeprefix(SQLITE_URL))
    if must_exist and not path.is_file():
        raise SettingsError(
            f"there is no file {str(path)!r}; set DATABASE_URL to the same database as the trigger"
        )
    return SqliteQueue(path)
