"""In-memory implementations of the Protocols, for tests and for trials without a store."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote, urlencode

from rollcall.core.errors import ObjectChanged, ObjectNotFound, ObjectTooLarge
from rollcall.core.names import spellings
from rollcall.core.protocols import NO_METADATA
from rollcall.core.types import ObjectInfo, Student


class MemoryStore:
    """ObjectStore that keeps its objects in a dict, without old versions."""

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
            raise ObjectChanged(f"{info.key!r} does not have the length that HEAD reported")
        return body[start:end]

    def read(self, bucket: str, key: str, max_bytes: int, version_id: str = "") -> bytes:
        body = self._get(bucket, key)[1]
        if len(body) > max_bytes:
            raise ObjectTooLarge(f"{key!r} has more than {max_bytes} bytes")
        return body

    def write(
        self, bucket: str, key: str, body: bytes, content_type: str, metadata: Mapping[str, str]
    ) -> None:
        etag = hashlib.md5(body, usedforsecurity=False).hexdigest()
        info = ObjectInfo(bucket, key, len(body), etag, modified_s=time.time())
        # As in S3Store, names become lower case, and empty values are dropped.
        stored = {name.lower(): value for name, value in metadata.items() if value}
        self._objects[bucket, key] = (info, body, stored)

    def read_with_etag(self, bucket: str, key: str, max_bytes: int) -> tuple[bytes, str]:
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
            raise ObjectChanged(f"{bucket}/{key!r} was replaced in the meantime")
        self.write(bucket, key, body, content_type, metadata)

    def list_objects(self, bucket: str, prefix: str = "") -> Iterator[ObjectInfo]:
        infos = [stored[0] for stored in self._objects.values()]
        found = [info for info in infos if info.bucket == bucket and info.key.startswith(prefix)]
        return iter(sorted(found, key=lambda info: info.key.encode()))

    def old_versions(self, bucket: str, prefix: str = "") -> Iterator[ObjectInfo]:
        return iter(())

    def delete(self, bucket: str, key: str, version_id: str = "") -> None:
        self._objects.pop((bucket, key), None)

    def presigned_url(
        self, bucket: str, key: str, expires_s: int, filename: str | None = None
    ) -> str:
        # No server listens at this host. The URL has the usual form, so that pages can be tested.
        parameters = {"expires": str(expires_s), **({"filename": filename} if filename else {})}
        return f"http://memory.invalid/{bucket}/{quote(key)}?{urlencode(parameters)}"

    def _unchanged(self, info: ObjectInfo) -> bytes:
        current, body, _ = self._get(info.bucket, info.key)
        if current.etag != info.etag:
            raise ObjectChanged(f"{info.key!r} was replaced in the meantime")
        return body

    def _get(self, bucket: str, key: str) -> tuple[ObjectInfo, bytes, dict[str, str]]:
        try:
            return self._objects[bucket, key]
        except KeyError as error:
            raise ObjectNotFound(f"{bucket}/{key!r} does not exist") from error


class MemoryStudents:
    """StudentStore that keeps its records in a dict.

    The names in the dict may be composed (NFC) or decomposed (NFD).
    """

    def __init__(self, students: Mapping[str, Student] | None = None) -> None:
        self.students = dict(students or {})

    def get(self, name: str) -> Student | None:
        return next((self.students[each] for each in self._stored_spellings(name)), None)

    def count(self, name: str) -> int:
        return len(self._stored_spellings(name))

    def remove(self, name: str) -> int:
        return len([self.students.pop(each) for each in self._stored_spellings(name)])

    def _stored_spellings(self, name: str) -> list[str]:
        return [each for each in spellings(name) if each in self.students]


class MemoryQueue:
    """Queue for results that appends each message to the list `sent`."""

    def __init__(self) -> None:
        self.sent: list[str] = []

    def send(self, body: str, attributes: Mapping[str, str]) -> None:
        self.sent.append(body)
