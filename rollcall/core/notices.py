"""Messages about results that wait in the outbox until RESULT_WEBHOOK_URL has received them."""

from __future__ import annotations

from dataclasses import dataclass

NOTICE_STATES = ("queued", "running", "dead")
"""Queued messages wait to be sent, running ones are being sent, and dead ones were given up."""

KEEP_S = 30 * 86400.0
"""How long a message is kept at most, because it may contain names of people. Only messages that
were given up, or that nobody sends because RESULT_WEBHOOK_URL is empty, get so old."""


@dataclass(frozen=True, slots=True)
class StoredNotice:
    """A message as the outbox stores it. Times are Unix times."""

    id: int
    """Number of the message, for `rollcall replay --notices --id`."""
    message_id: str
    """The same for all deliveries of the message, so that receivers recognise a repeated one."""
    body: str
    state: str
    """One of NOTICE_STATES."""
    attempts: int
    """Number of deliveries since the message was written or replayed."""
    calls: int
    """Number of all claims. It distinguishes a claim from later ones of the same message."""
    created_s: float
    """When the message was written or replayed."""
    changed_s: float
    code: str
    """Outcome of the last delivery for programs; empty before the first."""
    message: str
    """Reason of the last failure, for people."""
