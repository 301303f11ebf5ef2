"""Processes one video: download -> frames -> faces -> people -> student records -> CSV."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rollcall.core.errors import (
    BucketNotAllowed,
    ObjectChanged,
    ObjectNotFound,
    PermanentError,
    ScratchUnavailable,
    VideoTooLarge,
)
from rollcall.core.gallery import Gallery
from rollcall.core.keys import faces_key, report_key, result_key
from rollcall.core.protocols import GallerySource, ObjectStore, ResultQueue, StudentStore, VideoFile
from rollcall.core.reports import (
    AnswerFacts,
    answer_document,
    error_document,
    report_document,
)
from rollcall.core.result_messages import failure_message, result_message
from rollcall.core.results import render_csv
from rollcall.core.sampling import SCANS
from rollcall.core.settings import Settings
from rollcall.core.stopwatch import Stopwatch
from rollcall.core.types import ObjectInfo, Recognition, Student, VideoRef
from rollcall.recognition.recogniser import Recogniser
from rollcall.report_bucket import ReportBucket
from rollcall.video.video_files import ObjectFile, WholeFile
from rollcall.video.video_folder import video_folder

log = logging.getLogger(__name__)

RANGES_FROM_BYTES = 8 << 20
"""Smallest size of a video that is read in ranges (except by SCAN=timeline). Smaller videos are
fetched whole, because one request is faster than several (docs/performance.md,
docs/decisions/0012)."""


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Recognises the people in a video and writes the result. Keeps no state between videos."""

    settings: Settings
    store: ObjectStore
    students: StudentStore
    recogniser: Recogniser
    galleries: GallerySource
    results: ResultQueue | None = None

    def run(self, video: VideoRef) -> dict[str, Any]:
        """Process one video and return the function's answer (contract 3.2).

        A repeated call writes the same result under the same key. Raises a TransientError or a
        PermanentError. Before a PermanentError is raised, it is written to REPORT_BUCKET and sent
        to RESULT_QUEUE_URL, if these are set.
        """
        try:
            return self._run(video)
        except PermanentError as error:
            self._report_error(video, error)
            self._send_message(failure_message(video, error))
            raise

    def _run(self, video: VideoRef) -> dict[str, Any]:
        watch = Stopwatch()
        self._check_bucket(video)
        output = result_key(video.key)
        report_key(video.key)  # raises KeyNotUsable before the work instead of after it
        if self.settings.keep_faces != "none":
            faces_key(video.key)
        with watch.stage("head"):
            info = self._look_up_video(video)
        if info is None:
            return {"status": "ignored", "reason": "the multipart upload is not complete yet"}
        gallery = self.galleries.current()
        recognition = self._recognise_unchanged(info, gallery, watch)
        with watch.stage("students"):
            students = self._look_up_students(info.key, recognition)
        with watch.stage("head"):
            self._check_unchanged(info)
        with watch.stage("write"):
            body = render_csv(recognition.people, students)
            self._write_result(output, body, info, gallery, video.work_id)
            # The faces come before the report, so that no report promises faces that are missing.
            kept = self._reports.write_faces(info, recognition, self.recogniser.engine.space)
        facts = AnswerFacts(
            video.work_id,
            info,
            self.settings.output_bucket,
            output,
            recognised_s=time.time(),
            gallery=gallery.version,
            engine=self.recogniser.engine.name,
            kept=kept,
        )
        answer = answer_document(recognition, students, facts) | {"timings_ms": watch.ms()}
        self._reports.write_report(info.key, report_document(answer, recognition, video))
        if kept == "none":
            self._reports.delete_faces(info.key)
        self._send_message(result_message(answer, body))
        return answer

    def _check_bucket(self, video: VideoRef) -> None:
        if video.bucket != self.settings.input_bucket:
            raise BucketNotAllowed(
                f"the bucket {video.bucket!r} is not INPUT_BUCKET"
                f" ({self.settings.input_bucket!r}), so its videos are not read"
            )

    def _look_up_video(self, video: VideoRef) -> ObjectInfo | None:
        """The current version of the video; None while its multipart upload is not complete."""
        # The version and the size in the event are ignored. A key has one result, that of the
        # current version, and the sizes in events are often wrong.
        try:
            info = self.store.head(video.bucket, video.key)
        except ObjectNotFound:
            # Some stores send this event when a multipart upload starts, and another one when it
            # is complete.
            if video.event_name == "ObjectCreated:Post":
                return None
            raise
        if info.size_bytes > self.settings.max_video_bytes:
            raise VideoTooLarge(
                f"{video.key!r} has {info.size_bytes} bytes, more than MAX_VIDEO_BYTES"
                f" ({self.settings.max_video_bytes})"
            )
        return info

    def _recognise_unchanged(
        self, info: ObjectInfo, gallery: Gallery, watch: Stopwatch
    ) -> Recognition:
        """Recognise the video. If it was replaced, ObjectChanged is raised instead of its error."""
        try:
            return self._recognise(info, gallery, watch)
        except PermanentError:
            # An error in the old upload must not end the work on the new one.
            self._check_unchanged(info)
            raise

    def _check_unchanged(self, info: ObjectInfo) -> None:
        """Raise ObjectChanged or ObjectNotFound if the object is not the one that was read.

        A slow call for an old upload must not overwrite the result of a newer one, and a deleted
        video must not get a result.
        """
        if self.store.head(info.bucket, info.key).etag != info.etag:
            raise ObjectChanged(f"{info.key!r} was replaced while it was being recognised")

    def _recognise(self, info: ObjectInfo, gallery: Gallery, watch: Stopwatch) -> Recognition:
        try:
            # FFmpeg interprets some file names, and some videos make it open files beside them. So
            # the key is not used as a file name, and the folder contains nothing else.
            with video_folder() as folder:
                file = self._fetch(info, folder / "video", watch)
                return self.recogniser.recognise(file, gallery, watch)
        except OSError as error:
            raise ScratchUnavailable(
                f"the video cannot be stored in the temporary folder: {error.strerror or error};"
                " make room there, or make it writable (TMPDIR)"
            ) from error

    def _fetch(self, info: ObjectInfo, path: Path, watch: Stopwatch) -> VideoFile:
        # Large videos are read in ranges, because a few frames need only a small part of the file.
        # `timeline` decodes every frame and therefore needs the whole file.
        if not SCANS[self.settings.scan].walks and info.size_bytes >= RANGES_FROM_BYTES:
            return ObjectFile(self.store, info, path, watch)
        with watch.stage("download"):
            self.store.download(info, path)
        return WholeFile(path)

    def _look_up_students(self, key: str, recognition: Recognition) -> dict[str, Student]:
        """The records of the recognised people, by name. `key` is for the log."""
        names = [person.name for person in recognition.people if person.name]
        records = {name: self.students.get(name) for name in names}
        students = {name: student for name, student in records.items() if student}
        if missing := len(records) - len(students):
            # The log must not contain names, so only the people without a record are counted.
            people = "person has" if missing == 1 else "people have"
            table = self.settings.student_table
            log.warning("%r: %d recognised %s no record in %s", key, missing, people, table)
        return students

    def _write_result(
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

    def _send_message(self, message: str) -> None:
        # Unlike a report, the message is part of the result, because the worker waits for it. If it
        # cannot be sent, a TransientError makes the caller repeat the call.
        if self.results:
            self.results.send(message, {})

    @property
    def _reports(self) -> ReportBucket:
        settings = self.settings
        return ReportBucket(self.store, settings.report_bucket, settings.keep_faces)

    def _report_error(self, video: VideoRef, error: PermanentError) -> None:
        """Replace what the report bucket holds about this key with the error."""
        if video.bucket == self.settings.input_bucket:
            self._reports.write_report(video.key, error_document(video, error, time.time()))
            self._reports.delete_faces(video.key)
