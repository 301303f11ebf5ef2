"""A lock on a folder, so that only one process at a time changes its files."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

LOCK_WAIT_S = 60.0
"""Longest wait for the lock. A process holds the lock only while it replaces a file."""

LOCK_POLL_S = 0.01
"""Pause between two attempts to lock. A blocking flock would have no time limit."""

LOCK_FILE = ".rollcall.lock"
"""File that is locked instead of the folder on NFS, which locks only files open for writing."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold an exclusive lock on the folder. It also excludes processes of other users.

    The kernel releases the lock when the process ends, even if it is killed. Raises OSError, or its
    subclass TimeoutError after LOCK_WAIT_S seconds.
    """
    handle = _opened(folder)
    try:
        _wait_for(handle, folder)
        yield
    finally:
        os.close(handle)


def _opened(folder: Path) -> int:
    """Open the folder, or on NFS the lock file in it, and return the file descriptor."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pass  # another process holds the lock, so the folder can be locked
    except OSError as error:
        os.close(handle)
        # NFS replaces flock with a lock that needs a file descriptor open for writing.
        if error.errno != errno.EBADF:
            raise
        return _opened_lock_file(folder)
    return handle


def _opened_lock_file(folder: Path) -> int:
    """Open the lock file, so that all users who may change files in the folder can open it too."""
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    handle = os.open(folder / LOCK_FILE, flags, 0o600)
    owner = folder.stat()
    with suppress(PermissionError):  # another user created the file and has already set its mode
        os.fchmod(handle, owner.st_mode & 0o666)
        os.fchown(handle, owner.st_uid, owner.st_gid)
    return handle


def _wait_for(handle: int, folder: Path) -> None:
    until = time.monotonic() + LOCK_WAIT_S
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError as error:
            if time.monotonic() > until:
                raise TimeoutError(
                    errno.ETIMEDOUT,
                    f"another process has been changing files in {str(folder)!r} for"
                    f" {LOCK_WAIT_S:g} s; try again when it has finished",
                ) from error
        time.sleep(LOCK_POLL_S)
