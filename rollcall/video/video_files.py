"""Videos on the local disk, as the decoder wants them."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from rollcall.core.protocols import ObjectStore
from rollcall.core.stopwatch import Stopwatch
from rollcall.core.types import ObjectInfo

FIRST_RANGE_BYTES = 1 << 20
"""Header and first key frame of most videos."""

LARGEST_RANGE_BYTES = 32 << 20
"""Ranges that follow each other double up to here, so a file that is read to its end costs one
request more for every 32 MiB."""


class WholeFile:
    """A file that is all there. Implements `rollcall.core.protocols.VideoFile`.

    Raises OSError for a file that cannot be read, and for a pipe or device.
    """

    complete = True

    def __init__(self, path: Path) -> None:
        if not path.is_dir() and path.exists() and not path.is_file():
            raise OSError(errno.EINVAL, "it is not a regular file")  # a pipe would be waited for
        with open(path, "rb") as file:
            self.size_bytes = os.fstat(file.fileno()).st_size
        self.path = path

    def ensure_range(self, start: int, end: int) -> tuple[int, int]:
        return 0, self.size_bytes


class ObjectFile:
    """An object of which only those ranges are fetched that the decoder wants to read.

    On the disk it is a sparse file of the object's length. Implements
    `rollcall.core.protocols.VideoFile`.
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
        self._max_bytes = 4 * info.size_bytes + LARGEST_RANGE_BYTES
        path.touch()
        os.truncate(path, info.size_bytes)

    def ensure_range(self, start: int, end: int) -> tuple[int, int]:
        """Raises what `ObjectStore.read_range` raises, and ValueError for a reader that does not
        come to an end.

        Readers do not keep to our ranges: one that begins in the last range and ends behind it
        reads on. Less may be there than was asked for, and never more than the largest range. A
        second reader may ask again for what the first one had.
        """
        if self._last_start <= start and end <= self._last_end:
            return self._last_start, self._last_end
        follows = self._last_end > 0 and self._last_start <= start <= self._last_end
        longest = min(2 * self._range_bytes, LARGEST_RANGE_BYTES) if follows else FIRST_RANGE_BYTES
        self._range_bytes = longest
        first = self._last_end if follows else max(0, start)
        wanted = min(end, first + LARGEST_RANGE_BYTES)
        end = min(self.size_bytes, max(wanted, first + longest))
        self._fetch(first, end)
        if not follows:
            self._last_start = first
        self._last_end = end
        return self._last_start, end

    def _fetch(self, start: int, end: int) -> None:
        self._fetched_bytes += end - start
        if not start < end or self._fetched_bytes > self._max_bytes:
            raise ValueError("bytes that are not there, or the same again and again")
        with self._watch.stage("download"), open(self.path, "r+b") as file:
            file.seek(start)
            file.write(self._store.read_range(self._info, start, end))
