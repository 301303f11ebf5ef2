"""The choice of the work queue."""

from __future__ import annotations

from rollcall.core.queue_protocols import WorkQueue
from rollcall.core.settings import Settings
from rollcall.database.open_database import open_database
from rollcall.queues.sql_queue import SqlQueue


def open_queue(settings: Settings, *, must_exist: bool = False) -> WorkQueue:
    """Open the work queue in the database that the settings name. The caller has to close it.

    Raises the errors of `open_database`.
    """
    return SqlQueue(open_database(settings, must_exist=must_exist))
