"""One call of the function through the OpenFaaS gateway."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from urllib.parse import quote

from rollcall.core.call_signature import HEADER, signature
from rollcall.core.event_records import call_document
from rollcall.core.gallery_facts import STALE_GALLERY, gallery_facts_in
from rollcall.core.retry import AttemptResult, read_answer
from rollcall.core.trace_context import HEADER as TRACEPARENT
from rollcall.core.trace_context import traceparent_of
from rollcall.core.work import Work
from rollcall.http_client import HttpClient, NoAnswer
from rollcall.tracing import PlainTracer, Tracer

MAX_ANSWER_BYTES = 1 << 20
"""Longest answer that is read, to protect the trigger's memory. An answer about a video with
hundreds of people is far shorter."""


class FunctionCaller:
    """Calls `GATEWAY/function/NAME` and waits for the answer.

    The asynchronous path of the gateway would keep the work in memory, and lose it at a restart.
    """

    def __init__(
        self,
        gateway: str,
        function: str,
        timeout_s: float,
        connections: int,
        key: str = "",
        tracer: Tracer | None = None,
    ) -> None:
        self._tracer = tracer or PlainTracer()
        self._key = key
        self._url = f"{gateway}/function/{quote(function, safe='.-_')}"
        self._timeout_s = timeout_s
        self._client = HttpClient(connections=connections)

    def call(self, work: Work) -> AttemptResult:
        """Call the function once. Failures, such as a time-out, become results and do not raise."""
        trace = traceparent_of(work)
        if work.calls == 1:
            # The clock of the database may be ahead of the one here.
            received_s = min(work.received_s, time.time())
            self._tracer.begin("wait", trace, work, received_s).end()
        step = self._tracer.begin("call", trace, work)
        result = self._call(work, step.traceparent)
        outcome = {"rollcall.outcome": result.outcome, "rollcall.code": result.code}
        step.end(outcome, failed=result.outcome != "done")
        return result

    def _call(self, work: Work, traceparent: str) -> AttemptResult:
        content = json.dumps(call_document(work, traceparent)).encode()
        headers = {"Content-Type": "application/json", TRACEPARENT: traceparent}
        if self._key:
            headers[HEADER] = signature(self._key, content, time.time())
        try:
            answer = self._client.request(
                "POST",
                self._url,
                headers,
                content,
                timeout_s=self._timeout_s,
                max_bytes=MAX_ANSWER_BYTES,
            )
        except NoAnswer as error:
            return AttemptResult("retry", "no_answer", str(error))
        result = read_answer(answer.status, answer.body, answer.headers.get("retry-after", ""))
        return replace(
            result,
            gallery=gallery_facts_in(answer.headers),
            stale_gallery=STALE_GALLERY.lower() in answer.headers,
        )

    def close(self) -> None:
        self._client.close()
