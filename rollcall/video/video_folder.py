"""Folders in which single videos lie while they are looked at.

A process that is killed leaves its video behind, and in a pod the temporary folder outlives the
container. So the folder's name tells whose it is, and the next process sweeps what the dead left.
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
    """An empty folder, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix=f"rollcall-{os.getpid()}-") as folder:
        yield Path(folder)


def sweep() -> int:
    """Removes folders of processes that are dead; how many.

    Also those of our own number: in a container every process has the same one again.
    """
    swept = 0
    for folder in Path(tempfile.gettempdir()).glob("rollcall-*-*"):
        found = _NAME.fullmatch(folder.name)
        if found and not _is_another(int(found[1])):
            shutil.rmtree(folder, ignore_errors=True)
            swept += 1
    if swept:
        log.warning("%d videos that dead processes left behind were removed", swept)
    return swept


def _is_another(pid: int) -> bool:
    """Whether it is a living process other than this."""
    return pid != os.getpid() and Path(f"/proc/{pid}").exists()
