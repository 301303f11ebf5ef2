"""An event as bytes in; status, headers and JSON out."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from rollcall.core.call_signature import check_signature
from rollcall.core.errors import (
    INTERNAL,
    RollcallError,
    ShuttingDown,
    TransientError,
)
from rollcall.core.events import BadRecords, parse_events
from rollcall.core.printable import json_text
from rollcall.core.reports import STALE_GALLERY, describe_error, outcome_text
from rollcall.core.types import VideoRef
from rollcall.core.work_ids import ID_CHARS
from rollcall.logs import LogLimit
from rollcall.pipeline import Pipeline

log = logging.getLogger(__name__)

IGNORED = "the event does not report a new object"


class Answer(NamedTuple):
    """What the caller gets. `retry_after_s` is 0 where it makes no sense to wait."""

    status: int
    document: Any
    retry_after_s: int = 0
    stale_gallery: bool = False
    """Whether an old gallery is in use, because the new one could not be read."""

    def headers(self) -> dict[str, str]:
        headers = {"Content-Type": "application/json"}
        if self.retry_after_s:
            headers["Retry-After"] = str(self.retry_after_s)
        if self.stale_gallery:
            headers[STALE_GALLERY] = "1"
        return headers

    def body(self) -> str:
        return json_text(self.document)


class FunctionService:
    """Builds the pipeline at the first call, once: models take a second to load.

    With a `key`, only calls signed with it are answered, and of those only the body counts.
    """

    def __init__(
        self, build: Callable[[], Pipeline], key: str = "", clock: Callable[[], float] = time.time
    ) -> None:
        self._build = build
        self._key = key
        self._clock = clock
        self._pipeline: Pipeline | None = None
        self._building = threading.Lock()
        self._idle = threading.Condition()
        self._in_flight = 0
        self._draining = False
        self._refusals = LogLimit()

    def answer(self, body: bytes, headers: Mapping[str, str] | None = None) -> Answer:
        """Never raises; several records give a list and the worst status."""
        with self._idle:
            if self._draining:
                return _refusal(ShuttingDown("this replica is shutting down; call again"))
            self._in_flight += 1
        try:
            return self._answer(body, headers or {})._replace(stale_gallery=self._stale())
        finally:
            with self._idle:
                self._in_flight -= 1
                self._idle.notify_all()

    def drain(self, timeout_s: float) -> bool:
        """Takes no new calls, and waits for those in flight; whether all ended in time."""
        with self._idle:
            self._draining = True
            return self._idle.wait_for(lambda: self._in_flight == 0, timeout_s)

    def _answer(self, body: bytes, headers: Mapping[str, str]) -> Answer:
        try:
            if self._key:
                check_signature(self._key, body, headers, self._clock())
                headers = {}  # they are not signed, and `ce-*` would change what the body means
            videos = parse_events(body, headers)
        except BadRecords as error:
            return _combine([*map(self._recognise, error.videos), self._refused(error)])
        except RollcallError as error:
            return self._refused(error)
        if not videos:
            return Answer(200, {"status": "ignored", "reason": IGNORED})
        return _combine([self._recognise(video) for video in videos])

    def _refused(self, error: RollcallError) -> Answer:
        """The answer to a call that names no video, or that is not the trigger's."""
        self._refusals.log(log.warning, "refused a call with %d: %s", error.status, error)
        return _refusal(error)

    def _recognise(self, video: VideoRef) -> Answer:
        """One log line for each video, whatever becomes of it, without anybody's name."""
        if not (video.given_work_id or video.marked):
            video = replace(video, given_work_id=uuid.uuid4().hex[:ID_CHARS])
        started = time.perf_counter()
        try:
            pipeline = self._built()
        except Exception:  # an error of ours in here speaks of the set-up, not of the video
            return _unexpected(video)
        try:
            answer = pipeline.run(video)
        except RollcallError as error:
            ms = _ms_since(started)
            log.warning("failed %r: %s, %d ms, work %s", video.key, error, ms, video.work_id)
            return _refusal(error)
        except Exception:
            return _unexpected(video)
        found, ms = outcome_text(answer), _ms_since(started)
        log.info("finished %r: %s, %d ms, work %s", video.key, found, ms, video.work_id)
        return Answer(200, answer)

    def _stale(self) -> bool:
        galleries = self._pipeline.galleries if self._pipeline else None
        return getattr(galleries, "stale", False)

    def _built(self) -> Pipeline:
        with self._building:
            if self._pipeline is None:
                self._pipeline = self._build()
            return self._pipeline


def _refusal(error: RollcallError) -> Answer:
    retry_after_s = error.retry_after_s if isinstance(error, TransientError) else 0
    return Answer(error.status, {"error": describe_error(error)}, retry_after_s)


def _unexpected(video: VideoRef) -> Answer:
    call_id = uuid.uuid4().hex
    log.exception("call %s for %r failed unexpectedly, work %s", call_id, video.key, video.work_id)
    message = f"unexpected error; look for this call in the function's log: {call_id}"
    return Answer(500, {"error": {"code": INTERNAL, "message": message, "retryable": True}})


def _ms_since(started_s: float) -> float:
    return (time.perf_counter() - started_s) * 1000


def _combine(answers: list[Answer]) -> Answer:
    if len(answers) == 1:
        return answers[0]
    worst = max(answers, key=lambda answer: (answer.status >= 500, answer.status))
    return Answer(worst.status, [each.document for each in answers], worst.retry_after_s)
