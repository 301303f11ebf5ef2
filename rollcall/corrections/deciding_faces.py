"""Decides who is in a video, by comparing its stored faces with the gallery again."""

from __future__ import annotations

import logging
from typing import Any, NamedTuple

import numpy as np

from rollcall.core.errors import GalleryError
from rollcall.core.gallery import Gallery
from rollcall.core.index_types import IndexedVideo
from rollcall.core.reports import coverage_document, faces_of_search, person_document
from rollcall.core.types import Recognition
from rollcall.corrections.reading_results import Newer
from rollcall.corrections.video_objects import StoredObject, VideoObjects
from rollcall.index.documents import indexed_video
from rollcall.recognition.rematch import rematched
from rollcall.recognition.stored_faces import StoredFaces

log = logging.getLogger(__name__)


class ComparedFaces(NamedTuple):
    """The stored faces of a video, and what the gallery says about them now."""

    stored: StoredObject
    before: StoredFaces
    recognition: Recognition

    @property
    def faces(self) -> StoredFaces:
        """The stored faces with the names of now."""
        return self.before.with_people_of(self.recognition)

    def changes(self, video: IndexedVideo) -> bool:
        """Whether the index or the stored faces differ from what the gallery says."""
        after = self.faces
        same_persons = np.array_equal(self.before.persons, after.persons)
        is_same = self.before.names == after.names and same_persons
        return not (is_same and _shows(video, self.recognition))


def compared_faces(
    objects: VideoObjects, video: IndexedVideo, gallery: Gallery, tolerance: float | None
) -> ComparedFaces | None:
    """Compare the stored faces with the gallery; None if there are none that fit.

    Raises Newer if the faces are those of another upload.
    """
    found = objects.faces(video.key) if video.kept != "none" else None
    if found is None:
        return None
    stored, faces = found
    if faces.etag != video.etag:
        raise Newer
    try:
        return ComparedFaces(stored, faces, rematched(faces, gallery, tolerance))
    except GalleryError as error:
        log.warning("only the names in %r can be corrected: %s", video.key, error)
        return None


def _shows(video: IndexedVideo, recognition: Recognition) -> bool:
    """Whether the index entry agrees with this recognition."""
    coverage = coverage_document(recognition.coverage)
    coverage["faces"] = faces_of_search(coverage, video.coverage)
    people: list[dict[str, Any]] = [person_document(person, {}) for person in recognition.people]
    new = indexed_video(
        {
            "video": {"bucket": video.bucket, "key": video.key},
            "status": recognition.status,
            "people": people,
            "coverage": coverage,
        }
    )
    facts = (new.people, new.status, new.coverage)
    return facts == (video.people, video.status, video.coverage)
