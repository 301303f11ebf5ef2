"""Writes the corrected result of a video, and its report."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from rollcall.corrections.corrected_reports import CORRECTED
from rollcall.corrections.log_marks import Mark
from rollcall.corrections.reading_results import NAMES_AS_OF_METADATA, VideoResult
from rollcall.corrections.video_objects import VideoObjects


def write_result(
    objects: VideoObjects,
    found: VideoResult,
    body: bytes,
    report: Mapping[str, Any] | None,
    as_of: Mark,
) -> None:
    """Replace the result that was read, and then the report if there is one.

    `as_of` is the line of the log that the names follow. Raises ObjectChanged if somebody else has
    replaced one of the objects.
    """
    metadata = {**found.csv.metadata, CORRECTED: "yes", NAMES_AS_OF_METADATA: json.dumps(as_of)}
    if report is not None:
        del metadata[NAMES_AS_OF_METADATA]  # the report notes the line
        metadata["gallery"] = report["gallery"]
        if not report[CORRECTED]:
            del metadata[CORRECTED]
    objects.replace(found.csv, body, "text/csv", metadata)
    if report is not None and found.report_object:
        rendered, stored = json.dumps(report, indent=1).encode(), found.report_object
        objects.replace(stored, rendered, "application/json", stored.metadata)
