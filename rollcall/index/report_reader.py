"""Reads the reports of videos, and their stored faces, for the index."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from rollcall.core.errors import ObjectNotFound, PermanentError
from rollcall.core.index_types import IndexedVideo
from rollcall.core.keys import faces_key, report_key
from rollcall.core.protocols import ObjectStore
from rollcall.index.documents import NotAboutAVideo, indexed_video

if TYPE_CHECKING:
    from rollcall.recognition.stored_faces import StoredFaces

log = logging.getLogger(__name__)

MAX_REPORT_BYTES = 64 << 20
"""Largest report that is read. A report has about 300 bytes for each face in each look."""


class Found(NamedTuple):
    """The report and the stored faces of a video."""

    video: IndexedVideo
    faces: StoredFaces | None


class VideoWithFaces(NamedTuple):
    """A video as the index has it, and its stored faces, with the same people."""

    video: IndexedVideo
    faces: StoredFaces


@dataclass(frozen=True, slots=True)
class ReportReader:
    """Reads from REPORT_BUCKET."""

    store: ObjectStore
    bucket: str

    def read(self, bucket: str, key: str) -> Found:
        """The report of a video, and its faces if there are any that belong to the same upload.

        A report without the time of the recognition gets the time at which it was written. Raises
        ObjectNotFound, NotAboutAVideo, ObjectTooLarge, and the errors of the store.
        """
        name = report_key(key)
        document = _parsed(self.store.read(self.bucket, name, MAX_REPORT_BYTES))
        video = indexed_video(document)
        if not video.finished_s:
            video = indexed_video(document, self.store.head(self.bucket, name).modified_s)
        if (video.bucket, video.key) != (bucket, key):
            raise NotAboutAVideo(
                f"the report {name!r} is about the video {video.key!r} in {video.bucket!r}, not"
                f" about one in {bucket!r}"
            )
        return Found(video, self._faces(video) if video.kept != "none" else None)

    def _faces(self, video: IndexedVideo) -> StoredFaces | None:
        # Imported here, because numpy is slow to load, and few videos have stored faces.
        from rollcall.recognition.stored_faces import MAX_FACES_BYTES, parse_faces

        try:
            name = faces_key(video.key)
            faces = parse_faces(self.store.read(self.bucket, name, MAX_FACES_BYTES))
        except ObjectNotFound:
            return None
        except PermanentError as error:
            log.warning("the stored faces of %r are left out of the index: %s", video.key, error)
            return None
        # Stored faces of another upload have other people.
        return faces.for_search() if faces.etag == video.etag else None


def _parsed(body: bytes) -> dict[str, Any]:
    """The report without its faces, which would take ten times the memory of the text. It is empty
    if the body is not a JSON object."""
    try:
        document = json.loads(body, object_hook=_unless_face)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _unless_face(entry: dict[str, Any]) -> dict[str, Any] | None:
    return None if "box_px" in entry else entry
