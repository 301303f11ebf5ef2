"""Access to the trigger with a token that all senders of events share."""

from __future__ import annotations

import hmac
from contextlib import suppress

from flask import Request
from werkzeug.datastructures import Authorization

from rollcall.core.errors import BadEvent, SettingsError
from rollcall.core.events import decode, opaque_tokens

SCHEMES = ("basic", "bearer")

PLACES = (
    "opaqueData in every record, the header X-Trigger-Token, Authorization: Bearer TOKEN,"
    " or the password of basic auth"
)
"""Where a request may carry the token, as a part of error messages."""

MIN_TOKEN_CHARS = 16
"""A shorter token could be guessed."""


def checked_token(token: str) -> str:
    """Return the token. Raises SettingsError if it is missing or shorter than MIN_TOKEN_CHARS."""
    make = "make one with: openssl rand -hex 16"
    if not token:
        raise SettingsError(
            f"TRIGGER_TOKEN is not set; without it anyone could send events; {make}"
        )
    if len(token) < MIN_TOKEN_CHARS:
        raise SettingsError(
            f"TRIGGER_TOKEN has {len(token)} characters, but needs {MIN_TOKEN_CHARS}; {make}"
        )
    return token


class Access:
    """Compares the tokens of requests with the shared one, in constant time."""

    def __init__(self, token: str) -> None:
        self._token = token.encode()

    def allows_headers(self, request: Request) -> bool:
        """Whether one of the request's headers contains the token."""
        headers = request.headers
        return self.is_known(headers.get("X-Trigger-Token", ""), headers.get("Authorization", ""))

    def is_login_of_browser(self, request: Request) -> bool:
        """Whether a web page made the request with a basic-auth login that the browser remembers.

        Such a request must not be accepted. Otherwise any web page could send events in the name of
        somebody who opened our status page before (cross-site request forgery).
        """
        # Browsers send one of these headers, and programs that send events do not. Web pages cannot
        # add X-Trigger-Token or a Bearer token unless they know the token.
        scheme = request.headers.get("Authorization", "").partition(" ")[0].lower()
        is_browser = any(name in request.headers for name in ("Origin", "Sec-Fetch-Site"))
        return scheme == "basic" and is_browser

    def is_known(self, trigger_token: str, authorization: str) -> bool:
        """Whether one of the headers X-Trigger-Token and Authorization contains the token."""
        # WSGI decodes headers as Latin-1, so encoding them again gives the bytes that were sent.
        tokens = [trigger_token.encode("latin-1", "replace")]
        scheme, _, value = authorization.partition(" ")
        if scheme.lower() == "bearer":
            tokens.append(value.strip().encode("latin-1", "replace"))
        elif (login := Authorization.from_header(authorization)) and login.type == "basic":
            tokens.append((login.password or "").encode(errors="replace"))
        return any(self._is_right(token) for token in tokens)

    def allows_event(self, body: bytes) -> bool:
        """Whether every record of the event has the token as its opaque data.

        Ceph's gateway cannot send the token in any other way.
        """
        try:
            tokens = opaque_tokens(decode(body))
        except BadEvent:
            return False
        return bool(tokens) and all(
            self._is_right(token.encode(errors="replace")) for token in tokens
        )

    def places_of_tokens(self, request: Request, body: bytes) -> str:
        """Where the request has a token, right or wrong, for the log. Never returns the token."""
        found = ["X-Trigger-Token"] if request.headers.get("X-Trigger-Token") else []
        scheme = request.headers.get("Authorization", "").partition(" ")[0].lower()
        if scheme:
            found.append(
                f"Authorization: {scheme.title()}" if scheme in SCHEMES else "Authorization"
            )
        with suppress(BadEvent):
            found += ["opaqueData"] if any(opaque_tokens(decode(body))) else []
        return ", ".join(found)

    def _is_right(self, token: bytes) -> bool:
        return hmac.compare_digest(token, self._token)
