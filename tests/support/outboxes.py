"""Messages for tests of the outbox."""

from __future__ import annotations

from rollcall.core.notices import StoredNotice
from rollcall.core.queue_protocols import Outbox
from rollcall.core.work import Notice

LEASE_S = 60.0


def notice(number: int = 1, body: str = "{}") -> Notice:
    return Notice(f"msg_{number}", body)


def claimed(outbox: Outbox) -> StoredNotice:
    (found,) = outbox.claim(1, LEASE_S)
    return found


def ids(outbox: Outbox, limit: int = 10) -> list[str]:
    """Claim up to `limit` messages, and return their ids in order."""
    return sorted(found.message_id for found in outbox.claim(limit, LEASE_S))


def states(outbox: Outbox) -> dict[str, int]:
    """The counts that are not 0."""
    return {state: count for state, count in outbox.counts().items() if count}
