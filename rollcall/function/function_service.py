"""The function itself, which each host wraps: event bytes in; status, headers and JSON out."""

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
    CallNotSigned,
    RollcallError,
    ShuttingDown,
    TransientError,
    UnexpectedError,
)
from rollcall.core.events import BadRecords, parse_events
from rollcall.core.gallery_facts import GalleryFacts
from rollcall.core.log_fields import about
from rollcall.core.printable import json_text
from rollcall.core.reports import describe_error, outcome_text
from rollcall.core.trace_context import (
    trace_id_of,
    traceparent_in,
    traceparent_of,
)
from rollcall.core.types import VideoRef
from rollcall.core.work_ids import ID_CHARS
from rollcall.logs import LogLimit
from rollcall.pipeline import Pipeline
from rollcall.tracing import Attributes, PlainTracer, Tracer

log = logging.getLogger(__name__)

IGNORED = "the event does not report a new object"
"""Reason in the answer to an event that starts no work, for example about a deletion."""


class Answer(NamedTuple):
    """The answer to one call."""

    status: int
    document: Any
    retry_after_s: int = 0
    """Seconds that the caller should wait before a retry; 0: no Retry-After header."""
    gallery: GalleryFacts | None = None
    """The gallery in use; None if none has been loaded yet."""

    def headers(self) -> dict[str, str]:
        headers = {"Content-Type": "application/json"}
        if self.retry_after_s:
            headers["Retry-After"] = str(self.retry_after_s)
        return {**headers, **(self.gallery.headers() if self.gallery else {})}

    def body(self) -> str:
        return json_text(self.document)


class FunctionService:
    """Answers calls with a pipeline that is built at the first call, and then kept.

    Building it takes about a second, because it loads models. If there is a `key`, calls that are
    not signed with it are answered 401, and the other headers of signed calls are ignored. Safe for
    threads.
    """

    def __init__(
        self,
        build: Callable[[], Pipeline],
        key: str = "",
        clock: Callable[[], float] = time.time,
        tracer: Tracer | None = None,
    ) -> None:
        self._tracer = tracer or PlainTracer()
        self._build = build
        self._key = key
        self._clock = clock
        self._pipeline: Pipeline | None = None
        self._build_lock = threading.Lock()
        self._in_flight_changed = threading.Condition()
        self._in_flight = 0
        self._draining = False
        self._refusals = LogLimit()

    def answer(self, body: bytes, headers: Mapping[str, str] | None = None) -> Answer:
        """Answer an event. Errors become answers, so this never raises.

        For several records, the document is a list and the status is the worst one.
        """
        with self._in_flight_changed:
            if self._draining:
                return _error_answer(ShuttingDown("this replica is shutting down; call again"))
            self._in_flight += 1
        try:
            answer = self._answer(body, headers or {})
            # Callers that did not sign the call must not learn how many people are known.
            if self._pipeline and answer.status != CallNotSigned.status:
                answer = answer._replace(gallery=self._pipeline.galleries.facts)
            return answer
        finally:
            with self._in_flight_changed:
                self._in_flight -= 1
                self._in_flight_changed.notify_all()

    def drain(self, timeout_s: float) -> bool:
        """Reject new calls and wait for those in flight; return whether all ended in time."""
        with self._in_flight_changed:
            self._draining = True
            ended = self._in_flight_changed.wait_for(lambda: self._in_flight == 0, timeout_s)
        self._tracer.close()
        return ended

    def _answer(self, body: bytes, headers: Mapping[str, str]) -> Answer:
        trace = traceparent_in(headers)
        try:
            if self._key:
                check_signature(self._key, body, headers, self._clock())
                # Headers are not signed, and `ce-*` headers change the meaning of the body.
                headers = {}
            videos = parse_events(body, headers)
        except BadRecords as error:
            answers = [self._recognise_traced(video, trace) for video in error.videos]
            return _combine([*answers, self._refuse_call(error)])
        except RollcallError as error:
            return self._refuse_call(error)
        if not videos:
            return Answer(200, {"status": "ignored", "reason": IGNORED})
        return _combine([self._recognise_traced(video, trace) for video in videos])

    def _refuse_call(self, error: RollcallError) -> Answer:
        """Log and answer a call that is not signed, or whose event is bad in whole or in part."""
        # Anyone may send such calls, so their number in the log is limited.
        self._refusals.log(log.warning, "refused a call with %d: %s", error.status, error)
        return _error_answer(error)

    def _recognise_traced(self, video: VideoRef, traceparent: str) -> Answer:
        """Recognise one video as part of its trace. `traceparent` is the header of the call."""
        # A direct call names only the object, so without a work id, nothing distinguishes it from
        # other calls for that object. Each of them gets an id, because each is new work.
        if not (video.given_work_id or video.marked):
            video = replace(video, given_work_id=uuid.uuid4().hex[:ID_CHARS])
        # The trigger's document has a traceparent of its own, which is signed.
        video = replace(video, traceparent=video.traceparent or traceparent)
        trace_id = trace_id_of(traceparent_of(video))
        with about(work=video.work_id, key=video.key, bucket=video.bucket, trace_id=trace_id):
            step = self._tracer.begin("recognise", traceparent_of(video), video)
            answer = self._recognise(video)
            step.end(_step_attributes(answer), failed=answer.status != 200)
            return answer

    def _recognise(self, video: VideoRef) -> Answer:
        """Recognise one video, and write one log line about it, without names of people."""
        started = time.perf_counter()
        try:
            pipeline = self._get_pipeline()
        except Exception:
            # A PermanentError while the pipeline is built is about settings or models, not about
            # this video. If it were answered as permanent, every video would become a dead letter.
            return _unexpected(video)
        try:
            answer = pipeline.run(video)
        except RollcallError as error:
            ms = _ms_since(started)
            log.warning("failed %r: %s, %d ms, work %s", video.key, error, ms, video.work_id)
            return _error_answer(error)
        except Exception:
            return _unexpected(video)
        summary, ms = outcome_text(answer), _ms_since(started)
        log.info("finished %r: %s, %d ms, work %s", video.key, summary, ms, video.work_id)
        return Answer(200, answer)

    def _get_pipeline(self) -> Pipeline:
        with self._build_lock:
            if self._pipeline is None:
                self._pipeline = self._build()
            return self._pipeline


def _error_answer(error: RollcallError) -> Answer:
    retry_after_s = error.retry_after_s if isinstance(error, TransientError) else 0
    return Answer(error.status, {"error": describe_error(error)}, retry_after_s)


def _step_attributes(answer: Answer) -> Attributes:
    """The status and the milliseconds of each stage, for a trace. No names of people."""
    document = answer.document
    if answer.status != 200:
        return {"rollcall.status": "error", "rollcall.code": document["error"]["code"]}
    stages = document.get("timings_ms", {})
    return {
        "rollcall.status": document["status"],
        **{f"rollcall.stage.{name}_ms": ms for name, ms in stages.items()},
    }


def _unexpected(video: VideoRef) -> Answer:
    """Log an unexpected error, and return an answer with the id that the log line has too."""
    call_id = uuid.uuid4().hex
    log.exception("call %s for %r failed unexpectedly, work %s", call_id, video.key, video.work_id)
    error = UnexpectedError(
        f"unexpected error; look for this call in the function's log: {call_id}"
    )
    # The answer has no Retry-After, because nobody knows how long the error will last.
    return Answer(error.status, {"error": describe_error(error)})


def _ms_since(started_s: float) -> float:
    return (time.perf_counter() - started_s) * 1000


def _combine(answers: list[Answer]) -> Answer:
    if len(answers) == 1:
        return answers[0]
    # If one record may succeed later, its status is used, so that the caller repeats the event. The
    # other records get the same answers again.
    worst = max(answers, key=lambda answer: (answer.status >= 500, answer.status))
    return Answer(worst.status, [answer.document for answer in answers], worst.retry_after_s)
