"""Replaces whole files, so that readers see the old content or the new, never a mixture."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_PRIVATE = 0o600
"""Mode of files that only their owner may read and write."""


@contextmanager
def temporary_file(
    path: Path,
    body: bytes,
    *,
    mode: int = _PRIVATE,
    prepare: Callable[[int], None] | None = None,
    durable: bool = True,
) -> Iterator[None]:
    """Write `body` to the new file `path`. After the block, remove the file unless it was moved.

    `prepare` is called with the file descriptor once all bytes are written, to set times or an
    owner. With `durable`, the content survives a power failure. Raises OSError, which includes
    FileExistsError.
    """
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _PRIVATE)
    try:
        with os.fdopen(handle, "wb") as file:
            if mode != _PRIVATE:  # os.open would have subtracted the umask
                os.fchmod(handle, mode)
            file.write(body)
            file.flush()  # a later write would change the time that `prepare` sets
            if prepare:
                prepare(handle)
            if durable:
                os.fsync(handle)
        yield
    finally:
        # Remove the file after an error too, so that a full disk does not get fuller.
        path.unlink(missing_ok=True)


def replace_file(
    path: Path,
    body: bytes,
    *,
    temporary_name: str = "",
    mode: int = _PRIVATE,
    prepare: Callable[[int], None] | None = None,
    durable: bool = True,
) -> None:
    """Create the file `path` or replace its content, completely or not at all.

    Callers that later remove the files of killed processes set `temporary_name` to a name that they
    recognise. With `durable`, the new file survives a power failure once this has returned. Raises
    OSError.
    """
    part = path.with_name(temporary_name or f".rollcall-{uuid.uuid4().hex}.part")
    with temporary_file(part, body, mode=mode, prepare=prepare, durable=durable):
        os.replace(part, path)
    if durable:
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Flush a folder to disk. A new file name survives a power failure only after that."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
