"""The messages for RESULT_WEBHOOK_URL: one CloudEvent for each finished or failed video.

docs/webhook.md shows a message and explains its fields. A message contains only the fields that are
listed here, whatever the function answers, so it never contains encodings.
"""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from rollcall.core.errors import PermanentError
from rollcall.core.keys import MAX_KEY_BYTES, report_key
from rollcall.core.printable import json_text
from rollcall.core.reports import COVERAGE_NUMBERS, PROBLEMS
from rollcall.core.retry import AttemptResult
from rollcall.core.work import Notice, Work

FINISHED = "rollcall.video.finished"
FAILED = "rollcall.video.failed"

MAX_BODY_BYTES = 60_000
"""Longest message. Every receiver and every broker of CloudEvents has to accept 64 KiB, including
the headers ("Size Limits" in the specification of CloudEvents)."""

IGNORED = "ignored"
"""Code of an event that started no work."""

_PERSON = (
    "name",
    "major",
    "year",
    "first_seen_s",
    "last_seen_s",
    "frames",
    "distance",
    "certainty",
)
MAX_TEXT_CHARS = 400
MAX_NUMBER = 2**53
"""Larger numbers are not exact in JavaScript."""

_NONCHARACTERS = "".join(
    chr(plane << 16 | last) for plane in range(17) for last in (0xFFFE, 0xFFFF)
)
_NOT_IN_ATTRIBUTE = re.compile(rf"[\x00-\x1f\x7f-\x9f\ufdd0-\ufdef{_NONCHARACTERS}]")
"""Characters that attributes of CloudEvents must not contain."""


@dataclass(frozen=True, slots=True)
class ResultNotices:
    """Writes the message about work that has ended."""

    report_bucket: str = ""
    """REPORT_BUCKET of the trigger, which should be that of the function."""
    clock: Callable[[], float] = time.time

    def write(self, work: Work, result: AttemptResult) -> Notice | None:
        """The message; None if there was no video to be recognised."""
        if result.code == IGNORED:
            return None
        message_id = f"msg_{uuid.uuid4().hex}"
        event = {
            "specversion": "1.0",
            "id": message_id,
            "source": f"s3://{work.bucket}",
            "type": FINISHED if result.outcome == "done" else FAILED,
            "subject": _NOT_IN_ATTRIBUTE.sub("\ufffd", work.key),
            "time": datetime.fromtimestamp(self.clock(), UTC).isoformat().replace("+00:00", "Z"),
            "datacontenttype": "application/json",
        }
        if work.traceparent:
            event["traceparent"] = work.traceparent
        finished = result.outcome == "done"
        data = self._finished(work, result) if finished else self._failed(work, result)
        people = _people(result.answer) if finished else []
        return Notice(message_id, _fitting(event, data, people))

    def _finished(self, work: Work, result: AttemptResult) -> dict[str, Any]:
        answer = result.answer
        found = _mapping(answer.get("video")).get("etag")
        etag = found[:MAX_TEXT_CHARS] if isinstance(found, str) and found else work.etag
        # If the object was replaced since the event, its version is unknown.
        version_id = work.version_id if etag == work.etag else ""
        output = _mapping(answer.get("output"))
        return {
            **self._common(work, result.code, etag, version_id),
            "coverage": _coverage(_mapping(answer.get("coverage"))),
            "output": _place(output.get("bucket"), output.get("key")),
            "error": None,
        }

    def _failed(self, work: Work, result: AttemptResult) -> dict[str, Any]:
        return {
            **self._common(work, "failed", work.etag, work.version_id),
            "coverage": None,
            "output": None,
            "error": {"code": result.code, "message": result.message},
        }

    def _common(self, work: Work, status: str, etag: str, version_id: str) -> dict[str, Any]:
        return {
            "work_id": work.work_id,
            "status": status,
            "video": {
                "bucket": work.bucket,
                "key": work.key,
                "version_id": version_id,
                "etag": etag,
            },
            "report": self._report(work.key),
        }

    def _report(self, key: str) -> dict[str, str] | None:
        try:
            return _place(self.report_bucket, report_key(key)) if self.report_bucket else None
        except PermanentError:  # the report's key would be too long, so there is no report
            return None


def _fitting(
    event: Mapping[str, Any], data: Mapping[str, Any], people: Sequence[Mapping[str, Any]]
) -> str:
    """The message with as much about the people as fits into MAX_BODY_BYTES.

    If it is too long, first the intervals of all people are left out, and then the last people of
    the list, who were seen in the fewest frames.
    """

    def message(shown: Sequence[Mapping[str, Any]], *, without_intervals: bool) -> str:
        about_people = {
            "people": shown,
            "people_left_out": len(people) - len(shown),
            "intervals_left_out": without_intervals,
        }
        return json_text({**event, "data": {**data, **about_people}})

    complete = message(people, without_intervals=False)
    if _bytes(complete) <= MAX_BODY_BYTES:
        return complete
    short = [{**person, "intervals": []} for person in people]
    left = MAX_BODY_BYTES - _bytes(message([], without_intervals=True))
    fitting = 0
    for person in short:
        left -= _bytes(json_text(person)) + len(", ")
        if left < 0:
            break
        fitting += 1
    return message(short[:fitting], without_intervals=True)


def _bytes(text: str) -> int:
    return len(text.encode())


def _people(answer: Mapping[str, Any]) -> list[dict[str, Any]]:
    people = answer.get("people")
    return [
        {**_chosen(person, _PERSON), "intervals": _intervals(person.get("intervals"))}
        for person in (people if isinstance(people, list) else ())
        if isinstance(person, dict)
    ]


def _intervals(value: Any) -> list[list[float]]:
    pairs = value if isinstance(value, list) else ()
    return [
        pair
        for pair in pairs
        if isinstance(pair, list) and len(pair) == 2 and all(map(_is_number, pair))
    ]


def _coverage(coverage: Mapping[str, Any]) -> dict[str, Any] | None:
    if not coverage:
        return None
    return {
        **_chosen(coverage, COVERAGE_NUMBERS),
        "not_judged": _chosen(_mapping(coverage.get("not_judged")), PROBLEMS),
    }


def _place(bucket: Any, key: Any) -> dict[str, str] | None:
    if not isinstance(bucket, str) or not isinstance(key, str):
        return None
    if len(bucket) > MAX_TEXT_CHARS or len(key) > MAX_KEY_BYTES:
        return None
    return {"bucket": bucket, "key": key}


def _chosen(document: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """These fields of a document. A value that is neither a text nor a number becomes None."""
    return {name: _plain(document.get(name)) for name in names}


def _plain(value: Any) -> str | float | None:
    if isinstance(value, str):
        return value[:MAX_TEXT_CHARS]
    return value if _is_number(value) else None


def _is_number(value: Any) -> bool:
    # Not true for NaN and infinity, which Python's JSON has, but other parsers refuse.
    return isinstance(value, int | float) and abs(value) <= MAX_NUMBER


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
