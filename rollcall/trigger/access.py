"""Who may speak to the trigger: those who know the shared token."""

from __future__ import annotations

import hmac
from collections.abc import Iterable

from flask import Request

from rollcall.core.errors import BadEvent
from rollcall.core.events import decode, opaque_tokens


class Access:
    """The token comes in a header, as the password of basic auth, or in the event itself."""

    def __init__(self, token: str) -> None:
        self._token = token.encode()

    def of_headers(self, request: Request) -> bool:
        basic = request.authorization
        password = basic.password if basic and basic.type == "basic" else None
        return self._all([request.headers.get("X-Trigger-Token") or password or ""])

    def of_event(self, body: bytes) -> bool:
        """Ceph can only send it as the topic's opaque data, in every record."""
        try:
            return self._all(opaque_tokens(decode(body)))
        except BadEvent:
            return False

    def _all(self, given: Iterable[str]) -> bool:
        """Constant time for each; nothing given is not enough."""
        texts = [text.encode(errors="replace") for text in given]
        return bool(texts) and all(hmac.compare_digest(text, self._token) for text in texts)
