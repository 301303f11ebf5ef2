"""Changing a gallery's file: one writer at a time, and whole files only."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rollcall.core.errors import GalleryError

LOCK_WAIT_S = 60.0
"""Longest wait for other commands. Each of them holds the lock for one load and one save."""

LOCK_POLL_S = 0.05

LOCK_FILE = ".gallery.lock"
"""Used where the folder itself cannot be locked. NFS locks only what is open for writing."""

ABANDONED_S = 600.0
"""A temporary file of this age belongs to a process that was killed."""

_TEMPORARY = re.compile(r"\.gallery-[0-9a-f]{32}\.part")

_TEMPORARY_BEFORE = re.compile(r"\.gallery-[a-z0-9_]{8}")
"""Names that earlier versions gave. Other files may have such a name, but begin differently."""

_ZIP = b"PK\x03\x04"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keeps other commands from changing galleries in the folder, also those of other users.

    The kernel releases the lock when the process ends, even by SIGKILL. Raises GalleryError after
    LOCK_WAIT_S, and OSError.
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
                raise GalleryError(
                    f"another command is changing a gallery in {str(folder)!r} and has not finished"
                    f" for {LOCK_WAIT_S:g} s; do this again when it has ended"
                ) from error
        time.sleep(LOCK_POLL_S)


def replace(path: Path, body: bytes) -> None:
    """Puts other bytes into the file: whole or not at all, and on disk when this returns.

    A new file is readable by its owner alone. One that is there keeps its owner, group, mode and
    access list. A file that is marked read-only is not changed, also by root. Raises OSError.
    """
    before = path.stat() if path.exists() else None
    if before and not before.st_mode & stat.S_IWUSR:
        raise PermissionError(errno.EACCES, "it is marked read-only; copy it, or chmod u+w")
    part = path.parent / f".gallery-{uuid.uuid4().hex}.part"
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(body)
            if before:
                _keep_access(file.fileno(), path, before)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    _sync(path.parent)


def _keep_access(handle: int, path: Path, before: os.stat_result) -> None:
    """Whoever could read the old file can read the new one.

    Only root may give files away. Another user who could read the old file could do so by its
    group, its mode for all or its access list, and these are kept.
    """
    mine = os.fstat(handle)
    if (mine.st_uid, mine.st_gid) != (before.st_uid, before.st_gid):
        try:
            os.fchown(handle, before.st_uid, before.st_gid)
        except PermissionError:
            _keep_group(handle, before)
    os.fchmod(handle, stat.S_IMODE(before.st_mode))
    for name in os.listxattr(path):
        with suppress(OSError):  # some may be set by root alone
            os.setxattr(handle, name, os.getxattr(path, name))


def _keep_group(handle: int, before: os.stat_result) -> None:
    """Raises PermissionError where that would shut out readers of the old file."""
    try:
        os.fchown(handle, -1, before.st_gid)
    except PermissionError:
        if not before.st_mode & stat.S_IROTH:
            raise


def sweep(folder: Path) -> int:
    """Removes temporary galleries of commands that were killed; how many.

    They hold encodings, perhaps of somebody who was forgotten since. Call this under the lock.
    """
    swept = 0
    for path in folder.glob(".gallery-*"):
        with suppress(OSError):  # gone already, or another user's
            if _is_abandoned(path):
                path.unlink()
                swept += 1
    return swept


def _is_abandoned(path: Path) -> bool:
    status = path.lstat()
    if not stat.S_ISREG(status.st_mode) or time.time() - status.st_mtime < ABANDONED_S:
        return False
    if _TEMPORARY.fullmatch(path.name):
        return True
    if not _TEMPORARY_BEFORE.fullmatch(path.name):
        return False
    with open(path, "rb") as file:
        return file.read(len(_ZIP)) in (b"", _ZIP)


def _sync(folder: Path) -> None:
    """A new name survives a power failure only when its folder is on disk too."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
