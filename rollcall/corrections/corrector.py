"""Corrects the result of one video, so that it agrees with the gallery.

If the faces of the video are stored, they are compared with the gallery again (`deciding_faces`).
Otherwise only names can be corrected (`deciding_names`). `correct` writes the stored faces, the
result and the report, in this order, and `put` writes the index. The index is the last, so a
correction that was interrupted is found and repeated.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from rollcall.core.errors import PermanentError
from rollcall.core.gallery import Gallery
from rollcall.core.index_types import IndexedVideo
from rollcall.core.protocols import StudentStore
from rollcall.core.renaming import csv_renamed, csv_shows, people_renamed
from rollcall.core.results import render_csv
from rollcall.core.types import Student
from rollcall.corrections.corrected_reports import (
    people_documents,
    report_compared_again,
    report_with_names,
    video_with_people,
)
from rollcall.corrections.deciding_faces import ComparedFaces, compared_faces
from rollcall.corrections.deciding_names import (
    NewNames,
    check_undone_merges,
    line_that_names_follow,
    new_names,
    new_names_of_report,
)
from rollcall.corrections.reading_results import Newer, VideoResult, read_result
from rollcall.corrections.video_objects import VideoObjects
from rollcall.corrections.writing_results import write_result
from rollcall.database.database import Database
from rollcall.index.documents import indexed_video
from rollcall.index.report_reader import VideoWithFaces
from rollcall.index.sql_index import SqlIndex
from rollcall.index.video_faces import VideoFaces
from rollcall.recognition.stored_faces import StoredFaces


class Correction(NamedTuple):
    """The facts about a corrected video that the index needs."""

    video: IndexedVideo
    faces: StoredFaces | None
    """None if only names were corrected."""


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
            compared = compared_faces(self.objects, video, gallery, self.tolerance)
            if compared is None:
                return self._correct_names(video, gallery)
            return self._correct_people(video, gallery, compared)
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

    def _correct_people(
        self, video: IndexedVideo, gallery: Gallery, compared: ComparedFaces
    ) -> Correction | None:
        """Write who is in the video according to its stored faces."""
        if not compared.changes(video):
            # `put` may have been interrupted between the index and the face search.
            is_searchable = self._is_searchable(video, compared.before)
            return None if is_searchable else Correction(video, compared.before)
        found = read_result(self.objects, video)
        if found.report is None:
            raise PermanentError(f"{video.key!r} has no report that can be read")
        recognition, faces = compared.recognition, compared.faces
        students = self._students(person.name for person in recognition.people)
        as_of = line_that_names_follow(self.database, gallery.version)
        report = report_compared_again(found.report, recognition, students, gallery, as_of)
        self.objects.replace_faces(compared.stored, faces)
        body = render_csv(recognition.people, students)
        write_result(self.objects, found, body, report, as_of)
        return Correction(indexed_video(report, video.finished_s), faces)

    def _is_searchable(self, video: IndexedVideo, faces: StoredFaces) -> bool:
        """Whether the face search has the faces of the video, if there are any."""
        video_id = self.index.id_of(video.bucket, video.key)
        if video_id is None or self.faces.has(video_id):
            return True
        numbers = [person.number for person in video.people]
        return not any(len(faces.appearance_encodings(number)[0]) for number in numbers)

    def _correct_names(self, video: IndexedVideo, gallery: Gallery) -> Correction | None:
        """Give the people of a video the names that they have now."""
        people = people_documents(video)
        new = new_names(self.database, video, people)
        if not new.names and not video.corrected:
            return None  # the usual case, for which the report need not be read
        if not video.bucket:  # a file of `recognise --index`, which only the index knows
            if not new.names:
                check_undone_merges(self.database, video, people)
                return None
            renamed, _ = people_renamed(people, new.names, {})
            return Correction(video_with_people(video, renamed, gallery), None)
        found = read_result(self.objects, video)
        if found.report:
            new = new_names_of_report(self.database, video, found.report)
        elif _agree(found, people):  # otherwise the index could not be written
            new = new_names(self.database, video, people, found.names_as_of)
            if not new.names:
                check_undone_merges(self.database, video, people, found.names_as_of)
        if new.names:
            return self._write_names(video, found, new, gallery)
        # If the index could not be written, only the report has the new names.
        reported = indexed_video(found.report, video.finished_s) if found.report else video
        return Correction(reported, None) if reported.people != video.people else None

    def _write_names(
        self, video: IndexedVideo, found: VideoResult, new: NewNames, gallery: Gallery
    ) -> Correction:
        students = self._students(new.names.values())
        try:
            if found.report:
                people = found.report["people"]
                report = report_with_names(found.report, new, students, gallery)
                renamed, corrected = report["people"], indexed_video(report, video.finished_s)
            else:
                people, report = people_documents(video), None
                renamed, _ = people_renamed(people, new.names, {})
                corrected = video_with_people(video, renamed, gallery)
            body = found.csv.body
            # An interrupted correction may have written the result. Changed twice, a name could
            # become that of somebody else.
            if not csv_shows(body, renamed):
                old_names = {people[place]["name"]: name for place, name in new.names.items()}
                body = csv_renamed(body, old_names, students)
        except ValueError as error:  # another program may have written the result or the report
            raise PermanentError(
                f"the result of {video.key!r} has an unknown form: {error}"
            ) from error
        write_result(self.objects, found, body, report, new.as_of)
        return Correction(corrected, None)

    def _students(self, names: Iterable[str]) -> dict[str, Student]:
        found = {name: self.students.get(name) for name in set(names) if name}
        return {name: student for name, student in found.items() if student}


def _agree(found: VideoResult, people: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the result shows the people of the index."""
    try:
        return csv_shows(found.csv.body, people)
    except ValueError:  # another program may have written it
        return False
