"""Makes temporary folders, each for one video while it is recognised.

A process that is killed leaves its video behind, and in a pod the temporary folder outlives the
container. So the name of a folder contains the id of its process, and the next process that starts
removes the folders of processes that have ended.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

log = logging.getLogger(__name__)

_NAME = re.compile(r"rollcall-(\d+)-\w+")


@contextmanager
def video_folder() -> Iterator[Path]:
    """Yield an empty folder, and remove it afterwards."""
    with tempfile.TemporaryDirectory(prefix=f"rollcall-{os.getpid()}-") as folder:
        yield Path(folder)


def sweep() -> int:
    """Remove the folders of processes that have ended; return how many were removed.

    Folders with the id of this process are removed as well, because in a container a process often
    has the same id as its predecessor. So `sweep` must run before the first video.
    """
    swept = 0
    for folder in Path(tempfile.gettempdir()).glob("rollcall-*-*"):
        name = _NAME.fullmatch(folder.name)
        if name and not _is_alive_elsewhere(int(name[1])):
            shutil.rmtree(folder, ignore_errors=True)
            swept += 1
    if swept:
        log.warning("removed the folders of %d videos that killed processes left behind", swept)
    return swept


def _is_alive_elsewhere(pid: int) -> bool:
    """Whether this is the id of another process that is running."""
    return pid != os.getpid() and Path(f"/proc/{pid}").exists()
