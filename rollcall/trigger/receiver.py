"""An event arrives: into the inbox first, whatever it is, and only then an answer."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from rollcall.core.errors import BadEvent
from rollcall.core.events import BadRecords, parse_events
from rollcall.core.keys import is_video_key
from rollcall.core.types import VideoRef
from rollcall.logs import LogLimit
from rollcall.queues.inbox import Inbox
from rollcall.trigger.metrics import Metrics
from rollcall.trigger.sns import SnsGate

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Receiver:
    """What happens with a body whose sender is known."""

    inbox: Inbox
    metrics: Metrics
    input_bucket: str
    sns: SnsGate
    on_work: Callable[[], None]
    token: bytes = b""
    """Blanked in what is recorded."""
    bad_log: LogLimit = field(default_factory=LogLimit)
    skipped_log: LogLimit = field(default_factory=LogLimit)

    def receive(self, body: bytes, headers: Mapping[str, str]) -> dict[str, int]:
        """How many records became new work, and how many were known, skipped, ignored or bad.

        Uploads that are not videos are skipped: the function would only refuse them.

        Raises TransientError, and then nothing of the event counts as received.
        """
        try:
            if not self.sns.admit(body):
                return {"queued": 0}
            videos = parse_events(body, headers)
        except BadEvent as error:
            self._record(body, str(error))
            good = error.videos if isinstance(error, BadRecords) else ()
            return {**self._queue(good, body), "bad": 1}
        counted = self._queue(videos, body)
        if not videos:
            self.metrics.events.labels("ignored").inc()
        return {**counted, "ignored": int(not videos)}

    def _queue(self, videos: tuple[VideoRef, ...], body: bytes) -> dict[str, int]:
        ours = [video for video in videos if video.bucket == self.input_bucket]
        if len(ours) < len(videos):
            other = next(video.bucket for video in videos if video.bucket != self.input_bucket)
            self._record(body, f"the bucket {other!r} is not INPUT_BUCKET ({self.input_bucket})")
        wanted = [video for video in ours if is_video_key(video.key)]
        for video in ours:
            if not is_video_key(video.key):
                self.skipped_log.log(log.info, "skipped %r: it has no video extension", video.key)
        new = self.inbox.add(wanted)
        counted = {"queued": new, "duplicate": len(wanted) - new}
        if len(wanted) < len(ours):
            counted["skipped"] = len(ours) - len(wanted)
        for outcome, count in counted.items():
            self.metrics.events.labels(outcome).inc(count)
        if new:
            self.on_work()
        return counted

    def _record(self, body: bytes, reason: str) -> None:
        """The sender is answered 2xx after this: it would only send the same again."""
        self.bad_log.log(log.warning, "bad event: %s", reason)
        shown = body.replace(self.token, b"[token]") if self.token else body
        self.inbox.add_bad_event(shown, reason)
        self.metrics.events.labels("bad").inc()
