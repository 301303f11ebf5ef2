"""Contract 3.2 as its caller reads it: done, try again, or dead letter."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollcall.core.errors import PermanentError, RollcallError, TransientError
from rollcall.core.reports import describe_error
from rollcall.core.retry import (
    FEW_ATTEMPTS,
    FIRST_DELAY_S,
    MAX_BUSY_DELAY_S,
    MAX_DELAY_S,
    Verdict,
    backoff_s,
    judge,
)


def body(document: Any) -> bytes:
    return json.dumps(document).encode()


def error(code: str = "gone", message: Any = "why", retryable: Any = False) -> bytes:
    return body({"error": {"code": code, "message": message, "retryable": retryable}})


@pytest.mark.parametrize("status", ["recognised", "unknown", "no_face", "ignored"])
def test_200_with_a_status_is_done(status: str) -> None:
    wanted = Verdict("done", status, outcome_text=status)
    assert judge(200, body({"status": status})) == wanted


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({"people": [], "output": {"bucket": "b", "key": "k"}}, "recognised, people 0, result b/k"),
        ({"people": [{"name": "unknown"}, 7]}, "recognised, people 2 (1 unknown)"),
        ({"people": {}, "output": []}, "recognised"),
        ({"output": {"bucket": 7, "key": "a\nb\ud800"}}, r"recognised, result ?/a\nb\ud800"),
        ({"people": [{"name": "Ada"}]}, "recognised, people 1"),
    ],
)
def test_the_outcome_is_one_line_without_names(more: dict[str, Any], text: str) -> None:
    assert judge(200, body({"status": "recognised", **more})).outcome_text == text


@pytest.mark.parametrize(
    ("status", "code"),
    [(400, "bad_event"), (404, "gone"), (413, "too_large"), (422, "not_a_video")],
)
def test_a_refusal_by_the_function_is_a_dead_letter(status: int, code: str) -> None:
    assert judge(status, error(code, "not there")) == Verdict("dead", code, "not there")


@pytest.mark.parametrize("status", [400, 403, 404, 413, 422, 500, 502, 503])
@pytest.mark.parametrize(
    "foreign",
    [
        error("some_code"),
        error("not_found", "no such route"),
        error("gone", retryable=True),
        error("gone", retryable=None),
        error("gone", retryable="false"),
        error("gone", message=None),
        error("gone", message=["not", "text"]),
        error("internal", retryable=False),
        error("error"),
        body({"error": {"code": "gone"}}),
        body({"error": {"code": ["gone"], "message": "why", "retryable": False}}),
        body([{"error": {"code": "gone", "message": "why", "retryable": False}}]),
        b"Can't reach service for: face-recognition.",
        b"",
    ],
    ids=lambda each: repr(each[:60]),
)
def test_an_error_that_the_function_did_not_write_is_tried_as_often_as_a_503(
    status: int, foreign: bytes
) -> None:
    """The watchdog answers an empty 500 while the process does not listen; proxies write pages."""
    verdict = judge(status, foreign, "7")
    assert (verdict.outcome, verdict.code) == ("retry", f"http_{status}")
    assert (verdict.counts, verdict.max_attempts, verdict.retry_after_s) == (True, None, 7.0)


@pytest.mark.parametrize("status", [400, 404, 413, 422, 500, 503])
def test_a_code_of_ours_with_another_status_is_not_ours(status: int) -> None:
    codes = {400: "gone", 404: "bad_event", 413: "gone", 422: "gone", 500: "gone", 503: "internal"}
    verdict = judge(status, error(codes[status], retryable=status >= 500))
    assert (verdict.outcome, verdict.code) == ("retry", f"http_{status}")


def test_what_another_program_says_is_quoted_in_one_line() -> None:
    verdict = judge(500, b"Can't reach\nservice for: face-recognition.\xff" + b"x" * 5000)
    assert "answer 500" in verdict.message
    assert "Can't reach service for: face-recognition." in verdict.message
    assert len(verdict.message) < 300


def test_503_is_tried_again_when_the_function_says() -> None:
    verdict = judge(503, error("store_unavailable", "down", retryable=True), "17")
    assert verdict == Verdict("retry", "store_unavailable", "down", 17.0)


def test_500_is_tried_few_times() -> None:
    verdict = judge(500, error("internal", "call 7", retryable=True))
    assert (verdict.outcome, verdict.code, verdict.message) == ("retry", "internal", "call 7")
    assert verdict.max_attempts == FEW_ATTEMPTS


@pytest.mark.parametrize(("retry_after", "delay_s"), [("", 1.0), ("0", 1.0), ("7", 7.0)])
def test_429_is_busy_and_uses_up_no_attempt(retry_after: str, delay_s: float) -> None:
    verdict = judge(429, b"too many", retry_after)
    assert (verdict.outcome, verdict.code, verdict.counts) == ("retry", "busy", False)
    assert verdict.retry_after_s == delay_s


def subclasses(branch: type[RollcallError]) -> list[type[RollcallError]]:
    return [each for each in branch.__subclasses__() if each.__module__ == "rollcall.core.errors"]


@pytest.mark.parametrize("each", subclasses(PermanentError))
def test_every_permanent_error_of_ours_ends_the_work(each: type[RollcallError]) -> None:
    answer = body({"error": describe_error(each("why"))})
    assert judge(each.status, answer) == Verdict("dead", each.code, "why")


@pytest.mark.parametrize("each", subclasses(TransientError))
def test_every_transient_error_of_ours_is_tried_again(each: type[RollcallError]) -> None:
    answer = body({"error": describe_error(each("why"))})
    assert judge(each.status, answer, "5") == Verdict("retry", each.code, "why", 5.0)


GARBAGE = [
    b"",
    b"OK",
    b"<html><h1>502 Bad Gateway</h1></html>",
    b"[]",
    b"null",
    b'"recognised"',
    b"{}",
    b"\xff\xfe",
    b"[" * 100_000,
    body({"status": "error"}),
    body({"status": ["recognised"]}),
    body({"status": {}}),
    body({"status": None}),
    body([{"status": "recognised"}]),
    body({"error": "Not Found", "status": 404}),
    body({"error": None}),
    body({"error": ["code"]}),
    body({"error": {}}),
    body({"error": {"message": "no healthy upstream"}}),
    body({"message": "no Route matched with those values"}),
    b"error finding function face-recognition.openfaas-fn: no such function",
]


@pytest.mark.parametrize("garbage", GARBAGE, ids=lambda each: repr(each[:40]))
@pytest.mark.parametrize(
    "status", [200, 202, 204, 301, 400, 401, 404, 413, 422, 500, 502, 503, 504]
)
def test_another_programs_answer_never_ends_the_work(status: int, garbage: bytes) -> None:
    assert judge(status, garbage).outcome == "retry"


@pytest.mark.parametrize("status", [201, 401, 403, 405, 408, 418, 502, 504])
def test_statuses_that_are_not_the_functions_own(status: int) -> None:
    assert judge(status, error()).outcome == "retry"


def test_a_page_is_named_by_its_status() -> None:
    verdict = judge(502, b"<html>")
    assert verdict.code == "http_502"
    assert "502" in verdict.message


def test_words_that_cannot_be_stored_are_made_so() -> None:
    verdict = judge(404, error("gone", "\udfff"))
    assert verdict.outcome == "dead"
    verdict.message.encode()


def test_a_long_message_is_cut() -> None:
    assert len(judge(422, error("not_a_video", "m" * 5000)).message) == 2000


@pytest.mark.parametrize(
    ("header", "delay_s"),
    [
        ("0", 0),
        ("120", 120),
        ("-5", 0),
        ("1.5", 0),
        ("soon", 0),
        ("Wed, 21 Oct 2026 07:28:00 GMT", 0),
        ("²", 0),
    ],
)
def test_retry_after(header: str, delay_s: float) -> None:
    assert judge(503, error(), header).retry_after_s == delay_s


WORDS = st.sampled_from(["status", "error", "code", "message", "recognised", "gone"])
ANSWERS = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(st.characters(), max_size=4) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=8,
)


@given(st.integers(100, 599), st.binary() | ANSWERS.map(body), st.text())
def test_any_answer_has_a_verdict(status: int, answer: bytes, retry_after: str) -> None:
    verdict = judge(status, answer, retry_after)
    assert verdict.outcome in ("done", "retry", "dead")
    assert verdict.retry_after_s >= 0
    (verdict.code + verdict.message).encode()


# --- back-off


@pytest.mark.parametrize(("attempts", "planned_s"), [(1, 2), (2, 4), (5, 32), (9, 512), (10, 600)])
def test_backoff_doubles_up_to_a_limit(attempts: int, planned_s: float) -> None:
    retry = Verdict("retry", "code")
    delays = [backoff_s(retry, attempts, 1, random.Random(seed)) for seed in range(200)]
    assert planned_s / 2 <= min(delays) < 0.55 * planned_s
    assert 0.95 * planned_s < max(delays) <= planned_s


@given(st.integers(0, 10**6), st.floats(0, allow_nan=False), st.integers())
def test_backoff_bounds(attempts: int, retry_after_s: float, seed: int) -> None:
    retry = Verdict("retry", "code", "", retry_after_s)
    delay_s = backoff_s(retry, attempts, 1, random.Random(seed))
    assert min(FIRST_DELAY_S, 1) / 4 <= delay_s <= MAX_DELAY_S
    assert delay_s >= min(retry_after_s, MAX_DELAY_S)


def test_busy_backs_off_by_calls_and_not_for_long() -> None:
    """It uses up no attempt, so attempts would never grow."""
    busy = judge(429, b"")
    delays = [backoff_s(busy, 0, calls, random.Random(calls)) for calls in (1, 3, 50)]
    assert 1 <= delays[0] <= 2
    assert 4 <= delays[1] <= 8
    assert MAX_BUSY_DELAY_S / 2 <= delays[2] <= MAX_BUSY_DELAY_S
