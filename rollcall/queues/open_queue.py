"""The choice of the work queue."""

from __future__ import annotations

from pathlib import Path

from rollcall.core.errors import SettingsError
from rollcall.core.protocols import WorkQueue
from rollcall.core.settings import Settings
from rollcall.queues.sqlite_queue import SqliteQueue


def open_queue(settings: Settings, *, must_exist: bool = False) -> WorkQueue:
    """Open the work queue that the settings name. The caller has to close it.

    A queue that does not exist is created; with `must_exist`, SettingsError is raised instead.
    Raises InboxUnavailable if the queue cannot be opened.
    """
    path = Path(settings.inbox)
    if must_exist and not path.is_file():
        raise SettingsError(f"no inbox at {str(path)!r}; set INBOX to the same file as the trigger")
    return SqliteQueue(path)
