"""Messages of the result queue: valid ones are parsed, others are rejected with a reason."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rollcall.core.errors import BadEvent
from rollcall.core.result_messages import parse_result
from rollcall.core.results import parse_csv, render_error

GOOD: dict[str, Any] = {
    "video": {"bucket": "in", "key": "week 1/é.mp4", "etag": "e"},
    "output": {"bucket": "out", "key": "week 1/é.csv"},
    "status": "recognised",
    "csv": "name\r\n",
    "error": None,
}
FAILED = {
    "video": GOOD["video"],
    "status": "failed",
    "error": {"code": "gone", "message": "why"},
}


def body(**changes: Any) -> bytes:
    return json.dumps({**GOOD, **changes}).encode()


@pytest.mark.parametrize("status", ["recognised", "unknown", "no_face"])
def test_a_valid_message_is_parsed(status: str) -> None:
    result = parse_result(body(status=status))
    assert (result.bucket, result.key, result.status) == ("in", "week 1/é.mp4", status)
    assert (result.output_bucket, result.output_key) == ("out", "week 1/é.csv")
    assert result.csv == "name\r\n"


def test_the_csv_may_be_in_the_output_bucket() -> None:
    assert parse_result(body(csv=None)).csv is None


def test_a_failure_needs_no_output() -> None:
    result = parse_result(json.dumps(FAILED).encode())
    assert (result.status, result.error_code, result.error_message) == ("failed", "gone", "why")


@pytest.mark.parametrize(
    "changes",
    [
        {"video": None},
        {"video": {"bucket": "in"}},
        {"video": {"key": "a.mp4"}},
        {"video": {"bucket": "in", "key": 7}},
        {"video": {"bucket": "in", "key": "é" * 513}},
        {"video": {"bucket": "in", "key": "\ud800"}},
        {"status": "error"},
        {"status": None},
        {"output": None},
        {"csv": ["name"]},
        {"status": "failed", "error": None},
        {"status": "failed", "error": "why"},
    ],
)
def test_invalid_fields_are_rejected(changes: dict[str, Any]) -> None:
    with pytest.raises(BadEvent):
        parse_result(body(**changes))


@pytest.mark.parametrize("text", [b"", b"no JSON", b"[]", b"null", b"[" * 100_000, b"\xff"])
def test_a_body_that_is_not_an_object_is_rejected(text: bytes) -> None:
    with pytest.raises(BadEvent):
        parse_result(text)


def test_the_csv_of_an_error_is_safe_in_a_spreadsheet_and_is_not_a_result() -> None:
    text = render_error("gone", '=HYPERLINK("x"),\nwhy')
    assert text.decode() == 'error,message\r\ngone,"\'=HYPERLINK(""x""), why"\r\n'
    with pytest.raises(ValueError, match="header"):
        parse_csv(text)
