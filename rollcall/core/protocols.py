"""The three places where the outside world plugs in, and the file that a decoder reads.

Each place has a real adapter and an in-memory one in `rollcall.stores`; one contract test class
runs against both.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from rollcall.core.encoding_space import EncodingSpace
from rollcall.core.types import DetectedFace, Encodings, ObjectInfo, Pixels, Student

NO_METADATA: Mapping[str, str] = MappingProxyType({})


class VideoFile(Protocol):
    """The bytes of a video on the local disk; some may have to be fetched first."""

    path: Path
    size_bytes: int
    complete: bool

    def ensure_range(self, start: int, end: int) -> tuple[int, int]:
        """Fetches these bytes, or the first of them; the range that is there afterwards.

        It may fetch more, and runs while the decoder waits: the time does not count for it.
        """
        ...


class ObjectStore(Protocol):
    """Buckets of objects. Every method raises StoreUnavailable or StoreMisconfigured."""

    def head(self, bucket: str, key: str) -> ObjectInfo:
        """The current version. Raises ObjectNotFound when there is no such object."""
        ...

    def metadata(self, bucket: str, key: str) -> Mapping[str, str]:
        """User metadata, names in lower case. Raises ObjectNotFound."""
        ...

    def download(self, info: ObjectInfo, path: Path) -> None:
        """Writes the bytes of exactly this etag to `path`.

        Raises ObjectNotFound, or ObjectChanged when the object has another etag by now.
        """
        ...

    def read_range(self, info: ObjectInfo, start: int, end: int) -> bytes:
        """Bytes `start` to `end` (excluded) of exactly this etag.

        Raises ObjectNotFound or ObjectChanged, also when there are fewer.
        """
        ...

    def read(self, bucket: str, key: str, max_bytes: int, version_id: str = "") -> bytes:
        """The current version, or the given one.

        Raises ObjectNotFound, or VideoTooLarge past `max_bytes`.
        """
        ...

    def write(
        self, bucket: str, key: str, body: bytes, content_type: str, metadata: Mapping[str, str]
    ) -> None:
        """Creates or replaces the object."""
        ...

    def read_tagged(self, bucket: str, key: str, max_bytes: int) -> tuple[bytes, str]:
        """The current version and its etag, from one answer. Raises as `read` does."""
        ...

    def write_if(
        self,
        bucket: str,
        key: str,
        body: bytes,
        content_type: str,
        etag: str,
        metadata: Mapping[str, str] = NO_METADATA,
    ) -> None:
        """Replaces the object with this etag; with an empty one, creates an object.

        Raises ObjectChanged when the object has another etag by now, is gone, or is there already.
        Some stores ignore the condition (`rollcall.gallery.gallery_objects` finds out).
        """
        ...

    def list_objects(self, bucket: str, prefix: str = "") -> Iterator[ObjectInfo]:
        """All objects whose key begins so, in order of key."""
        ...

    def old_versions(self, bucket: str, prefix: str = "") -> Iterator[ObjectInfo]:
        """What a versioned bucket still holds of replaced and deleted objects; else nothing."""
        ...

    def delete(self, bucket: str, key: str, version_id: str = "") -> None:
        """Deletes the object, or one version of it for good. A missing object is not an error."""
        ...


class Detector(Protocol):
    """Finds faces. Safe for threads."""

    name: str

    def detect(self, pixels: Pixels) -> tuple[DetectedFace, ...]:
        """The faces of an RGB picture, shape (height, width, 3), largest first."""
        ...


class Encoder(Protocol):
    """Encodes faces. Safe for threads."""

    name: str
    space: EncodingSpace

    def encode(self, pixels: Pixels, faces: Sequence[DetectedFace]) -> Encodings:
        """The encodings of faces of that picture, shape (faces, space.size)."""
        ...


class FaceEngine(Protocol):
    """A detector and an encoder."""

    name: str
    """Both names; it becomes metadata of results."""
    space: EncodingSpace

    def detect(self, pixels: Pixels) -> tuple[DetectedFace, ...]: ...

    def encode(self, pixels: Pixels, faces: Sequence[DetectedFace]) -> Encodings: ...


class StudentStore(Protocol):
    """Records of people. Every method raises StoreUnavailable or StoreMisconfigured."""

    def get(self, name: str) -> Student | None:
        """The record of that name, or None."""
        ...

    def count(self, name: str) -> int:
        """How many records have that name."""
        ...

    def remove(self, name: str) -> int:
        """Removes every record of that name; how many there were."""
        ...
