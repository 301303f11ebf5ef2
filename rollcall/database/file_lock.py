"""The lock of an SQLite database: only one trigger at a time may use the file."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rollcall.core.errors import InboxUnavailable


@contextmanager
def own_file(path: Path) -> Iterator[None]:
    """Hold the lock file of a database. Raises InboxUnavailable if another process holds it.

    The kernel releases the lock when the process that holds it ends, even after SIGKILL.
    """
    lock_path = path.with_name(path.name + ".lock")
    try:
        lock_path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise InboxUnavailable(
            f"the lock file {str(lock_path)!r} cannot be opened ({error});"
            " check free space and permissions"
        ) from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InboxUnavailable(
                f"another trigger already uses the inbox {str(path)!r};"
                " stop it, or set DATABASE_URL to another file"
            ) from error
        yield
    finally:
        os.close(handle)
