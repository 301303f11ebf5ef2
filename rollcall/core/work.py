"""Work: one upload of a video for which the function has to be called."""

from __future__ import annotations

from dataclasses import dataclass

from rollcall.core.work_ids import work_id_of

WORK_STATES = ("queued", "running", "done", "dead")
"""Queued work waits to be claimed, running work is leased, dead work is a dead letter."""


@dataclass(frozen=True, slots=True)
class Work:
    """A video to be recognised, as a work queue stores it. Times are Unix times."""

    id: int
    """Number of the work in the queue, for example for `rollcall replay --id`."""
    identity: str
    """The same for all deliveries of one event, different for each upload (`VideoRef.identity`)."""
    bucket: str
    key: str
    version_id: str
    etag: str
    event_name: str
    origin: str
    """`event`; `reconcile` for a video that the reconciler found without a result; `rerun` for a
    video that somebody asked to recognise again."""
    state: str
    """One of WORK_STATES."""
    attempts: int
    """Number of calls that count towards MAX_ATTEMPTS."""
    calls: int
    """Number of all calls, including those that the function rejected because it was busy."""
    received_s: float
    changed_s: float
    code: str
    """Outcome of the last call for programs; empty until the first call has ended."""
    message: str
    """Reason for a retry or a dead letter, for people."""
    traceparent: str = ""
    """The trace that the event belongs to (W3C Trace Context); empty if it has none."""
    uploaded_s: float = 0.0
    """Time of the upload; 0 if it is unknown."""

    @property
    def work_id(self) -> str:
        """The id that every call for this work sends, and that logs and results contain."""
        return work_id_of(self.identity)


@dataclass(frozen=True, slots=True)
class Notice:
    """A message about work that has ended, for the receiver of RESULT_WEBHOOK_URL."""

    message_id: str
    """The same for all deliveries of the message."""
    body: str


@dataclass(frozen=True, slots=True)
class BadEventRecord:
    """An event that could not be parsed, stored so that a person can look at it."""

    id: int
    received_s: float
    reason: str
    body: bytes
