"""One text file per video, on disk before its message is deleted."""

from __future__ import annotations

import os
import re
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rollcall.core.errors import ResultsUnavailable
from rollcall.core.file_names import FILE_END, FOLDER_END, file_of_key
from rollcall.locks import locked, sync_folder

_PART = re.compile(r"\.rollcall-result-(\d+)-[0-9a-f]{32}\.part")
"""A file that is being written, by the process with that number."""

STATUS_FILE = "worker.json"
"""The worker's counts. A folder that has this file is a folder of results."""

NS_PER_MS = 1_000_000


class ResultFiles:
    """A folder of results. A file's time of change is when its result was sent, by the queue's
    clock: queues repeat and reorder, and an earlier result never replaces a later one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with _disk_errors(folder):
            self._make(folder)
            _sweep(folder)

    def write(self, key: str, body: bytes, sent_ms: int) -> bool:
        """Whether it was written: False for a result that is older than the one on disk.

        After that it is on disk, whatever happens. Raises ResultsUnavailable.
        """
        path, time_ns = self._folder / file_of_key(key), sent_ms * NS_PER_MS
        with _disk_errors(path):
            self._make(path.parent)
            with _written(path.parent, body, time_ns) as part, locked(path.parent):
                if path.exists() and path.stat().st_mtime_ns > time_ns:
                    return False
                os.replace(part, path)
            sync_folder(path.parent)
        return True

    def _make(self, folder: Path) -> None:
        """With the folders above it, each of them on disk."""
        if folder.is_dir():
            return
        self._make(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)
        sync_folder(folder.parent)


def result_files(folder: Path) -> list[Path]:
    """Every result in the folder, relative to it."""
    names = ("", *_subfolders(folder))
    found = (path for name in names for path in (folder / name).glob("*" + FILE_END))
    return sorted(path.relative_to(folder) for path in found)


def rewrite(path: Path, before: os.stat_result, body: bytes) -> bool:
    """Puts other text into a result that is there; owner and time stay. False when it is no longer
    the file of `before`: a newer one must not be overwritten. Raises OSError."""
    with _written(path.parent, body, before.st_mtime_ns) as part:
        if os.geteuid() == 0:
            os.chown(part, before.st_uid, before.st_gid)
        with locked(path.parent):
            now = path.stat()
            if (now.st_ino, now.st_mtime_ns) != (before.st_ino, before.st_mtime_ns):
                return False
            os.replace(part, path)
    sync_folder(path.parent)
    return True


@contextmanager
def _written(folder: Path, body: bytes, time_ns: int) -> Iterator[Path]:
    """A file on disk that is gone after the block, unless it was renamed: a full disk gets no
    fuller with each attempt."""
    part = folder / f".rollcall-result-{os.getpid()}-{uuid.uuid4().hex}.part"
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(body)
            file.flush()
            os.utime(part, ns=(time_ns, time_ns))
            os.fsync(file.fileno())
        yield part
    finally:
        part.unlink(missing_ok=True)


def _sweep(folder: Path) -> None:
    """Removes what a killed worker was writing. Nothing is looked for in a folder that is not one
    of results, because RESULTS_FOLDER may be mistyped."""
    if not (folder / STATUS_FILE).is_file():
        return
    for name in ("", *_subfolders(folder)):
        for path in (folder / name).iterdir():
            found = _PART.fullmatch(path.name)
            if found and not _is_another(int(found[1])) and stat.S_ISREG(path.lstat().st_mode):
                with suppress(FileNotFoundError):
                    path.unlink()


def _subfolders(folder: Path) -> list[str]:
    """Those that hold results of long keys; links are not followed."""
    found, waiting = list[str](), [folder] if folder.is_dir() else []
    while waiting:
        for path in waiting.pop().iterdir():
            if path.name.endswith(FOLDER_END) and path.is_dir() and not path.is_symlink():
                found.append(str(path.relative_to(folder)))
                waiting.append(path)
    return found


def _is_another(pid: int) -> bool:
    """Whether it is a living process other than this one."""
    return pid != os.getpid() and Path(f"/proc/{pid}").exists()


@contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ResultsUnavailable(
            f"{str(path)!r} cannot be written ({error.strerror}); check space and rights of"
            " RESULTS_FOLDER"
        ) from error
