"""Writing a gallery's file: whole or not at all, for the same readers as before."""

from __future__ import annotations

import errno
import os
import re
import stat
import time
import uuid
from contextlib import suppress
from pathlib import Path

from rollcall.locks import sync_folder

ABANDONED_S = 600.0
"""A temporary file of this age belongs to a process that was killed."""

_TEMPORARY = re.compile(r"\.gallery-[0-9a-f]{32}\.part")

_TEMPORARY_BEFORE = re.compile(r"\.gallery-[a-z0-9_]{8}")
"""Names that earlier versions gave. Other files may have such a name, but begin differently."""

_ZIP = b"PK\x03\x04"


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
    sync_folder(path.parent)


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
    for name in _extended_attributes(path):
        with suppress(OSError):  # some may be set by root alone
            os.setxattr(handle, name, os.getxattr(path, name))


def _extended_attributes(path: Path) -> list[str]:
    """None on a file system that has no such attributes."""
    try:
        return os.listxattr(path)
    except OSError as error:
        if error.errno not in (errno.ENOTSUP, errno.ENOSYS):
            raise  # an access list may be lost
        return []


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
