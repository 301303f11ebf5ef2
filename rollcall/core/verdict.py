"""What an answer of the function means for the work: done, try again, or dead letter."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from typing import Any, Literal

from rollcall.core.reports import outcome_text

FIRST_DELAY_S = 2.0
MOST_DELAY_S = 600.0
"""Twenty attempts last through an outage of an hour and a half."""

BUSY_DELAY_S = 1.0
MOST_BUSY_DELAY_S = 30.0
FEW_ATTEMPTS = 3
"""For a 500: the unforeseen seldom goes away by itself."""

DONE_STATUSES = frozenset({"recognised", "unknown", "no_face", "ignored"})

_REFUSED = frozenset({400, 404, 413, 422})


@dataclass(frozen=True, slots=True)
class Verdict:
    """`code` and `message` are kept with the work."""

    outcome: Literal["done", "retry", "dead"]
    code: str
    message: str = ""
    retry_after_s: float = 0.0
    counts: bool = True
    """Whether it uses up an attempt: being busy does not."""
    most_attempts: int | None = None
    stale_gallery: bool = False
    """Whether the function said that it uses an old gallery."""
    outcome_text: str = ""
    """What the function found, for the log: status, number of people, where the result is."""


def judge(status: int, body: bytes, retry_after: str = "") -> Verdict:
    """Only an answer in the function's own words ends the work; a proxy's page does not."""
    document = _document(body)
    answer = document.get("status")
    if status == 200:
        if isinstance(answer, str) and answer in DONE_STATUSES:
            return Verdict("done", answer, outcome_text=outcome_text(document))
        return Verdict("retry", "bad_answer", "200 without a status that the function gives")
    error = _error(document)
    if status in _REFUSED and error:
        return Verdict("dead", *error)
    code, message = error or (f"http_{status}", f"the function's address answered {status}")
    delay_s = _seconds(retry_after)
    if status == 429:
        delay_s = max(delay_s, BUSY_DELAY_S)
        return Verdict("retry", "busy", "all replicas are busy", delay_s, counts=False)
    if status == 500:
        return Verdict("retry", code, message, delay_s, most_attempts=FEW_ATTEMPTS)
    return Verdict("retry", code, message, delay_s)


def interrupted(attempts: int, max_attempts: int) -> Verdict | None:
    """The end of work whose every attempt ended with the death of its process; None before that."""
    if attempts <= max_attempts:
        return None
    return Verdict("dead", "interrupted", "the process died during every attempt")


def limited(verdict: Verdict, attempts: int, max_attempts: int) -> Verdict:
    """The verdict itself, or "dead" when this was the last attempt that it allows."""
    most = min(max_attempts, verdict.most_attempts or max_attempts)
    if verdict.outcome != "retry" or not verdict.counts or attempts < most:
        return verdict
    return Verdict("dead", verdict.code, f"after {attempts} attempts: {verdict.message}")


def backoff_s(verdict: Verdict, attempts: int, calls: int, jitter: random.Random) -> float:
    """Doubles with each attempt; half of it is chance, so that calls do not come in step.

    Being busy uses up no attempt, so there the calls are counted, and the wait stays short.
    """
    number, most_s = (attempts, MOST_DELAY_S) if verdict.counts else (calls, MOST_BUSY_DELAY_S)
    planned_s = min(most_s, FIRST_DELAY_S * 2.0 ** min(number - 1, 20))
    return max(planned_s * jitter.uniform(0.5, 1.0), min(verdict.retry_after_s, MOST_DELAY_S))


def _document(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _error(document: dict[str, Any]) -> tuple[str, str] | None:
    """Code and message, when they are there as the function writes them."""
    error = document.get("error")
    if not isinstance(error, dict) or not isinstance(error.get("code"), str):
        return None
    return _storable(error["code"], 100), _storable(str(error.get("message", "")), 2000)


def _storable(text: str, most: int) -> str:
    return text[:most].encode(errors="replace").decode()


def _seconds(retry_after: str) -> float:
    """The header as a number of seconds; the form with a date is not used by anyone here."""
    return float(retry_after) if retry_after.isdecimal() else 0.0
