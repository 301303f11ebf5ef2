"""Writes the file of a gallery atomically, and keeps it readable for the same users.

The bytes go to a temporary file in the same folder, which is then renamed. So a reader finds either
the old gallery or the new one.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import time
import uuid
from contextlib import suppress
from functools import partial
from pathlib import Path

from rollcall.atomic_files import replace_file

ABANDONED_S = 600.0
"""A temporary file that is older than this belongs to a process that was killed."""

_TEMPORARY = re.compile(r"\.gallery-[0-9a-f]{32}\.part")

_OLD_TEMPORARY = re.compile(r"\.gallery-[a-z0-9_]{8}")
"""Temporary names of earlier versions. A user's file may have such a name by chance, so its first
bytes are compared with `_ZIP`, too."""

_ZIP = b"PK\x03\x04"
"""First bytes of a ZIP file, and so of an `.npz` file."""


def write_gallery_file(path: Path, body: bytes) -> None:
    """Replace the content of the file atomically. The bytes are on disk when this returns.

    Only the owner can read a new file. An existing file keeps its owner, group, mode and access
    control list. A read-only file is not replaced, not even by root. Raises OSError.
    """
    before = path.stat() if path.exists() else None
    if before and not before.st_mode & stat.S_IWUSR:
        raise PermissionError(errno.EACCES, "it is marked read-only; copy it, or chmod u+w")
    replace_file(
        path,
        body,
        temporary_name=f".gallery-{uuid.uuid4().hex}.part",
        prepare=partial(_keep_access, path=path, before=before) if before else None,
    )


def _keep_access(handle: int, path: Path, before: os.stat_result) -> None:
    """Give the new file the owner, group, mode and access control list of the old one.

    Only root can change the owner. Without root, the file becomes ours. All other users could read
    the old file because of its group, mode or access control list, which the new file keeps.
    """
    mine = os.fstat(handle)
    if (mine.st_uid, mine.st_gid) != (before.st_uid, before.st_gid):
        try:
            os.fchown(handle, before.st_uid, before.st_gid)
        except PermissionError:
            _keep_group(handle, before)
    os.fchmod(handle, stat.S_IMODE(before.st_mode))
    for name in _extended_attributes(path):
        with suppress(OSError):  # only root may set some of them
            os.setxattr(handle, name, os.getxattr(path, name))


def _extended_attributes(path: Path) -> list[str]:
    """Return the names of the file's extended attributes; none if the file system lacks them."""
    try:
        return os.listxattr(path)
    except OSError as error:
        if error.errno not in (errno.ENOTSUP, errno.ENOSYS):
            raise  # the file may have an access control list, which the new one would lose
        return []


def _keep_group(handle: int, before: os.stat_result) -> None:
    """Give the new file the group of the old one.

    If that fails, raises PermissionError, unless everybody may read the file anyway.
    """
    try:
        os.fchown(handle, -1, before.st_gid)
    except PermissionError:
        if not before.st_mode & stat.S_IROTH:
            raise


def remove_abandoned_files(folder: Path) -> int:
    """Delete temporary files of commands that were killed, and return their number.

    The files hold encodings, perhaps of a person who has been removed in the meantime. The caller
    must hold the lock on the folder.
    """
    removed = 0
    for path in folder.glob(".gallery-*"):
        with suppress(OSError):  # deleted meanwhile, or owned by another user
            if _is_abandoned(path):
                path.unlink()
                removed += 1
    return removed


def _is_abandoned(path: Path) -> bool:
    status = path.lstat()
    if not stat.S_ISREG(status.st_mode) or time.time() - status.st_mtime < ABANDONED_S:
        return False
    if _TEMPORARY.fullmatch(path.name):
        return True
    if not _OLD_TEMPORARY.fullmatch(path.name):
        return False
    with open(path, "rb") as file:
        # Empty: the command was killed before its first write.
        return file.read(len(_ZIP)) in (b"", _ZIP)
