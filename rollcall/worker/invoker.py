"""Handles messages of the input queue: calls the Lambda for each video in a message."""

from __future__ import annotations

import json
import logging
import random
import threading
import time

from rollcall.core.errors import BadEvent, FunctionBusy, TransientError, UnexpectedError
from rollcall.core.event_records import call_document
from rollcall.core.events import BadRecords, parse_events
from rollcall.core.log_fields import about
from rollcall.core.retry import STOPPING, AttemptResult, RetryPolicy, parse_json_object, read_answer
from rollcall.core.trace_context import child_traceparent, trace_id_of, traceparent_of
from rollcall.core.types import VideoRef
from rollcall.stores.sqs import Message
from rollcall.worker.counters import Counters
from rollcall.worker.lambda_function import Answer, LambdaFunction

log = logging.getLogger(__name__)

SHOWN_BYTES = 500
"""How many bytes of the answer to a failed invocation are stored and logged."""


class Invoker:
    """Calls the Lambda for the videos of a message, one after the other.

    If a message is delivered again, the Lambda is called for all of its videos again, which gives
    the same results. `stopping` ends the wait for a busy function.
    """

    def __init__(
        self,
        function: LambdaFunction,
        counters: Counters,
        policy: RetryPolicy,
        stopping: threading.Event,
    ) -> None:
        self._function = function
        self._counters = counters
        self._policy = policy
        self._stopping = stopping
        self._jitter = random.Random()

    def handle(self, message: Message) -> AttemptResult:
        """Call the Lambda for every good record; a bad one makes the message a dead letter."""
        problem: BadRecords | None = None
        try:
            videos = parse_events(message.body.encode())
        except BadRecords as error:
            videos, problem = error.videos, error
        except BadEvent as error:
            return AttemptResult("dead", error.code, str(error))
        for video in videos:
            result = self._call_until_not_busy(video)
            if result.outcome == "retry":
                return result
        if problem:
            return AttemptResult("dead", problem.code, str(problem))
        self._counters.add(events=len(videos), ignored=int(not videos))
        return AttemptResult("done", "done")

    def _call_until_not_busy(self, video: VideoRef) -> AttemptResult:
        """Repeat the call while the function is busy, or until the worker stops.

        The message stays claimed during the wait. If it were put back, SQS would deliver it again,
        and each delivery counts as an attempt.
        """
        calls = 0
        while True:
            result, calls = self._call(video), calls + 1
            if result.counts:
                return result
            delay_s = self._policy.delay_s(result, attempts=0, calls=calls, jitter=self._jitter)
            if self._stopping.wait(delay_s):
                return STOPPING

    def _call(self, video: VideoRef) -> AttemptResult:
        trace = traceparent_of(video)
        fields = {"work": video.work_id, "key": video.key, "bucket": video.bucket}
        with about(**fields, trace_id=trace_id_of(trace)):
            return self._call_traced(video, trace)

    def _call_traced(self, video: VideoRef, trace: str) -> AttemptResult:
        payload = json.dumps(call_document(video, child_traceparent(trace))).encode()
        started_s = time.perf_counter()
        try:
            with self._counters.calling():
                result = _read_invocation(self._function.invoke(payload))
        except FunctionBusy as error:
            return AttemptResult("retry", error.code, str(error), counts=False)
        except TransientError as error:
            result = AttemptResult("retry", error.code, str(error), error.retry_after_s)
        ms = (time.perf_counter() - started_s) * 1000
        if result.outcome == "retry":
            self._counters.add(retried=1)
            log.warning("%r: %s, %d ms, work %s", video.key, result.message, ms, video.work_id)
        else:
            # A refused video is finished too: the Lambda has sent the reason as its result.
            self._counters.add(invoked=1)
            done = result.outcome == "done"
            findings = result.summary if done else f"refused: {result.message}"
            log.info("finished %r: %s, %d ms, work %s", video.key, findings, ms, video.work_id)
        return result


def _read_invocation(answer: Answer) -> AttemptResult:
    """Return what the Lambda's answer means; its `statusCode` is the status of the function."""
    document = parse_json_object(answer.payload)
    if answer.function_error:
        # Lambda reports its own failures in the same form, for example time-outs and
        # `Runtime.ExitError`. Only our handler raises a class of this name.
        unexpected = document.get("errorType") == UnexpectedError.__name__
        text = answer.payload[:SHOWN_BYTES].decode(errors="replace")
        message = f"{answer.function_error}: {text}"
        return AttemptResult("retry", "function_error", message, unexpected=unexpected)
    status = document.get("statusCode")
    if type(status) is not int:  # `isinstance` would accept True
        text = (
            "the Lambda's answer has no statusCode; does LAMBDA_FUNCTION name Rollcall's function?"
        )
        return AttemptResult("retry", "bad_answer", text)
    return read_answer(status, answer.payload)
