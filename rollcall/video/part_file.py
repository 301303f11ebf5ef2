"""The file from which the child reads a video while parts of it may still have to be fetched."""

from __future__ import annotations

import io
import os
from collections.abc import Callable


class PartFile(io.RawIOBase):
    """A readable file of which some bytes may be missing.

    `ensure_range(start, end)` fetches missing bytes and returns the range that the file has then.
    If `ensure_range` is None, no bytes are missing.
    """

    def __init__(
        self,
        number: int,
        size_bytes: int,
        ensure_range: Callable[[int, int], tuple[int, int]] | None,
    ) -> None:
        """`number` is the file's descriptor, which `close` closes."""
        self._number = number
        self._size_bytes = size_bytes
        self._ensure_range = ensure_range
        self._present = [(0, 0 if ensure_range else size_bytes)]
        """Ranges of bytes that are known to be in the file."""
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size_bytes}
        self._position = max(0, base[whence] + offset)
        return self._position

    def read(self, size: int = -1) -> bytes:
        """Return up to `size` bytes, or fewer if the fetched range ends earlier."""
        start = self._position
        end = self._size_bytes if size < 0 else min(self._size_bytes, start + size)
        if end <= start:
            return b""
        if self._ensure_range and not any(
            first <= start and end <= last for first, last in self._present
        ):
            self._present.append(self._ensure_range(start, end))
            end = min(end, self._present[-1][1])
        data = os.pread(self._number, end - start, start)
        self._position += len(data)
        return data

    def close(self) -> None:
        if not self.closed:
            os.close(self._number)
        super().close()
