"""Decides whether work is done after an attempt, is tried again, or becomes a dead letter.

`read_answer` turns an answer of the function into an `AttemptResult`; `RetryPolicy` decides how
often and when work is tried again.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self

from rollcall.core.errors import PermanentError, RollcallError, TransientError, UnexpectedError
from rollcall.core.gallery_facts import GalleryFacts
from rollcall.core.reports import outcome_text
from rollcall.core.settings import Settings
from rollcall.core.stopwatch import STAGES

DONE_STATUSES = frozenset({"recognised", "unknown", "no_face", "ignored"})

MAX_MESSAGE_CHARS = 2000
"""Length at which error messages are cut, because they are stored with the work and shown on a
page."""

QUOTED_BYTES = 200
"""Length of the quoted start of a foreign answer: enough to recognise which program wrote it."""

MAX_DOUBLINGS = 20
"""Largest exponent of the back-off, so that no number overflows. Delays reach their maximum long
before."""


MAX_STAGE_MS = 86_400_000
"""Longer times of a stage (a day) are ignored as wrong. No call may take longer than an hour."""


def _known_errors() -> dict[str, tuple[int, bool]]:
    """HTTP status and `retryable` of every error with which the function answers, by code."""
    classes: list[type[RollcallError]] = [TransientError]
    for branch in (PermanentError, TransientError):
        classes += branch.__subclasses__()
    return {
        error.code: (error.status, error.retryable)
        for error in classes
        # Other modules define further errors, with which the function never answers.
        if error.__module__ == RollcallError.__module__
    }


_KNOWN_ERRORS = _known_errors()

_METRIC_CODES = (
    DONE_STATUSES
    | _KNOWN_ERRORS.keys()
    | {"bad_answer", "busy", "interrupted", "no_answer", "stopping"}
)


_HTTP_CODE = re.compile("http_([1-5])[0-9]{2}")


@dataclass(frozen=True, slots=True)
class AttemptResult:
    """The result of one attempt; `code` and `message` are stored with the work."""

    outcome: Literal["done", "retry", "dead"]
    code: str
    message: str = ""
    retry_after_s: float = 0.0
    """Shortest delay that the answer asks for; 0 if it asks for none."""
    counts: bool = True
    """Whether the call counts as an attempt. Calls that a busy function rejects or that a shutdown
    interrupts do not count."""
    unexpected: bool = False
    """Whether the function failed with an unexpected error, which retries seldom solve."""
    stale_gallery: bool = False
    """Whether the function used an old gallery, because the new one cannot be read."""
    gallery: GalleryFacts | None = None
    """The gallery that the function used; None if the answer does not say."""
    stage_s: Mapping[str, float] = field(default_factory=dict)
    """Seconds of each stage of the work (`core.stopwatch.STAGES`); empty if the answer has none."""
    summary: str = ""
    """The function's answer in a few words for the log (`outcome_text`)."""
    elapsed_s: float = 0.0
    """How long the attempt took."""
    answer: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """The function's answer about a video that is done. It contains names, so it is not logged."""
    text: str = field(default="", repr=False)
    """The same answer as JSON text; empty if its encoding is not UTF-8."""


STOPPING = AttemptResult("retry", "stopping", "the program is stopping", counts=False)
"""The result of an attempt that a shutdown prevented or interrupted."""


def read_answer(status: int, body: bytes, retry_after: str = "") -> AttemptResult:
    """The meaning of an HTTP answer to a call of the function.

    `retry_after` is the header Retry-After. Only a document from the function itself can end the
    work before its attempts are used up. All other answers come from a proxy or watchdog, and the
    call is retried as after a 503.
    """
    document = parse_json_object(body)
    if status == 200:
        answer = document.get("status")
        if isinstance(answer, str) and answer in DONE_STATUSES:
            return AttemptResult(
                "done",
                answer,
                summary=outcome_text(document),
                answer=document,
                text=_utf8(body),
                stage_s=_stage_seconds(document.get("timings_ms")),
            )
        message = "the answer 200 has no status of the function"
        return AttemptResult("retry", "bad_answer", message)
    delay_s = _parse_retry_after(retry_after)
    if status == 429:
        return AttemptResult("retry", "busy", "all replicas are busy", delay_s, counts=False)
    error = _function_error(status, document)
    if error is None:
        message = _describe_foreign_answer(status, body)
        return AttemptResult("retry", f"http_{status}", message, delay_s)
    code, message = error
    _, retryable = _KNOWN_ERRORS[code]
    if not retryable:
        return AttemptResult("dead", code, message)
    unexpected = code == UnexpectedError.code
    return AttemptResult("retry", code, message, delay_s, unexpected=unexpected)


def _utf8(body: bytes) -> str:
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError:
        return ""


def parse_json_object(body: bytes | str) -> dict[str, Any]:
    """The JSON object in the body; empty if the body is anything else."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def metric_code(code: str) -> str:
    """The metric label `code` of an AttemptResult's code, from a fixed list.

    The list is fixed because each label becomes a separate time series. A peer that answers with a
    thousand different statuses must not create a thousand time series.
    """
    if code in _METRIC_CODES:
        return code
    status = _HTTP_CODE.fullmatch(code)
    return f"http_{status[1]}xx" if status else "other"


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and when work is tried again.

    With the default values, twenty attempts outlast an outage of an hour and a half.
    """

    max_attempts: int = 20
    max_unexpected_attempts: int = 3
    """Largest number of attempts if the function fails with an unexpected error."""
    first_delay_s: float = 2.0
    """Delay after the first attempt. It doubles after each further attempt."""
    max_delay_s: float = 600.0
    """Longest delay, even if the function asks for a longer one."""
    min_busy_delay_s: float = 1.0
    max_busy_delay_s: float = 30.0
    """Delays after the function was busy. Longer delays would leave replicas idle, because a
    replica is free again after one call."""

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        return cls(max_attempts=settings.max_attempts)

    def check_interrupted(self, attempts: int) -> AttemptResult | None:
        """A dead letter if the process died during every attempt, None if another is allowed.

        `attempts` includes the attempt that is about to start.
        """
        if attempts <= self.max_attempts:
            return None
        return AttemptResult("dead", "interrupted", "the process died during every attempt")

    def limit(self, result: AttemptResult, attempts: int) -> AttemptResult:
        """The result, or a dead letter if this was the last attempt that the policy allows."""
        limit = self.max_attempts
        if result.unexpected:
            limit = min(limit, self.max_unexpected_attempts)
        if result.outcome != "retry" or not result.counts or attempts < limit:
            return result
        message = f"after {attempts} attempts: {result.message}"
        return replace(result, outcome="dead", message=message)

    def min_delay_s(self, result: AttemptResult) -> float:
        """The shortest delay that the answer allows."""
        busy_s = 0.0 if result.counts else self.min_busy_delay_s
        return min(max(result.retry_after_s, busy_s), self.max_delay_s)

    def delay_s(
        self, result: AttemptResult, attempts: int, calls: int, jitter: random.Random
    ) -> float:
        """The delay before the next attempt, with exponential back-off.

        Half of the delay is random, so that videos that failed together are not retried together.
        Calls that a busy function rejects do not count as attempts, so after them the delay grows
        with the number of calls.
        """
        number, max_s = attempts, self.max_delay_s
        if not result.counts:
            number, max_s = calls, self.max_busy_delay_s
        planned_s = min(max_s, self.first_delay_s * 2.0 ** min(number - 1, MAX_DOUBLINGS))
        return max(planned_s * jitter.uniform(0.5, 1.0), self.min_delay_s(result))


def _function_error(status: int, document: dict[str, Any]) -> tuple[str, str] | None:
    """Code and message of an error document that the function itself wrote, else None.

    Proxies write error documents too. The function's documents have a code of
    `rollcall.core.errors`, and the status and `retryable` that belong to this code.
    """
    error = document.get("error")
    if not isinstance(error, dict):
        return None
    code, message = error.get("code"), error.get("message")
    if not isinstance(code, str) or not isinstance(message, str):
        return None
    if _KNOWN_ERRORS.get(code) != (status, error.get("retryable")):
        return None
    return code, _encodable(message[:MAX_MESSAGE_CHARS])


def _stage_seconds(timings_ms: Any) -> dict[str, float]:
    """The seconds of each known stage in an answer, which may come from another program."""
    if not isinstance(timings_ms, dict):
        return {}
    return {
        stage: ms / 1000
        for stage, ms in timings_ms.items()
        # NaN fails the comparison, and `isinstance` would accept True.
        if stage in STAGES and type(ms) in (int, float) and 0 <= ms <= MAX_STAGE_MS
    }


def _describe_foreign_answer(status: int, body: bytes) -> str:
    """A message with the status and the start of the answer, so that the sender can be found."""
    start = " ".join(_encodable(body[:QUOTED_BYTES].decode(errors="replace")).split())
    content = f"says: {start}" if start else "has no body"
    return f"the answer {status} does not come from the function itself and {content}"


def _encodable(text: str) -> str:
    """The text without lone surrogates, which JSON can contain but UTF-8 cannot encode."""
    return text.encode(errors="replace").decode()


def _parse_retry_after(header: str) -> float:
    """The seconds in the header, or 0. Dates are ignored, because no gateway sends them."""
    return float(header) if header.isdecimal() else 0.0
