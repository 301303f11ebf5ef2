"""One call of the function through the OpenFaaS gateway."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from urllib.parse import quote

import httpx

from rollcall.core.call_signature import HEADER, signature
from rollcall.core.event_records import call_document
from rollcall.core.reports import STALE_GALLERY
from rollcall.core.verdict import Verdict, judge
from rollcall.trigger.inbox import Work

CONNECT_TIMEOUT_S = 5.0
MAX_ANSWER_BYTES = 1 << 20


class FunctionCaller:
    """Calls `gateway/function/name`, synchronously: the asynchronous path keeps work in memory."""

    def __init__(
        self, gateway: str, function: str, timeout_s: float, connections: int, key: str = ""
    ) -> None:
        self._key = key
        self._url = f"{gateway}/function/{quote(function, safe='.-_')}"
        self._timeout_s = timeout_s
        self._client = httpx.Client(
            timeout=httpx.Timeout(timeout_s, connect=CONNECT_TIMEOUT_S),
            limits=httpx.Limits(max_connections=connections),
            trust_env=False,
        )

    def call(self, work: Work) -> Verdict:
        """Never raises for what the network or the function does."""
        started = time.monotonic()
        content = json.dumps(call_document(work)).encode()
        headers = {"Content-Type": "application/json"}
        if self._key:
            headers[HEADER] = signature(self._key, content, time.time())
        call = self._client.stream("POST", self._url, content=content, headers=headers)
        try:
            with call as response:
                body = self._read(response, started + self._timeout_s)
        except httpx.HTTPError as error:
            return Verdict("retry", "no_answer", f"{type(error).__name__}: {error}")
        verdict = judge(response.status_code, body, response.headers.get("Retry-After", ""))
        return replace(verdict, stale_gallery=STALE_GALLERY in response.headers)

    def close(self) -> None:
        self._client.close()

    def _read(self, response: httpx.Response, until: float) -> bytes:
        """Bounded in size and time; httpx's own time-out starts again with each chunk."""
        body = bytearray()
        for chunk in response.iter_bytes():
            body += chunk
            if len(body) > MAX_ANSWER_BYTES or time.monotonic() > until:
                raise httpx.ReadError("the answer is too long, or too slow")
        return bytes(body)
