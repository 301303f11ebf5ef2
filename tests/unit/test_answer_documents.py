"""What the trigger stores of an answer until it is in the index."""

from __future__ import annotations

import json
from typing import Any

from support.index_samples import T0

from rollcall.core.index_documents import (
    MAX_DOCUMENT_CHARS,
    POINTER,
    answer_beside,
    answer_document,
    pointed_at,
)
from rollcall.core.retry import AttemptResult, read_answer
from rollcall.core.work import Work
from rollcall.index.documents import indexed_video

WORK = Work(1, "i", "videos", "a.mp4", "v1", "e1", "", "event", "running", 1, 1, T0, T0, "", "")


def result_of(**fields: Any) -> AttemptResult:
    answer = {
        "status": "recognised",
        "video": {"bucket": "videos", "key": "a.mp4", "etag": "e1"},
        "people": [{"name": "Ada", "intervals": [[0, 1]]}],
        "timings_ms": {},
        **fields,
    }
    return read_answer(200, json.dumps(answer, ensure_ascii=False).encode())


def test_an_answer_is_stored_as_it_came() -> None:
    result = read_answer(
        200, b'{"status": "no_face",\n "video": {"bucket": "videos", "key": "a.mp4"}}'
    )
    document = answer_document(WORK, result, has_reports=True)
    assert document == '{"status": "no_face",\n "video": {"bucket": "videos", "key": "a.mp4"}}'


def test_an_answer_in_another_encoding_is_stored_as_utf_8() -> None:
    body = json.dumps(result_of().answer).encode("utf-16")
    document = answer_document(WORK, read_answer(200, body), has_reports=True)
    assert indexed_video(json.loads(document)).people[0].name == "Ada"


def test_an_event_that_started_no_work_leaves_nothing() -> None:
    ignored = read_answer(200, b'{"status": "ignored", "reason": "x"}')
    assert answer_document(WORK, ignored, has_reports=True) == ""


def test_an_answer_about_another_video_is_stored_for_the_video_of_the_work() -> None:
    for video in ({"bucket": "videos", "key": "b.mp4", "etag": "x"}, "a.mp4", None):
        document = answer_document(WORK, result_of(video=video), has_reports=True)
        found = indexed_video(json.loads(document))
        assert (found.bucket, found.key, found.etag) == ("videos", "a.mp4", "e1")


def test_stored_faces_are_read_from_the_bucket() -> None:
    for kept in ("encodings", "pictures"):
        document = answer_document(WORK, result_of(kept=kept), has_reports=True)
        assert document.startswith(POINTER)
        assert pointed_at(json.loads(document)) == ("videos", "a.mp4")
        assert answer_beside(json.loads(document)) == result_of(kept=kept).answer
    document = answer_document(WORK, result_of(kept="encodings"), has_reports=False)
    assert pointed_at(json.loads(document)) is None


def test_an_answer_that_is_too_long_points_to_the_report() -> None:
    result = result_of(people=[{"name": "Ada", "intervals": [[n, n] for n in range(20_000)]}])
    document = answer_document(WORK, result, has_reports=True)
    assert pointed_at(json.loads(document)) == ("videos", "a.mp4")
    answer = answer_beside(json.loads(document))
    assert answer
    assert answer["people"] == [{"name": "Ada"}]
    assert len(document) < MAX_DOCUMENT_CHARS


def test_without_reports_a_long_answer_is_stored_without_intervals_or_people() -> None:
    intervals = [[n, n] for n in range(20_000)]
    people = [{"name": "Ada", "first_seen_s": 1, "last_seen_s": 9, "intervals": intervals}]
    document = answer_document(WORK, result_of(people=people), has_reports=False)
    assert indexed_video(json.loads(document)).people[0].intervals == ((1.0, 9.0),)
    people = [{"name": f"P{n}" * 9} for n in range(9000)]
    document = answer_document(WORK, result_of(people=people), has_reports=False)
    assert len(document) < MAX_DOCUMENT_CHARS
    assert indexed_video(json.loads(document)).status == "recognised"
