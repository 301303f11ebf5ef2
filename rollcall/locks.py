"""Folders that one process at a time may change, and that are on disk afterwards."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

LOCK_WAIT_S = 60.0
"""Longest wait for others. Each of them holds the lock for a moment."""

LOCK_POLL_S = 0.01

LOCK_FILE = ".rollcall.lock"
"""Used where the folder itself cannot be locked. NFS locks only what is open for writing."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keeps other processes out that lock the same folder, also those of other users.

    The kernel releases the lock when the process ends, even by SIGKILL. Raises OSError, after
    LOCK_WAIT_S too.
    """
    handle = _opened(folder)
    try:
        _wait_for(handle, folder)
        yield
    finally:
        os.close(handle)


def _opened(folder: Path) -> int:
    """A handle that can be locked: of the folder, or on NFS of a file in it."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pass
    except OSError as error:
        os.close(handle)
        if error.errno != errno.EBADF:
            raise
        return _opened_lock_file(folder)
    return handle


def _opened_lock_file(folder: Path) -> int:
    """Everybody who may change files in the folder may open the lock file."""
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    handle = os.open(folder / LOCK_FILE, flags, 0o600)
    owner = folder.stat()
    with suppress(PermissionError):  # somebody else made it, with the rights that it has
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
                    f" {LOCK_WAIT_S:g} s; do this again when it has ended",
                ) from error
        time.sleep(LOCK_POLL_S)


def sync_folder(folder: Path) -> None:
    """A new name in the folder survives a power failure only when the folder is on disk too."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
