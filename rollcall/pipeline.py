"""The story: download -> frames -> faces -> who -> student record -> CSV."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from rollcall.core.errors import (
    BucketNotAllowed,
    ObjectChanged,
    ObjectNotFound,
    PermanentError,
    RollcallError,
    ScratchUnavailable,
    VideoTooLarge,
)
from rollcall.core.gallery import Gallery
from rollcall.core.keys import report_key, result_key
from rollcall.core.protocols import ObjectStore, StudentStore, VideoFile
from rollcall.core.reports import (
    coverage_document,
    error_document,
    person_document,
    report_document,
)
from rollcall.core.result_messages import failure_message, result_message
from rollcall.core.results import render_csv
from rollcall.core.sampling import SCANS
from rollcall.core.settings import Settings
from rollcall.core.stopwatch import Stopwatch
from rollcall.core.types import ObjectInfo, Recognition, Student, VideoRef
from rollcall.recognition.recogniser import Recogniser
from rollcall.video.video_files import ObjectFile, WholeFile
from rollcall.video.video_folder import video_folder

log = logging.getLogger(__name__)

RANGES_FROM_BYTES = 8 << 20
"""Smaller videos are fetched whole, with one request; measured in docs/performance.md."""


class GallerySource(Protocol):
    """Where the gallery of the moment comes from. Raises GalleryUnavailable."""

    def current(self) -> Gallery: ...


class ResultQueue(Protocol):
    """Where a message about each video goes. Raises a TransientError."""

    def send(self, body: str, attributes: Mapping[str, str]) -> None: ...


@dataclass(frozen=True, slots=True)
class Pipeline:
    """The whole way of one video, from its key to its result."""

    settings: Settings
    store: ObjectStore
    students: StudentStore
    recogniser: Recogniser
    galleries: GallerySource
    results: ResultQueue | None = None

    def run(self, video: VideoRef) -> dict[str, Any]:
        """The answer of the function: status, work_id, video, people, output, timings_ms.

        Raises a PermanentError (a report of it is written, and a message sent, where they are
        wanted) or a TransientError. A repeat gives the same result under the same key.
        """
        try:
            return self._run(video)
        except PermanentError as error:
            self._report(video, error_document(video, error))
            self._announce(failure_message(video, error))
            raise

    def _run(self, video: VideoRef) -> dict[str, Any]:
        watch = Stopwatch()
        output = result_key(self._allowed(video).key)
        report_key(video.key)  # refused before the work, not after it
        with watch.stage("head"):
            info = self._look_up(video)
        if info is None:
            return {"status": "ignored", "reason": "the multipart upload is not complete yet"}
        gallery = self.galleries.current()
        recognition = self._recognised(info, gallery, watch)
        with watch.stage("students"):
            students = self._students(info.key, recognition)
        with watch.stage("head"):
            self._check_unchanged(info)
        with watch.stage("write"):
            body = render_csv(recognition.people, students)
            self._write(output, body, info, gallery, video.work_id)
        answer = {
            "status": recognition.status,
            "work_id": video.work_id,
            "video": {"bucket": info.bucket, "key": info.key, "etag": info.etag},
            "people": [person_document(person, students) for person in recognition.people],
            "coverage": coverage_document(recognition.coverage),
            "output": {"bucket": self.settings.output_bucket, "key": output},
            "timings_ms": watch.ms(),
        }
        self._report(video, report_document(answer, recognition))
        self._announce(result_message(answer, body))
        return answer

    def _allowed(self, video: VideoRef) -> VideoRef:
        if video.bucket != self.settings.input_bucket:
            raise BucketNotAllowed(
                f"the bucket {video.bucket!r} is not INPUT_BUCKET; nothing of it is read"
            )
        return video

    def _look_up(self, video: VideoRef) -> ObjectInfo | None:
        """HEAD is the truth: sizes in events are often wrong.

        It asks for the current version, not for the event's: there is one result per key.
        None for a `:Post` without object: some stores send it when a multipart upload starts.
        """
        try:
            info = self.store.head(video.bucket, video.key)
        except ObjectNotFound:
            if video.event_name == "ObjectCreated:Post":
                return None
            raise
        if info.size_bytes > self.settings.max_video_bytes:
            raise VideoTooLarge(
                f"{video.key!r} has {info.size_bytes} bytes, more than MAX_VIDEO_BYTES"
                f" ({self.settings.max_video_bytes})"
            )
        return info

    def _recognised(self, info: ObjectInfo, gallery: Gallery, watch: Stopwatch) -> Recognition:
        """What is wrong with an old upload says nothing of the one that replaced it meanwhile."""
        try:
            return self._recognise(info, gallery, watch)
        except PermanentError:
            self._check_unchanged(info)
            raise

    def _check_unchanged(self, info: ObjectInfo) -> None:
        """A slow call for an old upload must not overwrite the result of a newer one, nor write one
        for a video that is gone. Raises ObjectChanged or ObjectNotFound."""
        if self.store.head(info.bucket, info.key).etag != info.etag:
            raise ObjectChanged(f"{info.key!r} was replaced while it was looked at")

    def _recognise(self, info: ObjectInfo, gallery: Gallery, watch: Stopwatch) -> Recognition:
        """The key never becomes a file name, and the folder holds nothing else."""
        try:
            with video_folder() as folder:
                file = self._file(info, folder / "video", watch)
                return self.recogniser.recognise(file, gallery, watch)
        except OSError as error:
            raise ScratchUnavailable(
                f"the video cannot be kept while it is looked at: {error.strerror or error}; check"
                " the temporary folder"
            ) from error

    def _file(self, info: ObjectInfo, path: Path, watch: Stopwatch) -> VideoFile:
        """Large videos are read in ranges: a few frames need only a small part of the file."""
        if not SCANS[self.settings.scan].walks and info.size_bytes >= RANGES_FROM_BYTES:
            return ObjectFile(self.store, info, path, watch)
        with watch.stage("download"):
            self.store.download(info, path)
        return WholeFile(path)

    def _students(self, key: str, recognition: Recognition) -> dict[str, Student]:
        names = [person.name for person in recognition.people if person.name]
        found = {name: self.students.get(name) for name in names}
        known = {name: student for name, student in found.items() if student}
        if len(known) < len(found):
            missing, table = len(found) - len(known), self.settings.student_table
            people = "person has" if missing == 1 else "people have"
            log.warning("%r: %d recognised %s no record in %s", key, missing, people, table)
        return known

    def _write(
        self, key: str, body: bytes, info: ObjectInfo, gallery: Gallery, work_id: str
    ) -> None:
        metadata = {
            "source-etag": info.etag,
            "source-version": info.version_id,
            "gallery": gallery.version,
            "engine": self.recogniser.engine.name,
            "work-id": work_id,
        }
        self.store.write(self.settings.output_bucket, key, body, "text/csv", metadata)

    def _announce(self, message: str) -> None:
        """Unlike a report, a message is waited for: when it cannot be sent, the call has failed,
        and its repeat sends it."""
        if self.results:
            self.results.send(message, {})

    def _report(self, video: VideoRef, document: Mapping[str, Any]) -> None:
        """A report that cannot be written is logged: the result is there, or its error is on its
        way, and neither gets better by another call."""
        if not self.settings.report_bucket or video.bucket != self.settings.input_bucket:
            return
        body = json.dumps(document, indent=1).encode()
        try:
            bucket, key = self.settings.report_bucket, report_key(video.key)
            self.store.write(bucket, key, body, "application/json", {})
        except RollcallError as error:
            log.error("no report of %r: %s", video.key, error)
