"""The gallery of the moment: loaded once, checked again now and then, never half."""

from __future__ import annotations

import logging
import os
import stat
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from rollcall.core.encoding_space import EncodingSpace
from rollcall.core.errors import (
    GalleryError,
    GalleryMissing,
    GalleryUnavailable,
    ObjectNotFound,
    TransientError,
    VideoTooLarge,
)
from rollcall.core.gallery import Gallery, empty_gallery
from rollcall.core.protocols import ObjectStore
from rollcall.gallery.gallery_files import replace, sweep
from rollcall.gallery.gallery_formats import MAX_GALLERY_BYTES, parse_gallery
from rollcall.gallery.gallery_objects import Change, change_object
from rollcall.locks import locked

log = logging.getLogger(__name__)


MEMORY_FACTOR = 4.5
"""Memory for a refresh as a multiple of the gallery's size, both galleries and the new one's bytes
included; measured: 4.1."""

OTHER_BYTES = 256 << 20
"""Memory for everything else: networks, frames, the decoder."""


class GalleryPlace(Protocol):
    """Where a gallery's bytes lie."""

    def stamp(self) -> str:
        """Changes when the bytes change. Raises GalleryError when there is nothing."""
        ...

    def load(self) -> bytes:
        """Raises GalleryMissing where nothing is, and GalleryError or a TransientError where that
        is not known."""
        ...

    def change(self, change: Change) -> None:
        """Stores what `change` makes of the newest bytes; no other writer's change is lost.

        `change` may be called several times. Raises GalleryError or a TransientError.
        """
        ...

    def save(self, body: bytes) -> None:
        """Replaces the gallery, whatever it is."""
        ...


@dataclass(frozen=True, slots=True)
class FilePlace:
    """A gallery in a file."""

    path: Path
    make_folder: bool = False
    """Whether a change makes the folder: only for the default gallery, others may be mistyped."""

    def __str__(self) -> str:
        return str(self.path)

    def stamp(self) -> str:
        try:
            status = self.path.stat()
        except OSError as error:
            raise self._unreadable(error) from error
        return f"{status.st_mtime_ns}-{status.st_size}-{status.st_ino}"

    def load(self) -> bytes:
        try:
            with open(self.path, "rb") as file:
                status = os.fstat(file.fileno())
                most = status.st_size if stat.S_ISREG(status.st_mode) else MAX_GALLERY_BYTES
                body = file.read(min(most, MAX_GALLERY_BYTES) + 1)  # it allocates what it is told
        except OSError as error:
            raise self._unreadable(error) from error
        if len(body) > MAX_GALLERY_BYTES:
            raise GalleryError(
                f"the gallery {str(self.path)!r} has more than {MAX_GALLERY_BYTES} bytes"
            )
        return body

    def change(self, change: Change) -> None:
        self._replace(lambda: change(self._present()))

    def save(self, body: bytes) -> None:
        self._replace(lambda: body)

    def _replace(self, make: Callable[[], bytes | None]) -> None:
        """Under a lock on the folder, through a symbolic link, so that no older gallery stays
        behind the link. A reader never sees half a gallery."""
        try:
            path = self.path.resolve()
            if self.make_folder:
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with locked(path.parent):
                sweep(path.parent)
                body = make()
                if body is not None:
                    replace(path, body)
        except FileNotFoundError as error:
            folder = str(self.path.parent)
            raise GalleryError(
                f"the folder {folder!r} does not exist; make it, or name another file"
            ) from error
        except (OSError, RuntimeError) as error:  # the latter for a loop of links, before 3.13
            raise GalleryError(f"{str(self.path)!r} cannot be written: {error}") from error

    def _present(self) -> bytes | None:
        try:
            return self.load()
        except GalleryMissing:
            return None

    def _unreadable(self, error: OSError) -> GalleryError:
        """Only a file that is not there may be made; all others hold, or may hold, people."""
        if isinstance(error, FileNotFoundError):
            return GalleryMissing(
                f"no gallery at {str(self.path)!r} ({error.strerror}); set ENCODINGS, or make one"
                " with `rollcall enrol NAME PHOTO`"
            )
        return GalleryError(
            f"the gallery {str(self.path)!r} cannot be read ({error.strerror}); check the path, and"
            " that this user may read it"
        )


@dataclass(frozen=True, slots=True)
class StorePlace:
    """A gallery in a bucket."""

    store: ObjectStore
    bucket: str
    key: str

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"

    def stamp(self) -> str:
        try:
            return self.store.head(self.bucket, self.key).etag
        except ObjectNotFound as error:
            raise self._missing() from error

    def load(self) -> bytes:
        return self._tagged()[0]

    def change(self, change: Change) -> None:
        change_object(self.store, self.bucket, self.key, self._present, change)

    def save(self, body: bytes) -> None:
        self.change(lambda _: body)

    def _present(self) -> tuple[bytes | None, str]:
        try:
            return self._tagged()
        except GalleryMissing:
            return None, ""

    def _tagged(self) -> tuple[bytes, str]:
        try:
            return self.store.read_tagged(self.bucket, self.key, MAX_GALLERY_BYTES)
        except ObjectNotFound as error:
            raise self._missing() from error
        except VideoTooLarge as error:
            raise GalleryError(
                f"the gallery s3://{self.bucket}/{self.key} cannot be read: {error}"
            ) from error

    def _missing(self) -> GalleryMissing:
        return GalleryMissing(
            f"no gallery at s3://{self.bucket}/{self.key}; upload it, or set ENCODINGS"
        )


def read_gallery(place: GalleryPlace, space: EncodingSpace | None = None) -> Gallery:
    """Raises GalleryError, which names the place, and TransientError. With `space`, a gallery of
    another encoding space is a GalleryError too."""
    gallery = gallery_of(place, place.load())
    return check_space(place, gallery, space) if space else gallery


def gallery_of(place: GalleryPlace, body: bytes) -> Gallery:
    """Of what was loaded from the place. Raises GalleryError, which names it."""
    try:
        return parse_gallery(body)
    except GalleryError as error:
        raise GalleryError(f"the gallery {place} cannot be used: {error}") from error


def check_space(place: GalleryPlace, gallery: Gallery, space: EncodingSpace) -> Gallery:
    """The gallery, if its encodings are of the engine's space; an empty gallery takes any.

    Raises GalleryError for any other: distances between two spaces mean nothing.
    """
    if not len(gallery):
        return empty_gallery(space)
    if (gallery.space, gallery.encodings.shape[1]) != (space.name, space.size):
        raise GalleryError(
            f"the gallery {place} has encodings of {gallery.space} ({gallery.encodings.shape[1]}"
            f" numbers), and the engine makes encodings of {space.name} ({space.size} numbers);"
            " set ENGINE to the engine that made the gallery, or enrol everybody again into a new"
            " gallery (ENCODINGS)"
        )
    return gallery


def default_gallery() -> FilePlace:
    """The gallery of this user, where ENCODINGS is not set; the same in every working directory."""
    try:
        home = Path.home()
    except RuntimeError as error:
        raise GalleryError(
            "there is no home folder for the default gallery; set ENCODINGS"
        ) from error
    return FilePlace(home / ".local" / "share" / "rollcall" / "gallery.npz", make_folder=True)


def place_of(encodings: str, store: Callable[[], ObjectStore]) -> GalleryPlace:
    """The place that the setting ENCODINGS names; `store` is asked only for `s3://`."""
    if not encodings:
        return default_gallery()
    if not encodings.startswith("s3://"):
        return FilePlace(Path(encodings))
    bucket, _, key = encodings.removeprefix("s3://").partition("/")
    return StorePlace(store(), bucket, key)


def described(place: GalleryPlace, gallery: Gallery) -> str:
    """Which gallery is used and how many people it has, for the person at the terminal."""
    count = len(gallery.people)
    where = place.path.resolve() if isinstance(place, FilePlace) else place
    text = f"gallery {where}: {count} {'person' if count == 1 else 'people'}"
    if isinstance(place, FilePlace) and place.make_folder and Path("gallery.npz").is_file():
        text += "\nThe file gallery.npz in this folder is not used; name it with --encodings."
    return text


class CachedGallery:
    """Keeps the gallery of a place, and looks for a newer one every `refresh_s` seconds.

    When the place cannot be reached, or holds something broken, the gallery at hand stays in use
    and each look is logged as an error; without one at hand, GalleryUnavailable is raised.
    """

    def __init__(
        self,
        place: GalleryPlace,
        refresh_s: float,
        clock: Callable[[], float] = time.monotonic,
        memory_bytes: int | None = None,
        space: EncodingSpace | None = None,
    ) -> None:
        """`memory_bytes` is the memory limit of this process; a gallery beyond it is refused, and
        so is one of another encoding space than `space`."""
        self._space = space
        self._place = place
        self._refresh_s = refresh_s
        self._clock = clock
        self._memory_bytes = memory_bytes
        self._lock = threading.Lock()
        self._gallery: Gallery | None = None
        self._stamp = ""
        self._checked_at = 0.0
        self.stale = False
        """Whether the last look failed, so that an old gallery is in use."""

    def current(self) -> Gallery:
        with self._lock:
            if self._gallery is None or self._clock() - self._checked_at >= self._refresh_s:
                self._gallery = self._refreshed()
                self._checked_at = self._clock()
            return self._gallery

    def _refreshed(self) -> Gallery:
        try:
            stamp = self._place.stamp()
            if self._gallery is not None and stamp == self._stamp:
                self.stale = False
                return self._gallery
            gallery = gallery_of(self._place, self._fitting(self._place.load()))
            if self._space:
                gallery = check_space(self._place, gallery, self._space)
        except GalleryError as error:
            return self._kept(error, GalleryUnavailable(str(error)))
        except TransientError as error:
            return self._kept(error, error)
        self._stamp, self.stale = stamp, False
        log.info("gallery loaded: %d encodings", len(gallery))
        return gallery

    def _fitting(self, body: bytes) -> bytes:
        """Raises GalleryError for a gallery that would get this process killed, now or at a later
        refresh."""
        if self._memory_bytes is None:
            return body
        most = int(max(self._memory_bytes - OTHER_BYTES, 0) / MEMORY_FACTOR)
        if len(body) > most:
            raise GalleryError(
                f"the gallery {self._place} has {len(body) >> 20} MiB, and a memory limit of"
                f" {self._memory_bytes >> 20} MiB allows {most >> 20} MiB; raise the limit"
            )
        return body

    def _kept(self, error: Exception, without: TransientError) -> Gallery:
        if self._gallery is None:
            raise without from error
        self.stale = True
        log.error("the gallery could not be refreshed, the old one stays in use: %s", error)
        return self._gallery
