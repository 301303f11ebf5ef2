"""Stores events in the work queue before they are acknowledged."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from rollcall.core.errors import BadEvent
from rollcall.core.events import BadRecords, parse_events
from rollcall.core.keys import is_video_key
from rollcall.core.queue_protocols import WorkQueue
from rollcall.core.trace_context import new_traceparent, traceparent_in
from rollcall.core.types import VideoRef
from rollcall.logs import LogLimit
from rollcall.tracing import PlainTracer, Step, Tracer
from rollcall.trigger.metrics import Metrics
from rollcall.trigger.sns import SnsGate

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Receiver:
    """Handles the bodies of events whose senders have sent the token."""

    queue: WorkQueue
    metrics: Metrics
    input_bucket: str
    sns: SnsGate
    on_work: Callable[[], None]
    """Called after new work has been queued."""
    tokens: Sequence[bytes] = ()
    """Replaced by `[token]` in recorded bad events: Ceph sends the token inside the body."""
    tracer: Tracer = field(default_factory=PlainTracer)
    bad_log: LogLimit = field(default_factory=LogLimit)
    skipped_log: LogLimit = field(default_factory=LogLimit)

    def receive(self, body: bytes, headers: Mapping[str, str]) -> dict[str, int]:
        """Store the event, and return the answer to its sender.

        The answer has the numbers of queued, duplicate and skipped videos, and whether the event is
        bad or ignored. Raises TransientError if the event could not be stored; the sender has to
        send it again.
        """
        try:
            if not self.sns.admit(body):
                return {"queued": 0}
            videos = parse_events(body, headers)
        except BadEvent as error:
            self._record_bad_event(body, str(error))
            good = error.videos if isinstance(error, BadRecords) else ()
            return {**self._queue_videos(good, body, headers), "bad": 1}
        counted = self._queue_videos(videos, body, headers)
        if not videos:
            self.metrics.events.labels("ignored").inc()
        return {**counted, "ignored": int(not videos)}

    def _queue_videos(
        self, videos: tuple[VideoRef, ...], body: bytes, headers: Mapping[str, str]
    ) -> dict[str, int]:
        ours = [video for video in videos if video.bucket == self.input_bucket]
        if len(ours) < len(videos):
            other = next(video.bucket for video in videos if video.bucket != self.input_bucket)
            reason = f"the bucket {other!r} is not INPUT_BUCKET ({self.input_bucket})"
            self._record_bad_event(body, reason)
        wanted = [video for video in ours if is_video_key(video.key)]
        for video in ours:
            # Skipped here, because each call for such an object would only be answered with 422.
            if not is_video_key(video.key):
                self.skipped_log.log(log.info, "skipped %r: it has no video extension", video.key)
        steps = self._accept_steps(wanted, headers)
        new = self.queue.add(
            replace(video, traceparent=step.traceparent)
            for video, step in zip(wanted, steps, strict=True)
        )
        for step in steps if new else ():  # steps of a repeated event are not recorded
            step.end()
        counted = {"queued": new, "duplicate": len(wanted) - new}
        if len(wanted) < len(ours):
            counted["skipped"] = len(ours) - len(wanted)
        for outcome, count in counted.items():
            self.metrics.events.labels(outcome).inc(count)
        if new:
            self.on_work()
        return counted

    def _accept_steps(self, videos: list[VideoRef], headers: Mapping[str, str]) -> list[Step]:
        """Begin a step for each video, in the trace of the event's sender or in a new one."""
        given = traceparent_in(headers)
        return [self.tracer.begin("accept", given or new_traceparent(), video) for video in videos]

    def _record_bad_event(self, body: bytes, reason: str) -> None:
        # The sender gets a 2xx even for a bad event. After an error it would send the event again
        # and again, and newer events would have to wait.
        self.bad_log.log(log.warning, "bad event: %s", reason)
        for token in self.tokens:
            body = body.replace(token, b"[token]")
        self.queue.add_bad_event(body, reason)
        self.metrics.events.labels("bad").inc()
