"""The messages for RESULT_WEBHOOK_URL."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.work_queues import T0

from rollcall.core.keys import MAX_KEY_BYTES
from rollcall.core.retry import MAX_MESSAGE_CHARS, AttemptResult, read_answer
from rollcall.core.work import Work
from rollcall.trigger.result_notices import FAILED, FINISHED, MAX_BODY_BYTES, ResultNotices

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
KEY = "week 1/lecture.mp4"
WORK = Work(
    id=7,
    identity="id:1",
    bucket="videos",
    key=KEY,
    version_id="v1",
    etag="e1",
    event_name="ObjectCreated:Put",
    origin="event",
    state="running",
    attempts=1,
    calls=1,
    received_s=T0,
    changed_s=T0,
    code="",
    message="",
    traceparent=TRACE,
)
ADA = {
    "name": "ada",
    "major": "mathematics",
    "year": "senior",
    "first_seen_s": 0.0,
    "last_seen_s": 4.5,
    "intervals": [[0.0, 1.0], [3, 4.5]],
    "frames": 9,
    "distance": 0.391,
    "certainty": "clear",
}
COVERAGE = {
    "looks": 9,
    "longest_gap_s": 1.0,
    "stopped_at_s": None,
    "faces": 9,
    "ignored": 0,
    "not_judged": {"too small": 1, "blurred": 0, "turned": 0},
    "video_track": 1,
    "video_tracks": 1,
    "video_tracks_searched": 1,
}
ANSWER = {
    "status": "recognised",
    "work_id": WORK.work_id,
    "video": {"bucket": "videos", "key": KEY, "etag": "e1"},
    "people": [ADA],
    "coverage": COVERAGE,
    "output": {"bucket": "results", "key": "week 1/lecture.csv"},
    "timings_ms": {"head": 3},
}
DEAD = AttemptResult("dead", "not_a_video", "nothing in it can be decoded")


def result_of(answer: dict[str, Any]) -> AttemptResult:
    """The result that the function's answer becomes on its way through the caller."""
    return read_answer(200, json.dumps(answer).encode())


def event(
    result: AttemptResult, work: Work = WORK, notices: ResultNotices | None = None
) -> dict[str, Any]:
    written = (notices or ResultNotices("reports", lambda: T0)).write(work, result)
    assert written is not None
    assert len(written.body.encode()) <= MAX_BODY_BYTES
    document: dict[str, Any] = json.loads(written.body, parse_constant=pytest.fail)
    assert document["id"] == written.message_id
    return document


def test_a_finished_video_has_the_function_s_answer_as_its_message() -> None:
    document = event(result_of(ANSWER))
    assert re.fullmatch("msg_[0-9a-f]{32}", document.pop("id"))
    assert datetime.fromisoformat(document.pop("time")).timestamp() == T0
    assert document == {
        "specversion": "1.0",
        "source": "s3://videos",
        "type": "rollcall.video.finished",
        "subject": KEY,
        "datacontenttype": "application/json",
        "traceparent": TRACE,
        "data": {
            "work_id": WORK.work_id,
            "status": "recognised",
            "video": {"bucket": "videos", "key": KEY, "version_id": "v1", "etag": "e1"},
            "people": [ADA],
            "people_left_out": 0,
            "intervals_left_out": False,
            "coverage": COVERAGE,
            "output": ANSWER["output"],
            "report": {"bucket": "reports", "key": "week 1/lecture.mp4.json"},
            "error": None,
        },
    }


@pytest.mark.parametrize("status", ["unknown", "no_face"])
def test_videos_without_a_known_person_are_reported_too(status: str) -> None:
    document = event(result_of({**ANSWER, "status": status, "people": []}))
    assert (document["type"], document["data"]["status"]) == (FINISHED, status)
    assert document["data"]["people"] == []


def test_a_failed_video_has_its_error_as_its_message() -> None:
    document = event(DEAD)
    data = document["data"]
    assert (document["type"], data["status"]) == (FAILED, "failed")
    assert data["error"] == {"code": "not_a_video", "message": "nothing in it can be decoded"}
    assert (data["people"], data["output"], data["coverage"]) == ([], None, None)
    assert data["video"] == {"bucket": "videos", "key": KEY, "version_id": "v1", "etag": "e1"}


def test_an_event_that_started_no_work_has_no_message() -> None:
    ignored = result_of({"status": "ignored", "reason": "the upload is not complete"})
    assert ignored.outcome == "done"
    assert ResultNotices().write(WORK, ignored) is None


def test_each_result_has_an_id_of_its_own() -> None:
    assert event(DEAD)["id"] != event(DEAD)["id"]


def test_the_version_is_left_out_if_another_one_was_recognised() -> None:
    newer = {**ANSWER, "video": {"bucket": "videos", "key": KEY, "etag": "e2"}}
    video = event(result_of(newer))["data"]["video"]
    assert (video["etag"], video["version_id"]) == ("e2", "")


def test_without_reports_there_is_no_place_of_one() -> None:
    assert event(DEAD, notices=ResultNotices())["data"]["report"] is None
    long_key = "k" * (MAX_KEY_BYTES - 4) + ".mp4"
    assert event(DEAD, replace(WORK, key=long_key))["data"]["report"] is None


def test_without_a_trace_there_is_no_traceparent() -> None:
    assert "traceparent" not in event(DEAD, replace(WORK, traceparent=""))


def test_the_subject_contains_only_characters_that_cloudevents_allow() -> None:
    key = "a\n\x85\ufffe\ufdd0\U0010ffffä😀.mp4"
    document = event(DEAD, replace(WORK, key=key))
    assert document["subject"] == "a" + "\ufffd" * 5 + "ä😀.mp4"
    assert document["data"]["video"]["key"] == key


def test_fields_that_are_not_listed_are_never_sent() -> None:
    encoding = [0.125] * 128
    person = {**ADA, "encoding": encoding, "major": encoding, "intervals": [encoding, [0, 1]]}
    hostile = {
        **ANSWER,
        "people": [person, "x"],
        "encodings": [encoding],
        "coverage": {**COVERAGE, "faces": encoding, "extra": encoding},
    }
    data = event(result_of(hostile))["data"]
    assert "0.125" not in json.dumps(data)
    assert data["people"] == [{**ADA, "major": None, "intervals": [[0, 1]]}]
    assert data["coverage"] == {**COVERAGE, "faces": None}


def crowd(people: int, intervals: int) -> dict[str, Any]:
    times = [[float(second), second + 0.5] for second in range(intervals)]
    return {
        **ANSWER,
        "people": [{**ADA, "name": f"person {n}", "intervals": times} for n in range(people)],
    }


def test_the_intervals_of_a_long_video_are_left_out_first() -> None:
    data = event(result_of(crowd(people=30, intervals=400)))["data"]
    assert (data["intervals_left_out"], data["people_left_out"]) == (True, 0)
    assert [person["intervals"] for person in data["people"]] == [[]] * 30
    assert data["people"][0]["last_seen_s"] == 4.5


def test_of_a_crowd_the_last_people_are_left_out() -> None:
    data = event(result_of(crowd(people=1000, intervals=1)))["data"]
    shown = len(data["people"])
    assert data["people_left_out"] == 1000 - shown
    assert data["people"][-1]["name"] == f"person {shown - 1}"
    # Another person would not have fitted.
    assert len(json.dumps(data)) > MAX_BODY_BYTES - 1000


def test_the_longest_key_and_error_fit() -> None:
    work = replace(WORK, key="\x01" * (MAX_KEY_BYTES - 10) + ".mp4", traceparent=TRACE)
    event(replace(DEAD, message="\x01" * MAX_MESSAGE_CHARS), work)
    output = {"bucket": "b", "key": "\x01" * MAX_KEY_BYTES}
    people = [{**ADA, "name": "\x01" * 10_000}] * 100
    event(result_of({**ANSWER, "output": output, "people": people}), work)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(
    people=JSON | st.lists(st.dictionaries(st.sampled_from([*ADA]), JSON)),
    coverage=JSON | st.dictionaries(st.sampled_from([*COVERAGE]), JSON),
    output=JSON | st.fixed_dictionaries({"bucket": JSON, "key": JSON}),
    video=JSON,
)
def test_any_answer_gives_a_message_that_other_parsers_read(**fields: Any) -> None:
    document = event(result_of({**ANSWER, **fields}))
    assert document["data"]["status"] == "recognised"
    for person in document["data"]["people"]:
        assert set(person) == set(ADA)


@pytest.mark.parametrize("number", [math.nan, math.inf, 2**53 + 1, 10**400])
def test_numbers_that_other_parsers_change_are_left_out(number: float) -> None:
    result = replace(result_of(ANSWER), answer={"people": [{**ADA, "frames": number}]})
    assert event(result)["data"]["people"][0]["frames"] is None
