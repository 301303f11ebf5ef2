"""Videos on the local disk, as the decoder wants them."""

from __future__ import annotations

import os
from pathlib import Path

from rollcall.core.seams import ObjectStore
from rollcall.core.stopwatch import Stopwatch
from rollcall.core.types import ObjectInfo

FIRST_RANGE_BYTES = 1 << 20
"""Header and first key frame of most videos."""

LARGEST_RANGE_BYTES = 32 << 20
"""Ranges that follow each other double up to here, so a file that is read to its end costs one
request more for every 32 MiB."""


class WholeFile:
    """A file that is all there. Implements `rollcall.core.seams.VideoFile`."""

    complete = True

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size_bytes = path.stat().st_size

    def need(self, start: int, end: int) -> tuple[int, int]:
        return 0, self.size_bytes


class ObjectFile:
    """An object of which only those ranges are fetched that the decoder wants to read.

    On the disk it is a sparse file of the object's length. Implements
    `rollcall.core.seams.VideoFile`.
    """

    complete = False

    def __init__(self, store: ObjectStore, info: ObjectInfo, path: Path, watch: Stopwatch) -> None:
        self.path = path
        self.size_bytes = info.size_bytes
        self._store = store
        self._info = info
        self._watch = watch
        self._range_bytes = FIRST_RANGE_BYTES
        self._last_end = 0
        path.touch()
        os.truncate(path, info.size_bytes)

    def need(self, start: int, end: int) -> tuple[int, int]:
        """Raises what `ObjectStore.read_range` raises."""
        follows = start == self._last_end > 0
        longest = min(2 * self._range_bytes, LARGEST_RANGE_BYTES) if follows else FIRST_RANGE_BYTES
        self._range_bytes = longest
        start, end = max(0, start), min(self.size_bytes, max(end, start + longest))
        with self._watch.stage("download"), open(self.path, "r+b") as file:
            file.seek(start)
            file.write(self._store.read_range(self._info, start, end))
        self._last_end = end
        return start, end
