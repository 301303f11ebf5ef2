"""Reads and replaces the objects that belong to a video: result, report and stored faces.

An object is replaced only if nobody else has replaced it since it was read. So a correction cannot
overwrite the result of a newer upload.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from rollcall.core.errors import ObjectChanged, ObjectNotFound
from rollcall.core.keys import faces_key, report_key, result_key
from rollcall.core.protocols import ObjectStore
from rollcall.recognition.stored_faces import (
    CONTENT_TYPE,
    MAX_FACES_BYTES,
    StoredFaces,
    parse_faces,
    render_faces,
)

MAX_RESULT_BYTES = 64 << 20
"""Limit for a result or report. A report on hours of video with many faces has a few megabytes."""

SOURCE_ETAG = "source-etag"
"""Name of the metadata of a result that has the etag of the video."""


class StoredObject(NamedTuple):
    """An object as it was read."""

    bucket: str
    key: str
    body: bytes
    etag: str
    metadata: Mapping[str, str]


def _has_people(document: object) -> bool:
    """Whether it is a report. Another program may have written it."""
    people = document.get("people") if isinstance(document, dict) else None
    return isinstance(people, list) and all(
        isinstance(person, dict) and isinstance(person.get("name"), str) for person in people
    )


@dataclass(frozen=True, slots=True)
class VideoObjects:
    """The objects of videos. The methods raise the errors of ObjectStore."""

    store: ObjectStore
    output_bucket: str
    report_bucket: str
    """Empty if no reports are written."""

    def is_current(self, bucket: str, key: str, etag: str) -> bool:
        """Whether no newer upload of the video exists. A deleted video has none."""
        try:
            return self.store.head(bucket, key).etag == etag
        except ObjectNotFound:
            return True

    def result(self, key: str) -> StoredObject | None:
        """The CSV of a video; None if there is none."""
        return self._read(self.output_bucket, result_key(key), MAX_RESULT_BYTES)

    def report(self, key: str) -> tuple[StoredObject, dict[str, Any]] | None:
        """The report of a video, and its document; None if there is none that can be read."""
        found = self._read_report(report_key(key), MAX_RESULT_BYTES)
        if found is None:
            return None
        try:
            document = json.loads(found.body)
        except (ValueError, RecursionError):
            return None
        return (found, document) if _has_people(document) else None

    def faces(self, key: str) -> tuple[StoredObject, StoredFaces] | None:
        """The stored faces of a video; None if there are none. Raises FacesUnreadable."""
        found = self._read_report(faces_key(key), MAX_FACES_BYTES)
        return (found, parse_faces(found.body)) if found else None

    def replace(
        self, found: StoredObject, body: bytes, content_type: str, metadata: Mapping[str, str]
    ) -> None:
        """Replace an object that was read before. Raises ObjectChanged."""
        place = found.bucket, found.key
        if self.store.head(*place).etag != found.etag:  # some stores ignore the condition
            raise ObjectChanged(f"{found.key!r} was replaced by another writer")
        try:
            self.store.write_if(*place, body, content_type, found.etag, metadata)
        except ObjectChanged:
            if self.store.head(*place).etag != found.etag:
                raise
            # The etag still matches, so this store refuses all conditional writes in this bucket.
            self.store.write(*place, body, content_type, metadata)

    def replace_faces(self, found: StoredObject, faces: StoredFaces) -> None:
        self.replace(found, render_faces(faces), CONTENT_TYPE, found.metadata)

    def _read_report(self, key: str, max_bytes: int) -> StoredObject | None:
        return self._read(self.report_bucket, key, max_bytes) if self.report_bucket else None

    def _read(self, bucket: str, key: str, max_bytes: int) -> StoredObject | None:
        try:
            body, etag = self.store.read_with_etag(bucket, key, max_bytes)
            return StoredObject(bucket, key, body, etag, self.store.metadata(bucket, key))
        except ObjectNotFound:
            return None
