"""One text file per video, on disk before its message is deleted."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile

from rollcall.core.errors import ResultsUnavailable
from rollcall.core.file_names import FILE_END, file_of_key

PART_END = ".part"
"""Of files that are being written; neither files nor folders of results end so."""

NS_PER_MS = 1_000_000


class ResultFiles:
    """A folder of results. A file's time of change is when its result was sent, by the queue's
    clock: queues repeat and reorder, and an earlier result never replaces a later one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        with _disk_errors(folder):
            self._make(folder)
            for left in folder.rglob("*" + PART_END):
                left.unlink()

    def write(self, key: str, body: bytes, sent_ms: int) -> bool:
        """Whether it was written: False for a result that is older than the one on disk.

        After that it is on disk, whatever happens. Raises ResultsUnavailable.
        """
        path, time_ns = self._folder / file_of_key(key), sent_ms * NS_PER_MS
        with _disk_errors(path):
            self._make(path.parent)
            with _written(path.parent, body, time_ns) as part, self._lock:
                if path.exists() and path.stat().st_mtime_ns > time_ns:
                    return False
                os.replace(part, path)
            _sync(path.parent)
        return True

    def _make(self, folder: Path) -> None:
        """With the folders above it, each of them on disk."""
        if folder.is_dir():
            return
        self._make(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)
        _sync(folder.parent)


def result_files(folder: Path) -> list[Path]:
    """Every result in the folder, relative to it."""
    return sorted(path.relative_to(folder) for path in folder.rglob("*" + FILE_END))


def rewrite(path: Path, before: os.stat_result, body: bytes) -> bool:
    """Puts other text into a result that is there; owner and time stay. False when it is no longer
    the file of `before`: a newer one must not be overwritten. Raises OSError."""
    with _written(path.parent, body, before.st_mtime_ns) as part:
        if os.geteuid() == 0:
            os.chown(part, before.st_uid, before.st_gid)
        now = path.stat()
        if (now.st_ino, now.st_mtime_ns) != (before.st_ino, before.st_mtime_ns):
            return False
        os.replace(part, path)
    _sync(path.parent)
    return True


@contextmanager
def _written(folder: Path, body: bytes, time_ns: int) -> Iterator[Path]:
    """A file on disk that is gone after the block, unless it was renamed: a full disk gets no
    fuller with each attempt."""
    with NamedTemporaryFile(dir=folder, suffix=PART_END, delete=False) as file:
        part = Path(file.name)
        try:
            file.write(body)
            file.flush()
            os.utime(part, ns=(time_ns, time_ns))
            os.fsync(file.fileno())
            yield part
        finally:
            part.unlink(missing_ok=True)


def _sync(folder: Path) -> None:
    """A new name is safe only when its folder is on disk too."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ResultsUnavailable(
            f"{str(path)!r} cannot be written ({error.strerror}); check space and rights of"
            " RESULTS_FOLDER"
        ) from error
