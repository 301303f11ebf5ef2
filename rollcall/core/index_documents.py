"""The documents that the trigger writes for the index when work ends (table `unindexed`).

A document is the function's answer, a short document about a failure, or a pointer, which makes the
indexer read the report. A pointer may have the answer, which is used if there is no report.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from rollcall.core.retry import AttemptResult
from rollcall.core.texts import storable
from rollcall.core.work import Work

IGNORED = "ignored"
"""Code of an event that started no work."""

MAX_DOCUMENT_CHARS = 100_000
"""Longest answer that is stored. An answer about fifty people in a long video is far shorter."""

POINTER = '{"see_report":'
"""Every pointer begins with this text, and no other document does."""

_NOT_INDEXED = ("timings_ms", "output")


def answer_document(work: Work, result: AttemptResult, *, has_reports: bool) -> str:
    """The document about work that is done; empty if no video was recognised.

    If faces are stored, the document is a pointer with the answer, so that the indexer reads them.
    The same applies to an answer that is too long, if the videos have reports. An answer that is
    too long is stored without intervals, and if it is still too long, without people.
    """
    if result.code == IGNORED or not result.answer:
        return ""
    text = _answer_text(work, result)
    has_faces = has_reports and result.answer.get("kept") in ("encodings", "pictures")
    if has_faces or (has_reports and len(text) > MAX_DOCUMENT_CHARS):
        pointer = pointer_document(work.bucket, work.key)
        return f'{pointer[:-1]}, "answer": {_shortened(text)}}}'
    return _shortened(text)


def _answer_text(work: Work, result: AttemptResult) -> str:
    """The answer as JSON, about the video of the work."""
    answer = result.answer or {}
    video = answer.get("video")
    is_same = isinstance(video, dict) and (video.get("bucket"), video.get("key")) == (
        work.bucket,
        work.key,
    )
    # The text is stored as the function sent it, because rendering it again costs CPU time.
    if is_same and 0 < len(result.text) <= MAX_DOCUMENT_CHARS:
        return result.text
    fields = {name: value for name, value in answer.items() if name not in _NOT_INDEXED}
    etag = video.get("etag") if is_same and isinstance(video, dict) else work.etag
    fields["video"] = {"bucket": work.bucket, "key": work.key, "etag": etag}
    return json.dumps(fields)


def _shortened(text: str) -> str:
    """The answer; if it is too long without intervals, and if that is too long without people."""
    if len(text) <= MAX_DOCUMENT_CHARS:
        return text
    fields = json.loads(text)
    people = fields.get("people")
    fields["people"] = [
        {name: value for name, value in person.items() if name != "intervals"}
        for person in (people if isinstance(people, list) else ())
        if isinstance(person, dict)
    ]
    text = json.dumps(fields)
    return text if len(text) <= MAX_DOCUMENT_CHARS else json.dumps({**fields, "people": []})


def failed_document(work: Work, code: str, message: str) -> str:
    """The document about a dead letter."""
    return json.dumps(
        {
            "status": "error",
            "work_id": work.work_id,
            "video": {"bucket": work.bucket, "key": work.key, "etag": work.etag},
            "uploaded_s": work.uploaded_s,
            "error": {"code": code, "message": message},
        }
    )


def pointer_document(bucket: str, key: str) -> str:
    """A document that makes the indexer read the report of a video, and its stored faces."""
    return json.dumps({"see_report": {"bucket": bucket, "key": key}})


def pointed_at(document: Mapping[str, Any]) -> tuple[str, str] | None:
    """Bucket and key of the video whose report has to be read; None if it is not a pointer.

    Databases can store both texts. There is no report for a key that had to be changed for that.
    """
    video = document.get("see_report")
    if not isinstance(video, dict):
        return None
    bucket, key = video.get("bucket"), video.get("key")
    if not isinstance(bucket, str) or not isinstance(key, str):
        return None
    return storable(bucket), storable(key)


def answer_beside(document: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The answer in a pointer; None if it has none."""
    answer = document.get("answer")
    return answer if isinstance(answer, dict) else None
