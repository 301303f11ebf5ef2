"""Gives the decoder a video's bytes: the whole file, or only the ranges that the decoder reads.

Both classes implement `rollcall.core.protocols.VideoFile`. Large videos are read in ranges, because
a few frames need only a small part of the file.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from rollcall.core.protocols import ObjectStore
from rollcall.core.stopwatch import Stopwatch
from rollcall.core.types import ObjectInfo

FIRST_RANGE_BYTES = 1 << 20
"""Size of the first range, and of the first range after each jump. In most videos, the first range
holds the header and the first key frame."""

MAX_RANGE_BYTES = 32 << 20
"""Limit for the size of a range. Each range that continues the last one is twice as large, up to
this limit. So a file that is read to its end needs about one request per 32 MiB, and little
memory."""


class WholeFile:
    """A complete video file on the local disk."""

    complete = True

    def __init__(self, path: Path) -> None:
        """Raises OSError for a file that cannot be read, and for a folder, pipe or device."""
        if not path.is_dir() and path.exists() and not path.is_file():
            # Opening a pipe would wait until another process writes to it.
            raise OSError(errno.EINVAL, "it is not a regular file")
        with open(path, "rb") as file:
            self.size_bytes = os.fstat(file.fileno()).st_size
        self.path = path

    def ensure_range(self, start: int, end: int) -> tuple[int, int]:
        return 0, self.size_bytes


class ObjectFile:
    """An object in the store. Only the ranges that the decoder reads are fetched.

    The ranges are written into a sparse file that is as long as the object.
    """

    complete = False

    def __init__(self, store: ObjectStore, info: ObjectInfo, path: Path, watch: Stopwatch) -> None:
        self.path = path
        self.size_bytes = info.size_bytes
        self._store = store
        self._info = info
        self._watch = watch
        self._range_bytes = FIRST_RANGE_BYTES
        self._last_start = self._last_end = 0
        self._fetched_bytes = 0
        # The same bytes may be fetched again, because a file is opened again for another track or
        # for a second search. A reader that fetches more than this is stuck in a loop.
        self._max_bytes = 4 * info.size_bytes + MAX_RANGE_BYTES
        path.touch()
        os.truncate(path, info.size_bytes)

    def ensure_range(self, start: int, end: int) -> tuple[int, int]:
        """Fetch at least the first part of a range; return the range that the file has then.

        That range may be shorter than requested, because at most MAX_RANGE_BYTES are fetched at
        once. A second reader may ask again for bytes that the first reader got. Raises the errors
        of `ObjectStore.read_range`, and ValueError for a range outside the file or a reader that
        fetches the same bytes again and again.
        """
        if self._last_start <= start and end <= self._last_end:
            return self._last_start, self._last_end
        # A read that begins in the last range and ends after it continues that range.
        follows = self._last_end > 0 and self._last_start <= start <= self._last_end
        size_bytes = min(2 * self._range_bytes, MAX_RANGE_BYTES) if follows else FIRST_RANGE_BYTES
        self._range_bytes = size_bytes
        first = self._last_end if follows else max(0, start)
        wanted_end = min(end, first + MAX_RANGE_BYTES)
        end = min(self.size_bytes, max(wanted_end, first + size_bytes))
        self._fetch(first, end)
        if not follows:
            self._last_start = first
        self._last_end = end
        return self._last_start, end

    def _fetch(self, start: int, end: int) -> None:
        self._fetched_bytes += end - start
        if not start < end or self._fetched_bytes > self._max_bytes:
            raise ValueError("it asked for bytes outside the file, or for the same ones repeatedly")
        with self._watch.stage("download"), open(self.path, "r+b") as file:
            file.seek(start)
            file.write(self._store.read_range(self._info, start, end))
