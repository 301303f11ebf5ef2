"""Access to the trigger with a token that all senders of events share.

While the token is being replaced, both the new and the old one are accepted.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol

from werkzeug.datastructures import Authorization, Headers

from rollcall.core.errors import BadEvent, SettingsError
from rollcall.core.events import decode, opaque_tokens
from rollcall.core.key_rotation import checked_secrets

SCHEMES = ("basic", "bearer")

PLACES = (
    "opaqueData in every record, the header X-Trigger-Token, Authorization: Bearer TOKEN,"
    " or the password of basic auth"
)
"""Where a request may carry the token, as a part of error messages."""

MIN_TOKEN_CHARS = 16
"""A shorter token could be guessed."""


def checked_tokens(text: str) -> tuple[str, ...]:
    """The tokens in the setting TRIGGER_TOKEN. Stores get the first one, and all are accepted.

    Raises SettingsError if there is none, or if one is shorter than MIN_TOKEN_CHARS.
    """
    command = "openssl rand -hex 16"
    if not text:
        raise SettingsError(
            "TRIGGER_TOKEN is not set; without it anyone could send events; make one with:"
            f" {command}"
        )
    try:
        return checked_secrets(text, MIN_TOKEN_CHARS, command)
    except SettingsError as error:
        raise SettingsError(f"TRIGGER_TOKEN {error}") from error


class HasHeaders(Protocol):
    """A request, as Flask or another layer represents it."""

    @property
    def headers(self) -> Headers: ...


class Access:
    """Compares the tokens of requests with the shared ones, in constant time."""

    def __init__(self, tokens: Sequence[str]) -> None:
        self._tokens = [token.encode() for token in tokens]

    def allows_headers(self, request: HasHeaders) -> bool:
        """Whether one of the request's headers contains the token."""
        headers = request.headers
        return self.is_known(headers.get("X-Trigger-Token", ""), headers.get("Authorization", ""))

    def is_login_of_browser(self, request: HasHeaders) -> bool:
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
        elif (
            authorization
            and (login := Authorization.from_header(authorization))
            and login.type == "basic"
        ):
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

    def places_of_tokens(self, request: HasHeaders, body: bytes) -> str:
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
        return any(hmac.compare_digest(token, known) for known in self._tokens)
