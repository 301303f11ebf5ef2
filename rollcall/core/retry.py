"""The verdict on an answer of the function: work is done, tried again, or a dead letter."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from typing import Any, Literal

from rollcall.core.errors import INTERNAL, PermanentError, RollcallError, TransientError
from rollcall.core.reports import outcome_text

FIRST_DELAY_S = 2.0
MAX_DELAY_S = 600.0
"""Twenty attempts last through an outage of an hour and a half."""

BUSY_DELAY_S = 1.0
MAX_BUSY_DELAY_S = 30.0
FEW_ATTEMPTS = 3
"""Attempts after the function's own 500: an error that we did not foresee seldom goes away."""

DONE_STATUSES = frozenset({"recognised", "unknown", "no_face", "ignored"})


def _known_errors() -> dict[str, tuple[int, bool]]:
    """Status and `retryable` of every error that the function may answer with, by its code."""
    branches = (PermanentError, TransientError)
    found = [each for branch in branches for each in branch.__subclasses__()] + [TransientError]
    known = {
        each.code: (each.status, each.retryable)
        for each in found
        if each.__module__ == _ERRORS_MODULE
    }
    return {**known, INTERNAL: (500, True)}


_ERRORS_MODULE = RollcallError.__module__
_KNOWN = _known_errors()


_LABELS = DONE_STATUSES | _KNOWN.keys() | {"bad_answer", "busy", "interrupted", "no_answer"}
_STATUS_CLASSES = frozenset(f"http_{number}" for number in range(1, 6))


@dataclass(frozen=True, slots=True)
class Verdict:
    """`code` and `message` are kept with the work."""

    outcome: Literal["done", "retry", "dead"]
    code: str
    message: str = ""
    retry_after_s: float = 0.0
    counts: bool = True
    """Whether it uses up an attempt: being busy does not."""
    max_attempts: int | None = None
    stale_gallery: bool = False
    """Whether the function said that it uses an old gallery."""
    outcome_text: str = ""
    """The function's findings for the log: status, number of people, key of the result."""


def judge(status: int, body: bytes, retry_after: str = "") -> Verdict:
    """Only a document of the function itself ends the work before its attempts are used up.

    Everything else comes from a proxy or a watchdog on the way, and is retried like a 503.
    """
    document = _document(body)
    answer = document.get("status")
    if status == 200:
        if isinstance(answer, str) and answer in DONE_STATUSES:
            return Verdict("done", answer, outcome_text=outcome_text(document))
        return Verdict("retry", "bad_answer", "200 without a status that the function gives")
    delay_s = _seconds(retry_after)
    if status == 429:
        delay_s = max(delay_s, BUSY_DELAY_S)
        return Verdict("retry", "busy", "all replicas are busy", delay_s, counts=False)
    error = _own_error(status, document)
    if error is None:
        return Verdict("retry", f"http_{status}", _foreign(status, body), delay_s)
    code, message = error
    if code == INTERNAL:
        return Verdict("retry", code, message, delay_s, max_attempts=FEW_ATTEMPTS)
    _, retryable = _KNOWN[code]
    if not retryable:
        return Verdict("dead", code, message)
    return Verdict("retry", code, message, delay_s)


def metric_code(code: str) -> str:
    """The code as a label of a metric, out of a fixed list: a peer that answers with a thousand
    different statuses must not make a thousand time series."""
    if code in _LABELS:
        return code
    return f"{code[:6]}xx" if code[:6] in _STATUS_CLASSES else "other"


def interrupted(attempts: int, max_attempts: int) -> Verdict | None:
    """The end of work whose every attempt ended with the death of its process; None before that."""
    if attempts <= max_attempts:
        return None
    return Verdict("dead", "interrupted", "the process died during every attempt")


def limited(verdict: Verdict, attempts: int, max_attempts: int) -> Verdict:
    """Returns the verdict unchanged, or "dead" when this was the last attempt that it allows."""
    most = min(max_attempts, verdict.max_attempts or max_attempts)
    if verdict.outcome != "retry" or not verdict.counts or attempts < most:
        return verdict
    return Verdict("dead", verdict.code, f"after {attempts} attempts: {verdict.message}")


def backoff_s(verdict: Verdict, attempts: int, calls: int, jitter: random.Random) -> float:
    """Doubles with each attempt; half of it is chance, so that calls do not come in step.

    Being busy uses up no attempt, so there the calls are counted, and the wait stays short.
    """
    number, max_s = (attempts, MAX_DELAY_S) if verdict.counts else (calls, MAX_BUSY_DELAY_S)
    planned_s = min(max_s, FIRST_DELAY_S * 2.0 ** min(number - 1, 20))
    return max(planned_s * jitter.uniform(0.5, 1.0), min(verdict.retry_after_s, MAX_DELAY_S))


def _document(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _own_error(status: int, document: dict[str, Any]) -> tuple[str, str] | None:
    """Code and message of an error document that the function itself wrote; None for any other.

    Its code is one of ours, and status and `retryable` are those of that code.
    """
    error = document.get("error")
    if not isinstance(error, dict):
        return None
    code, message = error.get("code"), error.get("message")
    if not isinstance(code, str) or not isinstance(message, str):
        return None
    if _KNOWN.get(code) != (status, error.get("retryable")):
        return None
    return code, _storable(message, 2000)


def _foreign(status: int, body: bytes) -> str:
    """Names the status and quotes the start of the answer, so that its sender can be found."""
    start = " ".join(_storable(body[:200].decode(errors="replace"), 200).split())
    said = f"says: {start}" if start else "has no body"
    return f"answer {status} does not come from the function itself and {said}"


def _storable(text: str, most: int) -> str:
    return text[:most].encode(errors="replace").decode()


def _seconds(retry_after: str) -> float:
    """The header as a number of seconds; the form with a date is not used by anyone here."""
    return float(retry_after) if retry_after.isdecimal() else 0.0
