"""Keeps the pictures of the faces of the videos that were looked at last."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

from rollcall.core.index_types import IndexedVideo
from rollcall.recognition.stored_faces import FacesUnreadable, StoredFaces, parse_faces

log = logging.getLogger(__name__)

MAX_CACHED_BYTES = 64 << 20
"""Pictures in memory. A video has up to 2,000 of about 3 KB."""

ENTRY_BYTES = 1_000
"""Memory of an entry besides its pictures, so that videos without pictures count too."""

MAX_CHOSEN = 100
"""People whose best picture is chosen. The others have their first one, because each choice reads
all pictures of the video."""


class NumbersDiffer(Exception):
    """The stored faces are of another upload, or of other people than those in the index.

    A correction writes the stored faces first and the index afterwards.
    """


@dataclass(frozen=True, slots=True)
class VideoPictures:
    """The pictures of one video. Its encodings are not kept in memory."""

    best: dict[int, bytes]
    """The best picture of each person."""
    timed: dict[int, list[tuple[float, bytes]]]
    """All pictures of each person, with their times."""

    @classmethod
    def none(cls) -> VideoPictures:
        return cls({}, {})

    @classmethod
    def parse(cls, body: bytes, video: IndexedVideo) -> VideoPictures:
        """The pictures in the stored faces of a video; none if the file is damaged.

        Raises NumbersDiffer.
        """
        try:
            stored = parse_faces(body)
        except FacesUnreadable as error:
            log.warning("the pictures of a video cannot be shown: %s", error)
            return cls.none()
        if not _fits(stored, video):
            raise NumbersDiffer
        timed: dict[int, list[tuple[float, bytes]]] = {}
        for picture in stored.pictures():
            if picture.person is not None:
                timed.setdefault(picture.person, []).append((picture.time_s, picture.jpeg))
        best = {number: pairs[0][1] for number, pairs in timed.items()}
        for number in sorted(timed)[:MAX_CHOSEN]:
            best[number] = stored.picture_of(number) or best[number]
        return cls(best, timed)

    def picture_of(self, number: int, near_s: float | None) -> bytes | None:
        """The best picture of a person, or the one nearest to a time; None without pictures."""
        timed = self.timed.get(number)
        if near_s is None or near_s != near_s or not timed:
            return self.best.get(number)
        return min(timed, key=lambda pair: abs(pair[0] - near_s))[1]

    @property
    def size_bytes(self) -> int:
        return ENTRY_BYTES + sum(len(jpeg) for pairs in self.timed.values() for _, jpeg in pairs)


def _fits(stored: StoredFaces, video: IndexedVideo) -> bool:
    """Whether the numbers of the people mean the same in the stored faces and in the index."""
    names = {person.number: person.name for person in video.people}
    return (
        stored.etag == video.etag
        and len(stored.names) == max(names, default=-1) + 1
        and all(stored.names[number] == name for number, name in names.items())
    )


class FacePictures:
    """A cache that drops what was not used for longest. Safe to share between threads."""

    def __init__(self, max_bytes: int = MAX_CACHED_BYTES) -> None:
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._entries: OrderedDict[tuple[int, str], VideoPictures] = OrderedDict()
        self._reading: dict[tuple[int, str], Future[VideoPictures]] = {}
        self._bytes = 0

    def get(self, key: tuple[int, str], read: Callable[[], VideoPictures]) -> VideoPictures:
        """The pictures of a video, which `read` loads if they are not in memory.

        A browser asks for the pictures of a page at once, so the other threads wait for the first
        one, and get its pictures or its error. If `read` raises an exception, nothing is kept.
        """
        with self._lock:
            if found := self._found(key):
                return found
            reading = self._reading.get(key)
            if reading is None:
                own = self._reading[key] = Future[VideoPictures]()
        if reading is not None:
            return reading.result()
        try:
            own.set_result(self._add(key, read()))
        except BaseException as error:
            own.set_exception(error)
        finally:
            with self._lock:
                del self._reading[key]
        return own.result()

    def _found(self, key: tuple[int, str]) -> VideoPictures | None:
        if key in self._entries:
            self._entries.move_to_end(key)
        return self._entries.get(key)

    def _add(self, key: tuple[int, str], loaded: VideoPictures) -> VideoPictures:
        with self._lock:
            if key not in self._entries:
                self._entries[key] = loaded
                self._bytes += loaded.size_bytes
            while self._bytes > self._max_bytes:
                _, dropped = self._entries.popitem(last=False)
                self._bytes -= dropped.size_bytes
        return loaded
