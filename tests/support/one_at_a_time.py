"""A lock for files that all test processes of a run share."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from support.needs import REPOSITORY


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Let only one test process at a time run the block, such as one that creates a shared file.

    pytest-xdist runs several processes, and each has its own session fixtures.
    """
    # A lock on a folder needs no lock file, and is released when the process ends.
    folder = os.open(REPOSITORY / "tests", os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)
