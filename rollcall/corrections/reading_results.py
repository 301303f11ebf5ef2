"""Reads the result of a video that may have to be corrected, and its report."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from rollcall.core.errors import PermanentError
from rollcall.core.index_types import IndexedVideo
from rollcall.corrections.name_changes import NAMES_AS_OF
from rollcall.corrections.video_objects import SOURCE_ETAG, StoredObject, VideoObjects

NAMES_AS_OF_METADATA = "names-as-of"
"""Name of the metadata of a corrected result without a report: the line that its names follow."""


class Newer(Exception):
    """The video has a newer result, or soon will have: there is nothing to correct."""


class VideoResult(NamedTuple):
    """The result of a video, and its report if there is one."""

    csv: StoredObject
    report_object: StoredObject | None
    report: dict[str, Any] | None
    """The document of `report_object`."""

    @property
    def names_as_of(self) -> object:
        """The line of the log that the names follow (`log_marks`), if one was noted."""
        if self.report is not None:
            return self.report.get(NAMES_AS_OF)
        try:
            return json.loads(self.csv.metadata.get(NAMES_AS_OF_METADATA, "null"))
        except ValueError:
            return None


def read_result(objects: VideoObjects, video: IndexedVideo) -> VideoResult:
    """Read the result and the report.

    Raises Newer if they are about another upload of the video, and PermanentError if there is no
    result to correct.
    """
    csv = objects.result(video.key)
    if csv is None:
        raise PermanentError(f"the result of {video.key!r} was deleted, so it is not written again")
    report_object, report = objects.report(video.key) or (None, None)
    # Other programs may have copied a result without its metadata.
    told = (csv.metadata.get(SOURCE_ETAG), _etag_of(report) if report else "")
    etags = {etag for etag in told if etag}
    if not etags:
        raise PermanentError(f"the result of {video.key!r} does not say of which upload it is")
    if etags != {video.etag} or not objects.is_current(video.bucket, video.key, video.etag):
        raise Newer
    return VideoResult(csv, report_object, report)


def _etag_of(report: Mapping[str, Any]) -> str:
    video = report.get("video")
    etag = video.get("etag") if isinstance(video, dict) else None
    return etag if isinstance(etag, str) else ""
