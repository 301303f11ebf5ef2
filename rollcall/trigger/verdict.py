"""What an answer of the function means for the work: done, try again, or dead letter."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from typing import Any, Literal

FIRST_DELAY_S = 1.0
MOST_DELAY_S = 300.0
BUSY_DELAY_S = 1.0
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


def judge(status: int, body: bytes, retry_after: str = "") -> Verdict:
    """Only an answer in the function's own words ends the work; a proxy's page does not."""
    document = _document(body)
    code, message = _error(status, document)
    if status == 200:
        if document.get("status") in DONE_STATUSES:
            return Verdict("done", str(document["status"]))
        return Verdict("retry", "bad_answer", "200 without a status that the function gives")
    if status in _REFUSED and "error" in document:
        return Verdict("dead", code, message)
    delay_s = _seconds(retry_after)
    if status == 429:
        delay_s = max(delay_s, BUSY_DELAY_S)
        return Verdict("retry", "busy", "all replicas are busy", delay_s, counts=False)
    if status == 500:
        return Verdict("retry", code, message, delay_s, most_attempts=FEW_ATTEMPTS)
    return Verdict("retry", code, message, delay_s)


def backoff_s(attempts: int, retry_after_s: float, jitter: random.Random) -> float:
    """Doubles with each attempt; half of it is chance, so that calls do not come in step."""
    planned = min(MOST_DELAY_S, FIRST_DELAY_S * 2.0 ** min(attempts - 1, 20))
    return max(planned * jitter.uniform(0.5, 1.0), min(retry_after_s, MOST_DELAY_S))


def _document(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _error(status: int, document: dict[str, Any]) -> tuple[str, str]:
    error = document.get("error")
    if not isinstance(error, dict):
        return f"http_{status}", f"the function's address answered {status}"
    return str(error.get("code", f"http_{status}")), str(error.get("message", ""))[:2000]


def _seconds(retry_after: str) -> float:
    """The header as a number of seconds; the form with a date is not used by anyone here."""
    return float(retry_after) if retry_after.isdecimal() else 0.0
