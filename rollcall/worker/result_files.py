"""The folder of results: a text file for each video, on disk before its message is deleted."""

from __future__ import annotations

import os
import re
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rollcall.atomic_files import sync_folder, temporary_file
from rollcall.core.errors import ResultsUnavailable
from rollcall.core.file_names import FILE_END, FOLDER_END, file_of_key
from rollcall.locks import locked

_PART = re.compile(r"\.rollcall-result-(\d+)-[0-9a-f]{32}\.part")
"""Name of a temporary file, with the id of the process that writes it."""

STATUS_FILE = "worker.json"
"""The file with the worker's counts. A folder that has this file is a results folder."""

NS_PER_MS = 1_000_000


class ResultFiles:
    """A folder of results, in which an earlier result never replaces a later one.

    SQS may repeat and reorder messages. So the modification time of a file is set to the time at
    which its result was sent, by the clock of the queue.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with _disk_errors(folder):
            self._make_folder(folder)
            _remove_temporary_files(folder)

    def write(self, key: str, body: bytes, sent_ms: int) -> bool:
        """Write the result; return False if the folder already has a later one.

        When this returns True, the file survives a power failure. Raises ResultsUnavailable.
        """
        path, time_ns = self._folder / file_of_key(key), sent_ms * NS_PER_MS
        with _disk_errors(path):
            self._make_folder(path.parent)
            with _written(path.parent, body, time_ns) as part, locked(path.parent):
                if path.exists() and path.stat().st_mtime_ns > time_ns:
                    return False
                os.replace(part, path)
            sync_folder(path.parent)
        return True

    def _make_folder(self, folder: Path) -> None:
        """Create the folder and its missing parents, and wait until each of them is on disk."""
        if folder.is_dir():
            return
        self._make_folder(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)
        sync_folder(folder.parent)


def result_files(folder: Path) -> list[Path]:
    """Return the path of every result in the folder, relative to the folder."""
    subfolders = ("", *_subfolders(folder))
    paths = (path for name in subfolders for path in (folder / name).glob("*" + FILE_END))
    return sorted(path.relative_to(folder) for path in paths)


def rewrite(path: Path, before: os.stat_result, body: bytes) -> bool:
    """Replace the content of a result file, and keep its owner and modification time.

    `before` is the state of the file when it was read. If the file was replaced since, for example
    by a newer result, nothing is written and False is returned. Raises OSError.
    """
    with _written(path.parent, body, before.st_mtime_ns) as part:
        if os.geteuid() == 0:  # only root can give the file back to its owner
            os.chown(part, before.st_uid, before.st_gid)
        with locked(path.parent):
            current = path.stat()
            if (current.st_ino, current.st_mtime_ns) != (before.st_ino, before.st_mtime_ns):
                return False
            os.replace(part, path)
    sync_folder(path.parent)
    return True


def part_name() -> str:
    """A new name for a temporary file. If this worker is killed, the next one removes the file."""
    return f".rollcall-result-{os.getpid()}-{uuid.uuid4().hex}.part"


@contextmanager
def _written(folder: Path, body: bytes, time_ns: int) -> Iterator[Path]:
    """Yield a temporary file with this content and modification time, for the block to rename."""
    part = folder / part_name()
    with temporary_file(part, body, prepare=lambda handle: os.utime(handle, ns=(time_ns, time_ns))):
        yield part


def _remove_temporary_files(folder: Path) -> None:
    """Remove the temporary files that killed workers left behind."""
    # RESULTS_FOLDER may be mistyped, so nothing is deleted in a folder that no worker has used.
    if not (folder / STATUS_FILE).is_file():
        return
    for name in ("", *_subfolders(folder)):
        for path in (folder / name).iterdir():
            match = _PART.fullmatch(path.name)
            if match is None or _is_other_process(int(match[1])):
                continue
            if stat.S_ISREG(path.lstat().st_mode):
                # Another worker that starts now may have removed the file first.
                with suppress(FileNotFoundError):
                    path.unlink()


def _subfolders(folder: Path) -> list[str]:
    """Return the folders that hold results of long keys. Symbolic links are not followed."""
    found = list[str]()
    pending = [folder] if folder.is_dir() else []
    while pending:
        for path in pending.pop().iterdir():
            if path.name.endswith(FOLDER_END) and path.is_dir() and not path.is_symlink():
                found.append(str(path.relative_to(folder)))
                pending.append(path)
    return found


def _is_other_process(pid: int) -> bool:
    """Return whether `pid` is a running process other than this one."""
    return pid != os.getpid() and Path(f"/proc/{pid}").exists()


@contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ResultsUnavailable(
            f"{str(path)!r} cannot be written ({error.strerror}); check that RESULTS_FOLDER has"
            " free space and belongs to the worker"
        ) from error
