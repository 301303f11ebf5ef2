"""A message of the input queue: one call of the Lambda for each video that it tells of."""

from __future__ import annotations

import json
import logging
import time
from typing import Any

from rollcall.core.errors import INTERNAL, BadEvent, FunctionBusy, TransientError
from rollcall.core.event_records import call_document
from rollcall.core.events import BadRecords, parse_events
from rollcall.core.retry import BUSY_DELAY_S, FEW_ATTEMPTS, Verdict, judge
from rollcall.core.types import VideoRef
from rollcall.stores.sqs import Message
from rollcall.worker.counters import Counters
from rollcall.worker.lambda_function import Answer, LambdaFunction

log = logging.getLogger(__name__)


class Invoker:
    """Handles messages of the input queue.

    Videos of one message are called for one after the other; a message that comes again calls for
    all of them again, which gives the same results.
    """

    def __init__(self, function: LambdaFunction, counters: Counters) -> None:
        self._function = function
        self._counters = counters

    def handle(self, message: Message) -> Verdict:
        """A bad record costs its neighbours nothing: theirs are called for before it is dead."""
        try:
            videos, problem = parse_events(message.body.encode()), None
        except BadRecords as error:
            videos, problem = error.videos, error
        except BadEvent as error:
            return Verdict("dead", error.code, str(error))
        for video in videos:
            verdict = self._call(video)
            if verdict.outcome == "retry":
                return verdict
        if problem:
            return Verdict("dead", problem.code, str(problem))
        self._counters.add(events=len(videos), ignored=int(not videos))
        return Verdict("done", "done")

    def _call(self, video: VideoRef) -> Verdict:
        """A refused video is done here: the Lambda has sent why, as its result."""
        payload = json.dumps(call_document(video)).encode()
        started = time.perf_counter()
        try:
            with self._counters.calling():
                verdict = _judged(self._function.invoke(payload))
        except FunctionBusy as error:
            return Verdict("retry", error.code, str(error), BUSY_DELAY_S, counts=False)
        except TransientError as error:
            verdict = Verdict("retry", error.code, str(error), error.retry_after_s)
        ms = (time.perf_counter() - started) * 1000
        if verdict.outcome == "retry":
            self._counters.add(retried=1)
            log.warning("%r: %s, %d ms, work %s", video.key, verdict.message, ms, video.work_id)
        else:
            self._counters.add(invoked=1)
            done = verdict.outcome == "done"
            found = verdict.outcome_text if done else f"refused: {verdict.message}"
            log.info("finished %r: %s, %d ms, work %s", video.key, found, ms, video.work_id)
        return verdict


def _document(payload: bytes) -> dict[str, Any]:
    try:
        document = json.loads(payload)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _is_unexpected(document: dict[str, Any]) -> bool:
    """Whether our handler raised for an unexpected error (`rollcall.function.aws_lambda`).

    Lambda reports its own failures in the same form, for example time-outs and `Runtime.ExitError`.
    """
    message = document.get("errorMessage")
    return (
        document.get("errorType") == TransientError.__name__
        and isinstance(message, str)
        and message.startswith(f"{INTERNAL}:")
    )


def _judged(answer: Answer) -> Verdict:
    """Judges by the `statusCode` inside the function's answer."""
    document = _document(answer.payload)
    if answer.function_error:
        text = answer.payload[:500].decode(errors="replace")
        few = FEW_ATTEMPTS if _is_unexpected(document) else None
        message = f"{answer.function_error}: {text}"
        return Verdict("retry", "function_error", message, max_attempts=few)
    status = document.get("statusCode")
    if type(status) is not int:
        text = (
            "the Lambda's answer has no statusCode; does LAMBDA_FUNCTION name Rollcall's function?"
        )
        return Verdict("retry", "bad_answer", text)
    return judge(status, answer.payload)
