"""Makes the report of a corrected video, and its entry in the index. Nothing is read or written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from rollcall.core.gallery import Gallery
from rollcall.core.index_types import IndexedVideo
from rollcall.core.names import UNKNOWN
from rollcall.core.renaming import people_renamed, report_renamed
from rollcall.core.reports import corrected_report
from rollcall.core.types import Recognition, Student
from rollcall.corrections.deciding_names import NewNames
from rollcall.corrections.log_marks import Mark
from rollcall.corrections.name_changes import JOINED_BY, MERGED_BY, NAMES_AS_OF, joined_entries
from rollcall.index.documents import indexed_video

RECOGNISED_AS = "recognised_as"
"""Field of a corrected report: a digest of the people as they were recognised. If a later change
leads to the same people again, the result no longer counts as corrected."""

CORRECTED = "corrected"
"""Name of the metadata of a corrected result, and of the field of its report."""


def report_compared_again(
    report: Mapping[str, Any],
    recognition: Recognition,
    students: Mapping[str, Student],
    gallery: Gallery,
    as_of: Mark,
) -> dict[str, Any]:
    """The report after the stored faces were compared with the gallery."""
    document = corrected_report(report, recognition, students, gallery.version)
    return _marked(document, report, gallery, as_of)


def report_with_names(
    report: Mapping[str, Any], new: NewNames, students: Mapping[str, Student], gallery: Gallery
) -> dict[str, Any]:
    """The report with other names, and with the merges that led to them.

    Raises ValueError if the report has another form.
    """
    people = [dict(person) for person in report["people"]]
    for place, merges in new.merged_by.items():
        people[place][MERGED_BY] = merges
    document = report_renamed({**report, "people": people}, new.names, students)
    _, places = people_renamed(people, new.names, {})
    for place, joined_by in joined_entries(people, places).items():
        document["people"][place] |= {MERGED_BY: [], JOINED_BY: joined_by}
    for person in document["people"]:
        if not person.get(MERGED_BY):
            person.pop(MERGED_BY, None)
    return _marked(document, report, gallery, new.as_of)


def people_documents(video: IndexedVideo) -> list[dict[str, Any]]:
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


def video_with_people(
    video: IndexedVideo, people: list[dict[str, Any]], gallery: Gallery
) -> IndexedVideo:
    """The index entry of a video without a report, with other people."""
    named = {"video": {"bucket": video.bucket, "key": video.key}, "status": video.status}
    found = indexed_video({**named, "people": people})
    return replace(video, people=found.people, gallery=gallery.version, corrected=True)


def _marked(
    document: dict[str, Any], before: Mapping[str, Any], gallery: Gallery, as_of: Mark
) -> dict[str, Any]:
    """The document with the gallery's version, and with the facts about the correction if it
    differs from what was recognised."""
    recognised = before.get(RECOGNISED_AS) or _digest(before["people"])
    is_corrected = _digest(document["people"]) != recognised
    facts = {RECOGNISED_AS: recognised, NAMES_AS_OF: list(as_of)} if is_corrected else {}
    rest = {
        name: value for name, value in document.items() if name not in (RECOGNISED_AS, NAMES_AS_OF)
    }
    return {**rest, "gallery": gallery.version, CORRECTED: is_corrected, **facts}


def _digest(people: Iterable[Mapping[str, Any]]) -> str:
    """A digest of what was seen, without the student records."""
    fields = ("name", "intervals", "frames", "distance")
    seen = [[person.get(field) for field in fields] for person in people]
    return hashlib.sha256(json.dumps(seen).encode()).hexdigest()[:16]
