"""One call of the function through the OpenFaaS gateway."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from urllib.parse import quote

from rollcall.core.call_signature import HEADER, signature
from rollcall.core.event_records import call_document
from rollcall.core.reports import STALE_GALLERY
from rollcall.core.retry import Verdict, judge
from rollcall.http_client import HttpClient, NoAnswer
from rollcall.queues.inbox import Work

MAX_ANSWER_BYTES = 1 << 20


class FunctionCaller:
    """Calls `gateway/function/name`, synchronously: the asynchronous path keeps work in memory."""

    def __init__(
        self, gateway: str, function: str, timeout_s: float, connections: int, key: str = ""
    ) -> None:
        self._key = key
        self._url = f"{gateway}/function/{quote(function, safe='.-_')}"
        self._timeout_s = timeout_s
        self._client = HttpClient(connections=connections)

    def call(self, work: Work) -> Verdict:
        """Never raises for what the network or the function does, and takes `timeout_s` at most."""
        content = json.dumps(call_document(work)).encode()
        headers = {"Content-Type": "application/json"}
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
            return Verdict("retry", "no_answer", str(error))
        verdict = judge(answer.status, answer.body, answer.headers.get("retry-after", ""))
        return replace(verdict, stale_gallery=STALE_GALLERY.lower() in answer.headers)

    def close(self) -> None:
        self._client.close()
