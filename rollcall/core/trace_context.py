"""The trace that a video belongs to, as the header `traceparent` of W3C Trace Context writes it.

`00-<trace id>-<parent id>-<flags>`: the trace id is the same from the upload to the result, and the
parent id names the caller's step (https://www.w3.org/TR/trace-context/).
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Mapping
from typing import Any, Protocol

HEADER = "traceparent"

_FORM = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_TRACE_ID = slice(3, 35)
_PARENT_ID = slice(36, 52)

_SAMPLED = 1
"""The flag that asks every part of the trace to record its spans."""


class Traced(Protocol):
    """Both VideoRef and Work have these fields."""

    @property
    def traceparent(self) -> str: ...
    @property
    def work_id(self) -> str: ...


def valid_traceparent(value: Any) -> str:
    """The value in the form of version 00; empty if it is not valid.

    If the value has a later version, only the parts of version 00 are used, as the standard
    requires.
    """
    match = _FORM.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return ""
    version, trace_id, parent_id, flags, rest = match.groups()
    if (
        version == "ff"
        or (version == "00" and rest)
        or not (int(trace_id, 16) * int(parent_id, 16))
    ):
        return ""
    return _traceparent(trace_id, parent_id, int(flags, 16) & _SAMPLED)


def traceparent_in(headers: Mapping[str, str]) -> str:
    """The header of a request; empty if it is missing, not valid, or was sent twice."""
    values = [value for name, value in headers.items() if name.lower() == HEADER]
    return valid_traceparent(values[0]) if len(values) == 1 else ""


def new_traceparent() -> str:
    """The start of a new trace, with random ids."""
    return _traceparent(secrets.token_hex(16), secrets.token_hex(8), _SAMPLED)


def traceparent_of(video: Traced) -> str:
    """The video's trace. A video without a trace gets one that is derived from the work id.

    So every program that knows the work id finds the same trace, and so does every attempt. Events
    of SQS and S3 have no headers, and videos that the reconciler finds have no event.
    """
    if video.traceparent:
        return video.traceparent
    return derived_traceparent(video.work_id)


def derived_traceparent(work_id: str) -> str:
    """The trace of a work id for which no other trace was given."""
    digest = hashlib.sha256(work_id.encode()).hexdigest()
    return _traceparent(digest[:32], digest[32:48], _SAMPLED)


def child_traceparent(traceparent: str, parent_id: str = "") -> str:
    """The same trace for the next step. `parent_id` names this step; by default it is random."""
    return traceparent[: _PARENT_ID.start] + (parent_id or secrets.token_hex(8)) + traceparent[-3:]


def parts_of(traceparent: str) -> tuple[str, str, bool]:
    """Trace id, parent id, and whether spans are recorded, of a valid traceparent."""
    return traceparent[_TRACE_ID], traceparent[_PARENT_ID], traceparent.endswith("1")


def traceparent_with(trace_id: str, parent_id: str, sampled: bool) -> str:
    """The traceparent with these parts."""
    return _traceparent(trace_id, parent_id, _SAMPLED if sampled else 0)


def trace_id_of(traceparent: str) -> str:
    """The trace id of a valid traceparent; empty for an empty text."""
    return traceparent[_TRACE_ID]


def _traceparent(trace_id: str, parent_id: str, flags: int) -> str:
    return f"00-{trace_id}-{parent_id}-{flags:02x}"
