"""The JSON documents about a video: people, faces, or an error. They never contain encodings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rollcall.core.errors import RollcallError
from rollcall.core.index_types import KeptFaces
from rollcall.core.names import UNKNOWN, normalise_name
from rollcall.core.report_faces import face_without, faces_document
from rollcall.core.trace_context import trace_id_of, traceparent_of
from rollcall.core.types import (
    MIN_JUDGED_PX,
    Coverage,
    ObjectInfo,
    Person,
    Recognition,
    Student,
    VideoRef,
    recognition_status,
)

NOT_JUDGED_TEXTS = {
    "too small": f"smaller than {MIN_JUDGED_PX} px",
    "blurred": "too blurred",
    "turned": "turned too far away",
}
PROBLEMS = tuple(NOT_JUDGED_TEXTS)

COVERAGE_NUMBERS = (
    "looks",
    "longest_gap_s",
    "stopped_at_s",
    "faces",
    "ignored",
    "video_track",
    "video_tracks",
    "video_tracks_searched",
)
"""The fields of `coverage_document` that hold a number. `not_judged` holds one for each problem."""

LONG_GAP_S = 11.0
"""A longer gap between two looks is listed as a limit of the answer. With SCAN=auto, looks are at
most ten seconds apart, or up to a second more where the video has few frames."""

MAX_SHOWN_CHARS = 1100
"""Length at which texts are cut for the log. All keys are shorter."""


def person_document(
    person: Person,
    students: Mapping[str, Student],
    *,
    time_digits: int = 2,
    distance_digits: int = 3,
) -> dict[str, Any]:
    """One person in the function's answer. Numbers are rounded."""
    student = students.get(person.name, Student(person.name))
    return {
        "name": person.name or UNKNOWN,
        "major": student.major,
        "year": student.year,
        "first_seen_s": round(person.first_seen_s, time_digits),
        "last_seen_s": round(person.last_seen_s, time_digits),
        "intervals": intervals_document(person),
        "frames": person.frames,
        "distance": None if person.distance is None else round(person.distance, distance_digits),
        "certainty": person.certainty or None,
    }


def intervals_document(person: Person) -> list[list[float]]:
    """The intervals in which the person was in the video, as `[[start_s, end_s], ...]`."""
    return [[round(start_s, 2), round(end_s, 2)] for start_s, end_s in person.intervals]


def coverage_document(coverage: Coverage) -> dict[str, Any]:
    """What was searched, and how many faces could not be judged, by reason."""
    return {
        "looks": coverage.looks,
        "longest_gap_s": round(coverage.longest_gap_s, 2),
        "stopped_at_s": None if coverage.stopped_at_s is None else round(coverage.stopped_at_s, 2),
        "faces": coverage.faces,
        "not_judged": {problem: coverage.not_judged.get(problem, 0) for problem in PROBLEMS},
        "ignored": coverage.ignored,
        "video_track": coverage.track,
        "video_tracks": coverage.tracks,
        "video_tracks_searched": coverage.searched,
    }


def limits_of(coverage: Coverage) -> list[str]:
    """What the answer does not cover, each limit as a text of a few words."""
    limits = []
    if coverage.tracks > 1:
        unsearched = coverage.tracks - coverage.searched
        rest = f"; {unsearched} of them not searched" if unsearched else ""
        limits.append(f"used video track {coverage.track} of {coverage.tracks}{rest}")
    if coverage.stopped_at_s is not None:
        limits.append(f"stopped after the first clear frame at {coverage.stopped_at_s:.3g} s")
    elif coverage.longest_gap_s > LONG_GAP_S:
        limits.append(f"no look at the video for {coverage.longest_gap_s:.0f} s in a row")
    for problem in PROBLEMS:
        if count := coverage.not_judged.get(problem, 0):
            faces, were = ("face", "was") if count == 1 else ("faces", "were")
            limits.append(f"{count} {faces} {NOT_JUDGED_TEXTS[problem]} {were} not judged")
    if count := coverage.ignored:
        limits.append(f"left out {count} ignored {'person' if count == 1 else 'people'}")
    return limits


@dataclass(frozen=True, slots=True)
class AnswerFacts:
    """The facts in an answer other than the people. Times are Unix times."""

    work_id: str
    video: ObjectInfo
    output_bucket: str
    output_key: str
    recognised_s: float
    gallery: str
    """Version of the gallery."""
    engine: str
    kept: KeptFaces
    """What is stored of the faces."""


def answer_document(
    recognition: Recognition, students: Mapping[str, Student], facts: AnswerFacts
) -> dict[str, Any]:
    """The function's answer (contract 3.2), without the times of the stages."""
    video = facts.video
    return {
        **_found(recognition, students),
        "work_id": facts.work_id,
        "video": {"bucket": video.bucket, "key": video.key, "etag": video.etag},
        "output": {"bucket": facts.output_bucket, "key": facts.output_key},
        "duration_s": round(recognition.duration_s, 2),
        "uploaded_s": round(video.modified_s, 3),
        "recognised_s": round(facts.recognised_s, 3),
        "gallery": facts.gallery,
        "engine": facts.engine,
        "kept": facts.kept,
        "corrected": False,
    }


def report_document(
    answer: Mapping[str, Any], recognition: Recognition, video: VideoRef
) -> dict[str, Any]:
    """The report: the answer, and every face with its time, box, person and nearest person."""
    return {
        **answer,
        "trace_id": trace_id_of(traceparent_of(video)),
        "frames": recognition.frames,
        "faces": faces_document(recognition),
    }


def corrected_report(
    report: Mapping[str, Any],
    recognition: Recognition,
    students: Mapping[str, Student],
    gallery: str,
) -> dict[str, Any]:
    """The report of the same video after its stored faces were compared with a gallery again.

    `gallery` is the version. Facts that are not about the people do not change.
    """
    found = _found(recognition, students)
    found["coverage"]["faces"] = faces_of_search(found["coverage"], report.get("coverage"))
    changed = {"gallery": gallery, "corrected": True, "faces": faces_document(recognition)}
    return {**report, **found, **changed}


def faces_of_search(coverage: Mapping[str, Any], before: object) -> int:
    """How many faces the search found, for a coverage that was computed again from stored faces.

    There are fewer of these after a person was forgotten. The number of the coverage `before`
    shows that the video was not empty (`coverages.was_forgotten`).
    """
    found = before.get("faces") if isinstance(before, Mapping) else None
    return max(int(coverage["faces"]), found if isinstance(found, int) else 0)


def error_document(video: VideoRef, error: RollcallError, failed_s: float = 0.0) -> dict[str, Any]:
    """The report of a video that has no result. `failed_s` is a Unix time."""
    return {
        "status": "error",
        "work_id": video.work_id,
        "trace_id": trace_id_of(traceparent_of(video)),
        "video": {"bucket": video.bucket, "key": video.key, "etag": video.etag},
        "recognised_s": round(failed_s, 3),
        "error": describe_error(error),
    }


def _found(recognition: Recognition, students: Mapping[str, Student]) -> dict[str, Any]:
    """Who was found, and what was searched: the parts that a correction may change."""
    return {
        "status": recognition.status,
        "people": [person_document(person, students) for person in recognition.people],
        "coverage": coverage_document(recognition.coverage),
    }


def outcome_text(answer: Mapping[str, Any]) -> str:
    """The answer in a few words for the log: status, number of people, key of the result.

    The text contains no names of people. The answer may come from another program, so any field may
    be missing or have any type.
    """
    people, output = answer.get("people"), answer.get("output")
    parts = [_short(answer.get("status"))]
    if isinstance(people, list):
        unknown = sum(
            isinstance(person, dict) and person.get("name") == UNKNOWN for person in people
        )
        parts.append(f"people {len(people)}" + (f" ({unknown} unknown)" if unknown else ""))
    if isinstance(output, dict):
        parts.append(f"result {_short(output.get('bucket'))}/{_short(output.get('key'))}")
    return ", ".join(parts)


def _short(value: Any) -> str:
    """The text in printable form on one line; `?` if the value is not a text."""
    return repr(value[:MAX_SHOWN_CHARS])[1:-1] if isinstance(value, str) else "?"


def describe_error(error: RollcallError) -> dict[str, Any]:
    """The error as `{"code", "message", "retryable"}`."""
    return {"code": error.code, "message": str(error), "retryable": error.retryable}


def report_without(body: bytes, name: str) -> tuple[bytes, int]:
    """The report without a person, and the number of removed entries.

    The removed entries are the person, the person's faces, and the faces that are nearest to the
    person. The other faces keep their persons, whose places in `people` may have changed. If there
    is nothing to remove, the report is returned unchanged. Raises ValueError if the body is not a
    report.
    """
    try:
        report = json.loads(body)
        people, faces = report.get("people", []), report.get("faces", [])
        removed = normalise_name(name)
        stays = [normalise_name(entry["name"]) != removed for entry in people]
        report["people"] = [entry for entry, left in zip(people, stays, strict=True) if left]
        report["faces"] = [
            face for entry in faces if (face := face_without(entry, removed, stays)) is not None
        ]
    except (AttributeError, KeyError, RecursionError, TypeError) as error:
        raise ValueError("not a report") from error
    count = len(people) + len(faces) - len(report["people"]) - len(report["faces"])
    if not count:
        return body, 0
    # The name "unknown" in a report stands for a Person without a name.
    left = ["" if each["name"] == UNKNOWN else each["name"] for each in report["people"]]
    report["status"] = recognition_status(left)
    return json.dumps(report, indent=1).encode(), count
