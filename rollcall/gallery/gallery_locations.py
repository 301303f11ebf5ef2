"""Where a gallery is stored (a file or an object in a bucket), and the cache that keeps it loaded.

Every write goes through `GalleryLocation.update` or `save`, so that a reader never sees half a
gallery and two writers do not overwrite each other's changes (decision 0065).
"""

from __future__ import annotations

import logging
import os
import stat
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rollcall.core.encoding_space import EncodingSpace
from rollcall.core.errors import (
    GalleryError,
    GalleryMissing,
    GalleryUnavailable,
    ObjectNotFound,
    ObjectTooLarge,
    TransientError,
)
from rollcall.core.gallery import Gallery, empty_gallery
from rollcall.core.gallery_facts import GalleryFacts
from rollcall.core.protocols import GalleryLocation, ObjectStore
from rollcall.core.types import ObjectInfo
from rollcall.gallery.gallery_files import remove_abandoned_files, write_gallery_file
from rollcall.gallery.gallery_formats import MAX_GALLERY_BYTES, parse_gallery
from rollcall.gallery.gallery_objects import Change, update_object
from rollcall.locks import locked

log = logging.getLogger(__name__)


MEMORY_FACTOR = 5.5
"""Peak memory of a refresh, as a multiple of the gallery's size. It covers the old gallery, the new
one and the bytes of the new one. Measured: 4.2, and 5.0 with the facts about each encoding."""

OTHER_BYTES = 256 << 20
"""Memory reserved for everything else: networks, frames, the decoder."""


@dataclass(frozen=True, slots=True)
class GalleryFile:
    """A gallery in a file."""

    path: Path
    make_folder: bool = False
    """Whether a write creates a missing folder. True only for the default gallery: any other path
    may contain a typo."""

    def __str__(self) -> str:
        return str(self.path)

    def stamp(self) -> str:
        try:
            status = self.path.stat()
        except OSError as error:
            raise self._unreadable(error) from error
        # The inode differs after every write, because a write replaces the file.
        return f"{status.st_mtime_ns}-{status.st_size}-{status.st_ino}"

    def changed_s(self) -> float:
        try:
            return self.path.stat().st_mtime
        except OSError as error:
            raise self._unreadable(error) from error

    def load(self) -> bytes:
        try:
            with open(self.path, "rb") as file:
                status = os.fstat(file.fileno())
                size_bytes = status.st_size if stat.S_ISREG(status.st_mode) else MAX_GALLERY_BYTES
                # `read(n)` allocates n bytes at once, so n is the size of the file, not the limit.
                body = file.read(min(size_bytes, MAX_GALLERY_BYTES) + 1)
        except OSError as error:
            raise self._unreadable(error) from error
        if len(body) > MAX_GALLERY_BYTES:
            raise GalleryError(
                f"the gallery {str(self.path)!r} has more than {MAX_GALLERY_BYTES} bytes"
            )
        return body

    def update(self, change: Change) -> None:
        self._write_locked(lambda: change(self._load_or_none()))

    def save(self, body: bytes) -> None:
        self._write_locked(lambda: body)

    def _write_locked(self, make_body: Callable[[], bytes | None]) -> None:
        """Write the file while its folder is locked. Nothing is written if the body is None."""
        try:
            # If the path is a symbolic link, its target is written. If the link were replaced, the
            # target would keep the old gallery, perhaps with a person who has been removed.
            path = self.path.resolve()
            if self.make_folder:
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with locked(path.parent):
                remove_abandoned_files(path.parent)
                body = make_body()
                if body is not None:
                    write_gallery_file(path, body)
        except FileNotFoundError as error:
            folder = str(self.path.parent)
            raise GalleryError(
                f"the folder {folder!r} does not exist; create it, or name another file"
            ) from error
        except (OSError, RuntimeError) as error:
            # Before Python 3.13, `resolve` raises RuntimeError for a loop of links.
            raise GalleryError(f"{str(self.path)!r} cannot be written: {error}") from error

    def _load_or_none(self) -> bytes | None:
        try:
            return self.load()
        except GalleryMissing:
            return None

    def _unreadable(self, error: OSError) -> GalleryError:
        # After GalleryMissing, the caller may create the file. After any other error, the caller
        # must not: the file may exist and hold people.
        if isinstance(error, FileNotFoundError):
            return GalleryMissing(
                f"no gallery at {str(self.path)!r} ({error.strerror}); set ENCODINGS, or create one"
                " with `rollcall enrol NAME PHOTO`"
            )
        return GalleryError(
            f"the gallery {str(self.path)!r} cannot be read ({error.strerror}); check the path and"
            " its permissions"
        )


@dataclass(frozen=True, slots=True)
class GalleryObject:
    """A gallery in a bucket."""

    store: ObjectStore
    bucket: str
    key: str

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"

    def stamp(self) -> str:
        return self._head().etag

    def changed_s(self) -> float:
        return self._head().modified_s

    def load(self) -> bytes:
        return self._read_with_etag()[0]

    def update(self, change: Change) -> None:
        update_object(self.store, self.bucket, self.key, self._read_if_present, change)

    def save(self, body: bytes) -> None:
        self.update(lambda _: body)

    def _head(self) -> ObjectInfo:
        try:
            return self.store.head(self.bucket, self.key)
        except ObjectNotFound as error:
            raise self._missing() from error

    def _read_if_present(self) -> tuple[bytes | None, str]:
        try:
            return self._read_with_etag()
        except GalleryMissing:
            return None, ""

    def _read_with_etag(self) -> tuple[bytes, str]:
        try:
            return self.store.read_with_etag(self.bucket, self.key, MAX_GALLERY_BYTES)
        except ObjectNotFound as error:
            raise self._missing() from error
        except ObjectTooLarge as error:
            raise GalleryError(
                f"the gallery s3://{self.bucket}/{self.key} cannot be read: {error}"
            ) from error

    def _missing(self) -> GalleryMissing:
        return GalleryMissing(
            f"no gallery at s3://{self.bucket}/{self.key}; upload it, or set ENCODINGS"
        )


def read_gallery(location: GalleryLocation, space: EncodingSpace | None = None) -> Gallery:
    """Load and parse the gallery.

    Raises GalleryError, which names the location, or a TransientError. If `space` is given,
    GalleryError is also raised for a gallery of another encoding space.
    """
    gallery = parse_gallery_at(location, location.load())
    return check_space(location, gallery, space) if space else gallery


def parse_gallery_at(location: GalleryLocation, body: bytes) -> Gallery:
    """Parse bytes that were loaded from the location. Raises GalleryError, which names it."""
    try:
        return parse_gallery(body)
    except GalleryError as error:
        raise GalleryError(f"the gallery {location} cannot be used: {error}") from error


def check_space(location: GalleryLocation, gallery: Gallery, space: EncodingSpace) -> Gallery:
    """Return the gallery if its encodings belong to the engine's encoding space.

    An empty gallery fits every space, and becomes an empty gallery of that space. Raises
    GalleryError otherwise, because a distance between encodings of two spaces means nothing.
    """
    if not len(gallery) and not gallery.verdicts:
        return empty_gallery(space)
    if (gallery.space, gallery.encodings.shape[1]) != (space.name, space.size):
        raise GalleryError(
            f"the gallery {location} has encodings of {gallery.space} ({gallery.encodings.shape[1]}"
            f" numbers), and the engine makes encodings of {space.name} ({space.size} numbers);"
            " set ENGINE to the engine that made the gallery, or enrol everybody again into a new"
            " gallery (ENCODINGS)"
        )
    return gallery


def default_gallery() -> GalleryFile:
    """Return this user's own gallery, used if ENCODINGS is not set.

    It is the same file in every working directory (decision 0033).
    """
    try:
        home = Path.home()
    except RuntimeError as error:
        raise GalleryError(
            "there is no home folder for the default gallery; set ENCODINGS"
        ) from error
    return GalleryFile(home / ".local" / "share" / "rollcall" / "gallery.npz", make_folder=True)


def gallery_location(encodings: str, open_store: Callable[[], ObjectStore]) -> GalleryLocation:
    """Return the location that the setting ENCODINGS names.

    `open_store` is called only for an address that begins with `s3://`.
    """
    if not encodings:
        return default_gallery()
    if not encodings.startswith("s3://"):
        return GalleryFile(Path(encodings))
    bucket, _, key = encodings.removeprefix("s3://").partition("/")
    return GalleryObject(open_store(), bucket, key)


def describe_gallery(location: GalleryLocation, gallery: Gallery) -> str:
    """Return a text that says which gallery is used, and how many people it has."""
    count = len(gallery.people)
    address = location.path.resolve() if isinstance(location, GalleryFile) else location
    text = f"gallery {address}: {count} {'person' if count == 1 else 'people'}"
    # `gallery.npz` in the working directory was the default gallery before decision 0033.
    is_default = isinstance(location, GalleryFile) and location.make_folder
    if is_default and Path("gallery.npz").is_file():
        text += "\nThe file gallery.npz in this folder is not used; name it with --encodings."
    return text


class CachedGallery:
    """Keeps a gallery in memory, and checks every `refresh_s` seconds whether it has changed.

    If the location cannot be reached, or holds a broken gallery, the loaded gallery stays in use
    and every check logs an error. If no gallery was loaded yet, the TransientError of the store is
    raised, or GalleryUnavailable.
    """

    def __init__(
        self,
        location: GalleryLocation,
        refresh_s: float,
        clock: Callable[[], float] = time.monotonic,
        memory_bytes: int | None = None,
        space: EncodingSpace | None = None,
    ) -> None:
        """`memory_bytes` is the memory limit of this process. A gallery that does not fit, or whose
        encoding space is not `space`, is refused."""
        self._space = space
        self._location = location
        self._refresh_s = refresh_s
        self._clock = clock
        self._memory_bytes = memory_bytes
        self._lock = threading.Lock()
        self._gallery: Gallery | None = None
        self._stamp = ""
        self._changed_s = 0.0
        self._checked_at = 0.0
        self.stale = False
        """Whether the last check failed, so that an old gallery may be in use."""

    def current(self) -> Gallery:
        with self._lock:
            if self._gallery is None or self._clock() - self._checked_at >= self._refresh_s:
                self._gallery = self._refresh()
                self._checked_at = self._clock()
            return self._gallery

    @property
    def facts(self) -> GalleryFacts | None:
        gallery = self._gallery
        if gallery is None:
            return None
        return GalleryFacts(len(gallery.people), len(gallery), self._changed_s, self.stale)

    def _refresh(self) -> Gallery:
        try:
            # The stamp is read before the bytes. If a writer comes between the two, the stamp is
            # too old, and the next check loads the gallery once more.
            stamp = self._location.stamp()
            if self._gallery is not None and stamp == self._stamp:
                self.stale = False
                return self._gallery
            body = self._location.load()
            self._check_memory(body)
            gallery = parse_gallery_at(self._location, body)
            if self._space:
                gallery = check_space(self._location, gallery, self._space)
            changed_s = self._location.changed_s()
        except GalleryError as error:
            return self._keep_old(error, GalleryUnavailable(str(error)))
        except TransientError as error:
            return self._keep_old(error, error)
        self._stamp, self._changed_s, self.stale = stamp, changed_s, False
        log.info("gallery loaded: %d encodings", len(gallery))
        return gallery

    def _check_memory(self, body: bytes) -> None:
        """Raise GalleryError for a gallery whose loading would exceed the memory limit.

        Otherwise the kernel would kill this process, at once or at a later refresh, without a
        message.
        """
        if self._memory_bytes is None:
            return
        max_bytes = int(max(self._memory_bytes - OTHER_BYTES, 0) / MEMORY_FACTOR)
        if len(body) > max_bytes:
            raise GalleryError(
                f"the gallery {self._location} has {len(body) >> 20} MiB, and a memory limit of"
                f" {self._memory_bytes >> 20} MiB allows {max_bytes >> 20} MiB; raise the limit"
            )

    def _keep_old(self, error: Exception, if_none: TransientError) -> Gallery:
        if self._gallery is None:
            raise if_none from error
        self.stale = True
        log.error("the gallery could not be refreshed, the old one stays in use: %s", error)
        return self._gallery
