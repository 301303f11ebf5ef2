"""Corrects the result of one video, so that it agrees with the gallery.

If the faces of the video are stored, they are compared with the gallery again. Otherwise only names
can be corrected. `correct` writes the stored faces, the result and the report, in this order, and
`put` writes the index. The index is the last, so a correction that was interrupted is found and
repeated.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from sqlalchemy import Connection

from rollcall.core.errors import GalleryError, PermanentError
from rollcall.core.gallery import Gallery
from rollcall.core.index_types import IndexedVideo
from rollcall.core.names import UNKNOWN
from rollcall.core.protocols import StudentStore
from rollcall.core.renaming import csv_renamed, people_renamed, report_renamed
from rollcall.core.reports import corrected_report, coverage_document, person_document
from rollcall.core.results import render_csv
from rollcall.core.types import Recognition, Student
from rollcall.corrections.name_changes import (
    JOINED_BY,
    MERGED_BY,
    NAMES_AS_OF,
    is_joined_for_good,
    joined_entries,
    line_of_gallery,
    names_as_of,
    present_names,
)
from rollcall.corrections.video_objects import SOURCE_ETAG, StoredObject, VideoObjects
from rollcall.database.database import Database
from rollcall.index.change_log import newest_line
from rollcall.index.documents import indexed_video
from rollcall.index.report_reader import VideoWithFaces
from rollcall.index.sql_index import SqlIndex
from rollcall.index.video_faces import VideoFaces
from rollcall.recognition.rematch import rematched
from rollcall.recognition.stored_faces import StoredFaces

log = logging.getLogger(__name__)

RECOGNISED_AS = "recognised_as"
"""Field of a corrected report: a digest of the people as they were recognised. If a later change
leads to the same people again, the result no longer counts as corrected."""

CORRECTED = "corrected"
"""Name of the metadata of a corrected result, and of the field of its report."""


class Newer(Exception):
    """The video has a newer result, or soon will have: there is nothing to correct."""


class Correction(NamedTuple):
    """The facts about a corrected video that the index needs."""

    video: IndexedVideo
    faces: StoredFaces | None
    """None if only names were corrected."""


class _Found(NamedTuple):
    """The result of a video, and its report if there is one."""

    result: StoredObject
    report: tuple[StoredObject, dict[str, Any]] | None


@dataclass(frozen=True, slots=True)
class Corrector:
    """Safe to share between threads."""

    database: Database
    index: SqlIndex
    faces: VideoFaces
    objects: VideoObjects
    students: StudentStore
    tolerance: float | None
    """TOLERANCE; None if the gallery's own tolerance is used."""

    def correct(self, bucket: str, key: str, gallery: Gallery) -> Correction | None:
        """Correct a video; None if its result does not change. Then `put` has to be called.

        Raises TransientError if the video has to be tried again, and PermanentError.
        """
        video_id = self.index.id_of(bucket, key)
        video = None if video_id is None else self.index.get(video_id)
        if video is None or video.status == "error":
            return None
        try:
            recognised = self._recognise(video, gallery)
            if recognised is None:
                return self._rename(video, gallery)
            return self._rewrite(video, gallery, *recognised)
        except Newer:
            return None

    def put(self, corrections: Sequence[Correction]) -> None:
        """Put corrected videos into the index. Raises TransientError."""
        if not corrections:
            return
        videos = [correction.video for correction in corrections]
        written = self.database.run(partial(self.index.put_in, videos=videos))
        with_faces = {
            video_id: VideoWithFaces(videos[place], faces)
            for video_id, place in written.places.items()
            if (faces := corrections[place].faces)
        }
        self.index.ungroup(written.ungrouped - with_faces.keys())
        self.faces.put(with_faces)

    def _recognise(
        self, video: IndexedVideo, gallery: Gallery
    ) -> tuple[StoredObject, StoredFaces, Recognition] | None:
        """Compare the stored faces with the gallery; None if there are none that fit."""
        found = self.objects.faces(video.key) if video.kept != "none" else None
        if found is None:
            return None
        if found[1].etag != video.etag:
            raise Newer
        try:
            return (*found, rematched(found[1], gallery, self.tolerance))
        except GalleryError as error:
            log.warning("only the names in %r can be corrected: %s", video.key, error)
            return None

    def _rewrite(
        self,
        video: IndexedVideo,
        gallery: Gallery,
        stored: StoredObject,
        faces: StoredFaces,
        recognition: Recognition,
    ) -> Correction | None:
        people = [person_document(person, {}) for person in recognition.people]
        new_faces = faces.with_people_of(recognition)
        if _same_people(video, people, recognition) and _same_persons(faces, new_faces):
            # `put` may have been interrupted between the index and the face search.
            return None if self._is_searchable(video, faces) else Correction(video, faces)
        found = self._find(video)
        if found.report is None:
            raise PermanentError(f"{video.key!r} has no report that can be read")
        students = self._students(person.name for person in recognition.people)
        before = found.report[1]
        corrected = corrected_report(before, recognition, students, gallery.version)
        report = _marked(corrected, before, gallery)
        with self.database.reading() as connection:
            line = line_of_gallery(connection, gallery.version)
            _note_names(report, newest_line(connection) if line is None else line)
        self.objects.replace_faces(stored, new_faces)
        self._write(video, found, render_csv(recognition.people, students), report)
        return Correction(indexed_video(report, video.finished_s), new_faces)

    def _is_searchable(self, video: IndexedVideo, faces: StoredFaces) -> bool:
        """Whether the face search has the faces of the video, if there are any."""
        video_id = self.index.id_of(video.bucket, video.key)
        if video_id is None or self.faces.has(video_id):
            return True
        numbers = [person.number for person in video.people]
        return not any(len(faces.appearance_encodings(number)[0]) for number in numbers)

    def _rename(self, video: IndexedVideo, gallery: Gallery) -> Correction | None:
        """Give the people of a video the names that they have in the gallery now."""
        with self.database.reading() as connection:
            until_id = newest_line(connection)
            after_id = names_as_of(connection, video.gallery, video.finished_s)
            people = _people_documents(video)
            names, merged = present_names(connection, people, after_id, until_id)
        if not names and not video.corrected:
            return None  # the usual case, for which the report need not be read
        if not video.bucket:  # a file of `recognise --index`, which only the index knows
            renamed, _ = people_renamed(people, names, {})
            return Correction(_with_people(video, renamed, gallery), None) if names else None
        found = self._find(video)
        if found.report:
            # The report is written before the index, so it may have the new names already.
            with self.database.reading() as connection:
                after_id = _names_as_of(connection, found.report[1], video)
                people = found.report[1]["people"]
                names, merged = present_names(connection, people, after_id, until_id)
                is_joined = not names and is_joined_for_good(connection, people)
            if is_joined and video.people == indexed_video(found.report[1]).people:
                raise PermanentError(
                    f"{video.key!r} shows both people of a merge that was undone, and has no stored"
                    " faces to tell them apart"
                )
        if not names:
            return _as_reported(video, found)
        students = self._students(names.values())
        new_names = {people[place]["name"]: name for place, name in names.items()}
        report = None
        try:
            body = csv_renamed(found.result.body, new_names, students)
            if found.report:
                report = _renamed(found.report[1], names, merged, students, gallery)
                _note_names(report, until_id)
        except ValueError as error:  # another program may have written the result or the report
            raise PermanentError(
                f"the result of {video.key!r} has an unknown form: {error}"
            ) from error
        renamed, _ = people_renamed(_people_documents(video), names, {})
        self._write(video, found, body, report)
        corrected = indexed_video(report, video.finished_s) if report else None
        return Correction(corrected or _with_people(video, renamed, gallery), None)

    def _find(self, video: IndexedVideo) -> _Found:
        """Read the result and the report. Raises Newer if they are about another upload."""
        result = self.objects.result(video.key)
        if result is None:
            raise PermanentError(
                f"the result of {video.key!r} was deleted, so it is not written again"
            )
        report = self.objects.report(video.key)
        # Other programs may have copied a result without its metadata.
        told = (result.metadata.get(SOURCE_ETAG), _etag_of(report[1]) if report else "")
        etags = {etag for etag in told if etag}
        if not etags:
            raise PermanentError(f"the result of {video.key!r} does not say of which upload it is")
        if etags != {video.etag} or not self.objects.is_current(
            video.bucket, video.key, video.etag
        ):
            raise Newer
        return _Found(result, report)

    def _write(
        self, video: IndexedVideo, found: _Found, body: bytes, report: dict[str, Any] | None
    ) -> None:
        """Write the result, and the report if there is one."""
        metadata = {**found.result.metadata, CORRECTED: "yes"}
        if report is not None:
            metadata["gallery"] = report["gallery"]
            if not report[CORRECTED]:
                del metadata[CORRECTED]
        self.objects.replace(found.result, body, "text/csv", metadata)
        if report is not None and found.report:
            rendered, stored = json.dumps(report, indent=1).encode(), found.report[0]
            self.objects.replace(stored, rendered, "application/json", stored.metadata)

    def _students(self, names: Iterable[str]) -> dict[str, Student]:
        found = {name: self.students.get(name) for name in set(names) if name}
        return {name: student for name, student in found.items() if student}


def _same_people(
    video: IndexedVideo, people: list[dict[str, Any]], recognition: Recognition
) -> bool:
    new = indexed_video(
        {
            "video": {"bucket": video.bucket, "key": video.key},
            "status": recognition.status,
            "people": people,
            "coverage": coverage_document(recognition.coverage),
        }
    )
    facts = (new.people, new.status, new.coverage)
    return facts == (video.people, video.status, video.coverage)


def _same_persons(old: StoredFaces, new: StoredFaces) -> bool:
    return old.names == new.names and np.array_equal(old.persons, new.persons)


def _renamed(
    report: Mapping[str, Any],
    names: Mapping[int, str],
    merged: Mapping[int, list[int]],
    students: Mapping[str, Student],
    gallery: Gallery,
) -> dict[str, Any]:
    """The report with other names, and with the merges that led to them."""
    people = [dict(person) for person in report["people"]]
    for place, merges in merged.items():
        people[place][MERGED_BY] = merges
    document = report_renamed({**report, "people": people}, names, students)
    for place, joined_by in joined_entries(people, people_renamed(people, names, {})[1]).items():
        document["people"][place] |= {MERGED_BY: [], JOINED_BY: joined_by}
    for person in document["people"]:
        if not person.get(MERGED_BY):
            person.pop(MERGED_BY, None)
    return _marked(document, report, gallery)


def _marked(
    document: dict[str, Any], before: Mapping[str, Any], gallery: Gallery
) -> dict[str, Any]:
    """The document with the gallery's version, and whether it differs from what was recognised."""
    recognised = before.get(RECOGNISED_AS) or _digest(before["people"])
    document["gallery"] = gallery.version
    document[CORRECTED] = _digest(document["people"]) != recognised
    document.pop(RECOGNISED_AS, None)
    if document[CORRECTED]:
        document[RECOGNISED_AS] = recognised
    return document


def _note_names(report: dict[str, Any], line: int) -> None:
    """Note up to which line of the log the names are corrected."""
    report.pop(NAMES_AS_OF, None)
    if report[CORRECTED]:
        report[NAMES_AS_OF] = line


def _names_as_of(connection: Connection, report: Mapping[str, Any], video: IndexedVideo) -> int:
    noted, version = report.get(NAMES_AS_OF), report.get("gallery")
    known = version if isinstance(version, str) else ""
    line = names_as_of(connection, known, video.finished_s)
    return max(line, noted) if isinstance(noted, int) else line


def _as_reported(video: IndexedVideo, found: _Found) -> Correction | None:
    """What the index lacks if the report was corrected and the index was not."""
    reported = indexed_video(found.report[1], video.finished_s) if found.report else video
    return Correction(reported, None) if reported.people != video.people else None


def _digest(people: Iterable[Mapping[str, Any]]) -> str:
    """A digest of what was seen, without the student records."""
    fields = ("name", "intervals", "frames", "distance")
    seen = [[person.get(field) for field in fields] for person in people]
    return hashlib.sha256(json.dumps(seen).encode()).hexdigest()[:16]


def _people_documents(video: IndexedVideo) -> list[dict[str, Any]]:
    """The people of the index as in a report."""
    return [
        {
            "name": person.name or UNKNOWN,
            "first_seen_s": person.first_s,
            "last_seen_s": person.last_s,
            "intervals": [list(interval) for interval in person.intervals],
            "frames": person.frames,
            "distance": person.distance,
            "certainty": person.certainty or None,
        }
        for person in video.people
    ]


def _with_people(
    video: IndexedVideo, people: list[dict[str, Any]], gallery: Gallery
) -> IndexedVideo:
    """The index entry of a video without a report, with other people."""
    named = {"video": {"bucket": video.bucket, "key": video.key}, "status": video.status}
    found = indexed_video({**named, "people": people})
    return replace(video, people=found.people, gallery=gallery.version, corrected=True)


def _etag_of(report: Mapping[str, Any]) -> str:
    video = report.get("video")
    etag = video.get("etag") if isinstance(video, dict) else None
    return etag if isinstance(etag, str) else ""
