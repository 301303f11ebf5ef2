"""The faces of a report in a short form, for the boxes over the player."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from rollcall.core.index_types import IndexedVideo
from rollcall.core.names import UNKNOWN
from rollcall.index.documents import NotAboutAVideo, indexed_video

MAX_BOXES = 50_000
"""Faces that are sent to the browser. A page with more would become slow."""

Box = tuple[float, int, int, int, int, int, str]
"""Time, left, top, width and height in pixels, number of the person (or -1), and why the face could
not be judged."""


class OtherPeople(Exception):
    """The report is about other people than the index, so a box would get a wrong name.

    A correction, like a recognition, writes the report first and the index afterwards.
    """


def boxes_of(report: object, video: IndexedVideo) -> list[Box]:
    """The faces in the order of their times.

    Raises OtherPeople, and ValueError if this is not a report.
    """
    if not isinstance(report, dict) or not isinstance(report.get("faces"), list):
        raise ValueError("not a report")
    if "people" in report and not _same_people(report, video):
        raise OtherPeople
    by_name = {seen.name or UNKNOWN: seen.number for seen in video.people}
    numbers = {seen.number for seen in video.people}
    return sorted(_boxes(report["faces"][:MAX_BOXES], by_name, numbers))


def _same_people(report: Mapping[str, Any], video: IndexedVideo) -> bool:
    """Whether the numbers of the people mean the same in the report and in the index."""
    try:
        reported = indexed_video(report)
    except NotAboutAVideo as error:
        raise ValueError("not a report") from error
    names = {seen.number: seen.name for seen in reported.people}
    return reported.etag == video.etag and names == {
        seen.number: seen.name for seen in video.people
    }


def _boxes(
    faces: Iterable[Any], by_name: Mapping[str, int], numbers: Iterable[int]
) -> Iterable[Box]:
    for face in faces:
        try:
            box, time_s = face["box_px"], float(face["time_s"])
            left, top = int(box["left"]), int(box["top"])
            width, height = int(box["right"]) - left, int(box["bottom"]) - top
            problem = str(face.get("not_judged") or "")[:40]
            # Reports of older versions do not name the person of a face.
            person = face["person"] if "person" in face else by_name.get(face.get("nearest"), -1)
        except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
            raise ValueError("a face of the report cannot be read") from error
        if math.isfinite(time_s):
            known = isinstance(person, int) and person in numbers and not problem
            yield time_s, left, top, width, height, person if known else -1, problem
