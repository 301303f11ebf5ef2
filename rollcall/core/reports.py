"""The JSON documents about a video: people, every face, or the error. Never an encoding."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from rollcall.core.errors import RollcallError
from rollcall.core.face_quality import MIN_JUDGED_PX
from rollcall.core.names import UNKNOWN, normalise_name
from rollcall.core.types import Coverage, Person, Recognition, Sighting, Student, VideoRef

WHY_NOT_JUDGED = {
    "too small": f"smaller than {MIN_JUDGED_PX} px",
    "blurred": "too blurred",
    "turned": "turned too far away",
}
PROBLEMS = tuple(WHY_NOT_JUDGED)

LONG_GAP_S = 11.0
"""Looks of `auto` are ten seconds apart, and up to a second more where frames are rare."""

MAX_SHOWN_CHARS = 1100
"""Longer than any key."""

STALE_GALLERY = "X-Rollcall-Gallery-Stale"
"""Header of an answer that was found with an old gallery, because the new one cannot be read."""


def person_document(person: Person, students: Mapping[str, Student]) -> dict[str, Any]:
    """One person in the answer of the function."""
    student = students.get(person.name, Student(person.name))
    return {
        "name": person.name or UNKNOWN,
        "major": student.major,
        "year": student.year,
        "first_seen_s": round(person.first_seen_s, 2),
        "last_seen_s": round(person.last_seen_s, 2),
        "intervals": intervals_document(person),
        "frames": person.frames,
        "distance": None if person.distance is None else round(person.distance, 3),
        "certainty": person.certainty or None,
    }


def intervals_document(person: Person) -> list[list[float]]:
    """`[[start_s, end_s], ...]`"""
    return [[round(start_s, 2), round(end_s, 2)] for start_s, end_s in person.intervals]


def coverage_document(coverage: Coverage) -> dict[str, Any]:
    """Looks, gaps, and the faces that could not be judged, by reason."""
    return {
        "looks": coverage.looks,
        "longest_gap_s": round(coverage.longest_gap_s, 2),
        "stopped_at_s": None if coverage.stopped_at_s is None else round(coverage.stopped_at_s, 2),
        "faces": coverage.faces,
        "not_judged": {problem: coverage.not_judged.get(problem, 0) for problem in PROBLEMS},
        "video_track": coverage.track,
        "video_tracks": coverage.tracks,
        "video_tracks_searched": coverage.searched,
    }


def limits_of(coverage: Coverage) -> list[str]:
    """The limits of the answer, each as a sentence without a full stop."""
    found = []
    if coverage.tracks > 1:
        unsearched = coverage.tracks - coverage.searched
        rest = f"; {unsearched} of them not searched" if unsearched else ""
        found.append(f"used video track {coverage.track} of {coverage.tracks}{rest}")
    if coverage.stopped_at_s is not None:
        found.append(f"stopped after the first clear frame at {coverage.stopped_at_s:.3g} s")
    elif coverage.longest_gap_s > LONG_GAP_S:
        found.append(f"no look at the video for {coverage.longest_gap_s:.0f} s in a row")
    for problem in PROBLEMS:
        if count := coverage.not_judged.get(problem, 0):
            faces, were = ("face", "was") if count == 1 else ("faces", "were")
            found.append(f"{count} {faces} {WHY_NOT_JUDGED[problem]} {were} not judged")
    return found


def report_document(answer: Mapping[str, Any], recognition: Recognition) -> dict[str, Any]:
    """The answer, and every face with its box, time and nearest identity."""
    return {
        **answer,
        "duration_s": round(recognition.duration_s, 2),
        "frames": recognition.frames,
        "faces": [_face_document(sighting) for sighting in recognition.sightings],
    }


def error_document(video: VideoRef, error: RollcallError) -> dict[str, Any]:
    """Why a video has no result."""
    return {
        "status": "error",
        "work_id": video.work_id,
        "video": {"bucket": video.bucket, "key": video.key, "etag": video.etag},
        "error": describe_error(error),
    }


def outcome_text(answer: Mapping[str, Any]) -> str:
    """An answer in a few words for a log, without anybody's name: status, number of people, result.

    The answer may come from elsewhere, so nothing of its form is taken for granted.
    """
    people, output = answer.get("people"), answer.get("output")
    parts = [_short(answer.get("status"))]
    if isinstance(people, list):
        unknown = sum(isinstance(each, dict) and each.get("name") == UNKNOWN for each in people)
        parts.append(f"people {len(people)}" + (f" ({unknown} unknown)" if unknown else ""))
    if isinstance(output, dict):
        parts.append(f"result {_short(output.get('bucket'))}/{_short(output.get('key'))}")
    return ", ".join(parts)


def _short(value: Any) -> str:
    """Printable, and on one line."""
    return repr(value[:MAX_SHOWN_CHARS])[1:-1] if isinstance(value, str) else "?"


def describe_error(error: RollcallError) -> dict[str, Any]:
    """`{"code", "message", "retryable"}`."""
    return {"code": error.code, "message": str(error), "retryable": error.retryable}


def report_without(body: bytes, name: str) -> tuple[bytes, int]:
    """The report without that person and the faces nearest to them, and how many entries those
    were. Raises ValueError when it is not a report of ours.
    """
    try:
        report = json.loads(body)
        people, faces = report.get("people", []), report.get("faces", [])
        gone = normalise_name(name)
        report["people"] = [each for each in people if normalise_name(each["name"]) != gone]
        report["faces"] = [each for each in faces if normalise_name(each["nearest"] or "") != gone]
    except (AttributeError, KeyError, RecursionError, TypeError) as error:
        raise ValueError("not a report") from error
    count = len(people) + len(faces) - len(report["people"]) - len(report["faces"])
    if not count:
        return body, 0
    report["status"] = _status(report["people"])
    return json.dumps(report, indent=1).encode(), count


def _status(people: list[dict[str, Any]]) -> str:
    """As `Recognition` tells it, of the people who are left."""
    named = any(person["name"] != UNKNOWN for person in people)
    return "recognised" if named else "unknown" if people else "no_face"


def _face_document(sighting: Sighting) -> dict[str, Any]:
    match = sighting.match
    return {
        "time_s": round(sighting.time_s, 3),
        "box_px": sighting.face.box._asdict(),
        "not_judged": sighting.face.problem or None,
        "nearest": match.name if match else None,
        "distance": round(match.distance, 3) if match else None,
    }
