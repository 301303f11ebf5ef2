"""How callers read answers of the function, and the retry policy."""

from __future__ import annotations

import json
import math
import random
import re
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.needs import REPOSITORY

from rollcall.core.errors import PermanentError, RollcallError, TransientError, UnexpectedError
from rollcall.core.reports import describe_error
from rollcall.core.retry import AttemptResult, RetryPolicy, metric_code, read_answer
from rollcall.core.stopwatch import STAGES

POLICY = RetryPolicy()


def body(document: Any) -> bytes:
    return json.dumps(document).encode()


def error(code: str = "gone", message: Any = "why", retryable: Any = False) -> bytes:
    return body({"error": {"code": code, "message": message, "retryable": retryable}})


@pytest.mark.parametrize("status", ["recognised", "unknown", "no_face", "ignored"])
def test_200_with_a_status_is_done(status: str) -> None:
    answer = {"status": status, "people": []}
    text = body(answer).decode()
    wanted = AttemptResult("done", status, summary=f"{status}, people 0", answer=answer, text=text)
    assert read_answer(200, body(answer)) == wanted
    assert "people'" not in repr(wanted)
    assert '"people"' not in repr(wanted)


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
    assert read_answer(200, body({"status": "recognised", **more})).summary == text


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "bad_event"),
        (404, "gone"),
        (413, "too_large"),
        (413, "too_slow"),
        (422, "not_a_video"),
    ],
)
def test_a_refusal_by_the_function_is_a_dead_letter(status: int, code: str) -> None:
    assert read_answer(status, error(code, "not there")) == AttemptResult("dead", code, "not there")


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
def test_an_error_of_another_program_is_retried_like_a_503(status: int, foreign: bytes) -> None:
    """The watchdog answers an empty 500 while the process does not listen yet."""
    result = read_answer(status, foreign, "7")
    assert (result.outcome, result.code) == ("retry", f"http_{status}")
    assert (result.counts, result.unexpected, result.retry_after_s) == (True, False, 7.0)


@pytest.mark.parametrize("status", [400, 404, 413, 422, 500, 503])
def test_a_known_code_with_another_status_comes_from_another_program(status: int) -> None:
    codes = {400: "gone", 404: "bad_event", 413: "gone", 422: "gone", 500: "gone", 503: "internal"}
    result = read_answer(status, error(codes[status], retryable=status >= 500))
    assert (result.outcome, result.code) == ("retry", f"http_{status}")


def test_an_answer_of_another_program_is_quoted_in_one_line() -> None:
    result = read_answer(500, b"Can't reach\nservice for: face-recognition.\xff" + b"x" * 5000)
    assert "answer 500" in result.message
    assert "Can't reach service for: face-recognition." in result.message
    assert len(result.message) < 300


def test_503_is_retried_after_the_time_that_the_function_names() -> None:
    result = read_answer(503, error("store_unavailable", "down", retryable=True), "17")
    assert result == AttemptResult("retry", "store_unavailable", "down", 17.0)


def test_an_unexpected_error_is_retried_a_few_times() -> None:
    result = read_answer(500, error("internal", "call 7", retryable=True))
    assert (result.outcome, result.code, result.message) == ("retry", "internal", "call 7")
    few = POLICY.max_unexpected_attempts
    assert [POLICY.limit(result, n).outcome for n in (few - 1, few)] == ["retry", "dead"]


@pytest.mark.parametrize(("retry_after", "delay_s"), [("", 1.0), ("0", 1.0), ("7", 7.0)])
def test_429_is_busy_and_uses_up_no_attempt(retry_after: str, delay_s: float) -> None:
    result = read_answer(429, b"too many", retry_after)
    assert (result.outcome, result.code, result.counts) == ("retry", "busy", False)
    assert POLICY.min_delay_s(result) == delay_s


def subclasses(branch: type[RollcallError]) -> list[type[RollcallError]]:
    return [each for each in branch.__subclasses__() if each.__module__ == "rollcall.core.errors"]


@pytest.mark.parametrize("each", subclasses(PermanentError))
def test_every_permanent_error_ends_the_work(each: type[RollcallError]) -> None:
    answer = body({"error": describe_error(each("why"))})
    assert read_answer(each.status, answer) == AttemptResult("dead", each.code, "why")


@pytest.mark.parametrize("each", subclasses(TransientError))
def test_every_transient_error_is_retried(each: type[RollcallError]) -> None:
    answer = body({"error": describe_error(each("why"))})
    unexpected = each is UnexpectedError
    wanted = AttemptResult("retry", each.code, "why", 5.0, unexpected=unexpected)
    assert read_answer(each.status, answer, "5") == wanted


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
def test_an_answer_of_another_program_never_ends_the_work(status: int, garbage: bytes) -> None:
    assert read_answer(status, garbage).outcome == "retry"


@pytest.mark.parametrize("status", [201, 401, 403, 405, 408, 418, 502, 504])
def test_statuses_that_the_function_never_uses_are_retried(status: int) -> None:
    assert read_answer(status, error()).outcome == "retry"


def test_the_message_about_an_html_page_names_the_status() -> None:
    result = read_answer(502, b"<html>")
    assert result.code == "http_502"
    assert "502" in result.message


def test_characters_that_cannot_be_encoded_are_replaced() -> None:
    result = read_answer(404, error("gone", "\udfff"))
    assert result.outcome == "dead"
    result.message.encode()


def test_a_long_message_is_cut() -> None:
    assert len(read_answer(422, error("not_a_video", "m" * 5000)).message) == 2000


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
def test_only_a_number_of_seconds_is_read_from_retry_after(header: str, delay_s: float) -> None:
    assert read_answer(503, error(), header).retry_after_s == delay_s


WORDS = st.sampled_from(["status", "error", "code", "message", "recognised", "gone"])
ANSWERS = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(st.characters(), max_size=4) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=8,
)


@given(st.integers(100, 599), st.binary() | ANSWERS.map(body), st.text())
def test_any_answer_has_a_result(status: int, answer: bytes, retry_after: str) -> None:
    result = read_answer(status, answer, retry_after)
    assert result.outcome in ("done", "retry", "dead")
    assert result.retry_after_s >= 0
    (result.code + result.message).encode()


# --- Back-off


@pytest.mark.parametrize(("attempts", "planned_s"), [(1, 2), (2, 4), (5, 32), (9, 512), (10, 600)])
def test_backoff_doubles_up_to_a_limit(attempts: int, planned_s: float) -> None:
    retry = AttemptResult("retry", "code")
    delays = [POLICY.delay_s(retry, attempts, 1, random.Random(seed)) for seed in range(200)]
    assert planned_s / 2 <= min(delays) < 0.55 * planned_s
    assert 0.95 * planned_s < max(delays) <= planned_s


@given(st.integers(0, 10**6), st.floats(0, allow_nan=False), st.integers())
def test_delays_stay_within_their_bounds(attempts: int, retry_after_s: float, seed: int) -> None:
    retry = AttemptResult("retry", "code", "", retry_after_s)
    delay_s = POLICY.delay_s(retry, attempts, 1, random.Random(seed))
    assert min(POLICY.first_delay_s, 1) / 4 <= delay_s <= POLICY.max_delay_s
    assert delay_s >= min(retry_after_s, POLICY.max_delay_s)


def test_delays_after_busy_answers_grow_with_the_calls_up_to_a_limit() -> None:
    """A busy answer uses up no attempt, so the number of attempts does not grow."""
    busy = read_answer(429, b"")
    delays = [POLICY.delay_s(busy, 0, calls, random.Random(calls)) for calls in (1, 3, 50)]
    assert 1 <= delays[0] <= 2
    assert 4 <= delays[1] <= 8
    assert POLICY.max_busy_delay_s / 2 <= delays[2] <= POLICY.max_busy_delay_s


# --- Limits


def test_the_last_attempt_ends_in_a_dead_letter() -> None:
    policy, retry = RetryPolicy(max_attempts=4), AttemptResult("retry", "code", "down")
    assert policy.limit(retry, 3) == retry
    assert policy.limit(retry, 4) == AttemptResult("dead", "code", "after 4 attempts: down")


def test_a_busy_function_never_ends_in_a_dead_letter() -> None:
    busy = read_answer(429, b"")
    assert POLICY.limit(busy, POLICY.max_attempts) == busy


def test_an_unexpected_error_gets_no_more_attempts_than_any_other() -> None:
    failed = read_answer(500, error("internal", "call 7", retryable=True))
    assert RetryPolicy(max_attempts=1).limit(failed, 1).outcome == "dead"


def test_work_whose_process_died_in_every_attempt_is_dead() -> None:
    policy = RetryPolicy(max_attempts=2)
    assert policy.check_interrupted(2) is None
    dead = policy.check_interrupted(3)
    assert dead is not None
    assert (dead.outcome, dead.code) == ("dead", "interrupted")


@pytest.mark.parametrize(
    ("status", "code"),
    [(204, "http_2xx"), (404, "http_4xx"), (599, "http_5xx"), (699, "other"), (999, "other")],
)
def test_metrics_get_the_class_of_a_foreign_status(status: int, code: str) -> None:
    assert metric_code(read_answer(status, b"").code) == code


def test_metrics_get_the_codes_of_the_function() -> None:
    assert metric_code(read_answer(404, error("gone")).code) == "gone"
    assert metric_code("surprise") == "other"


def timings_of(timings_ms: Any) -> Mapping[str, float]:
    document = {"status": "unknown", "timings_ms": timings_ms}
    return read_answer(200, json.dumps(document).encode()).stage_s


def test_the_seconds_of_each_stage_are_read_from_the_answer() -> None:
    assert timings_of({"decode": 12.5, "faces": 3}) == {"decode": 0.0125, "faces": 0.003}


@pytest.mark.parametrize(
    "timings_ms",
    [
        None,
        [],
        "decode",
        {"decode": "1"},
        {"decode": True},
        {"decode": None},
        {"decode": -1},
        {"decode": math.nan},
        {"decode": math.inf},
        {"decode": 1e300},
        {"decode": 10**400},
        {"of somebody else": 1},
    ],
)
def test_times_that_cannot_be_right_are_left_out(timings_ms: Any) -> None:
    assert timings_of(timings_ms) == {}


def test_the_list_of_stages_is_complete() -> None:
    """The trigger ignores the times of stages that are not in the list."""
    used = {
        stage
        for path in (REPOSITORY / "rollcall").rglob("*.py")
        for stage in re.findall(r'\.stage\("(\w+)"\)', path.read_text())
    }
    assert used == set(STAGES)
