"""The seams without an outside world: for tests, and for trying things out."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rollcall.core.encoding_space import DLIB
from rollcall.core.errors import ObjectChanged, ObjectNotFound, VideoTooLarge
from rollcall.core.names import spellings
from rollcall.core.protocols import NO_METADATA
from rollcall.core.types import Box, DetectedFace, Encodings, ObjectInfo, Pixels, Student


class MemoryStore:
    """ObjectStore in a dict; keeps no old versions."""

    def __init__(self) -> None:
        self._objects: dict[tuple[str, str], tuple[ObjectInfo, bytes, dict[str, str]]] = {}

    def head(self, bucket: str, key: str) -> ObjectInfo:
        return self._get(bucket, key)[0]

    def metadata(self, bucket: str, key: str) -> Mapping[str, str]:
        return dict(self._get(bucket, key)[2])

    def download(self, info: ObjectInfo, path: Path) -> None:
        path.write_bytes(self._unchanged(info))

    def read_range(self, info: ObjectInfo, start: int, end: int) -> bytes:
        body = self._unchanged(info)
        if len(body) != info.size_bytes:
            raise ObjectChanged(f"{info.key!r} has not the length that its HEAD said")
        return body[start:end]

    def read(self, bucket: str, key: str, max_bytes: int, version_id: str = "") -> bytes:
        body = self._get(bucket, key)[1]
        if len(body) > max_bytes:
            raise VideoTooLarge(f"{key!r} has more than {max_bytes} bytes")
        return body

    def write(
        self, bucket: str, key: str, body: bytes, content_type: str, metadata: Mapping[str, str]
    ) -> None:
        etag = hashlib.md5(body, usedforsecurity=False).hexdigest()
        info = ObjectInfo(bucket, key, len(body), etag, modified_s=time.time())
        given = {name.lower(): value for name, value in metadata.items() if value}
        self._objects[bucket, key] = (info, body, given)

    def read_tagged(self, bucket: str, key: str, max_bytes: int) -> tuple[bytes, str]:
        return self.read(bucket, key, max_bytes), self.head(bucket, key).etag

    def write_if(
        self,
        bucket: str,
        key: str,
        body: bytes,
        content_type: str,
        etag: str,
        metadata: Mapping[str, str] = NO_METADATA,
    ) -> None:
        stored = self._objects.get((bucket, key))
        if (stored[0].etag if stored else "") != etag:
            raise ObjectChanged(f"{bucket}/{key!r} was replaced meanwhile")
        self.write(bucket, key, body, content_type, metadata)

    def list_objects(self, bucket: str, prefix: str = "") -> Iterator[ObjectInfo]:
        every = [stored[0] for stored in self._objects.values()]
        found = [info for info in every if info.bucket == bucket and info.key.startswith(prefix)]
        return iter(sorted(found, key=lambda info: info.key.encode()))

    def old_versions(self, bucket: str, prefix: str = "") -> Iterator[ObjectInfo]:
        return iter(())

    def delete(self, bucket: str, key: str, version_id: str = "") -> None:
        self._objects.pop((bucket, key), None)

    def _unchanged(self, info: ObjectInfo) -> bytes:
        now, body, _ = self._get(info.bucket, info.key)
        if now.etag != info.etag:
            raise ObjectChanged(f"{info.key!r} was replaced meanwhile")
        return body

    def _get(self, bucket: str, key: str) -> tuple[ObjectInfo, bytes, dict[str, str]]:
        try:
            return self._objects[bucket, key]
        except KeyError as error:
            raise ObjectNotFound(f"{bucket}/{key} does not exist (any more)") from error


class MemoryStudents:
    """StudentStore in a dict, whose names may be in either spelling (NFC or NFD)."""

    def __init__(self, students: Mapping[str, Student] | None = None) -> None:
        self.students = dict(students or {})

    def get(self, name: str) -> Student | None:
        return next((self.students[each] for each in self._spellings(name)), None)

    def count(self, name: str) -> int:
        return len(self._spellings(name))

    def remove(self, name: str) -> int:
        return len([self.students.pop(each) for each in self._spellings(name)])

    def _spellings(self, name: str) -> list[str]:
        """Those that the dict holds."""
        return [each for each in spellings(name) if each in self.students]


class MemoryQueue:
    """A queue that is sent to, in a list."""

    def __init__(self) -> None:
        self.sent: list[str] = []

    def send(self, body: str, attributes: Mapping[str, str]) -> None:
        self.sent.append(body)


class PaintedFaces:
    """FaceEngine for painted pictures: a patch of one of six colours is a face.

    Colours are the corners of the RGB cube without grey, told apart even after lossy coding; a
    patch may be bright and less bright by turns, so that it has edges like a face. The encoding of
    a colour is a fixed vector; those of two colours lie about 1.4 apart.
    """

    name = "painted"
    space = DLIB

    COLOURS: Mapping[str, tuple[int, int, int]] = {
        "red": (255, 0, 0),
        "green": (0, 255, 0),
        "blue": (0, 0, 255),
        "yellow": (255, 255, 0),
        "magenta": (255, 0, 255),
        "cyan": (0, 255, 255),
    }
    MIN_PX = 64
    FACE = np.array([[0.3, 0.35], [0.7, 0.35], [0.5, 0.55], [0.35, 0.75], [0.65, 0.75]])
    """Landmarks in parts of the box."""

    @classmethod
    def encoding(cls, colour: str) -> Encodings:
        """The encoding, shape (128,), that a patch of this colour has."""
        vector = np.zeros(cls.space.size)
        vector[list(cls.COLOURS).index(colour)] = 1.0
        return vector

    def detect(self, pixels: Pixels) -> tuple[DetectedFace, ...]:
        vivid = np.ptp(pixels.astype(np.int16), axis=2) > 127
        bright = pixels > 127
        masks = [self._is(colour, bright) & vivid for colour in self.COLOURS]
        faces = [self._face(mask) for mask in masks if mask.sum() >= self.MIN_PX]
        return tuple(sorted(faces, key=lambda face: -face.box.area_px))

    def encode(self, pixels: Pixels, faces: Sequence[DetectedFace]) -> Encodings:
        return np.array([self.encoding(self._colour(pixels, face.box)) for face in faces])

    def _is(self, colour: str, bright: NDArray[np.bool]) -> NDArray[np.bool]:
        same: NDArray[np.bool] = (bright == (np.array(self.COLOURS[colour]) > 127)).all(axis=2)
        return same

    def _face(self, mask: NDArray[np.bool]) -> DetectedFace:
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        box = Box(int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1, int(columns[0]))
        corner, size = (box.left, box.top), (box.right - box.left, box.bottom - box.top)
        return DetectedFace(box, corner + self.FACE * size, 1.0)

    def _colour(self, pixels: Pixels, box: Box) -> str:
        """The colour of most pixels in the box."""
        bright = pixels[box.top : box.bottom, box.left : box.right] > 127
        return max(self.COLOURS, key=lambda colour: self._is(colour, bright).sum())
