"""Who may send events to the trigger: everybody who has the shared token."""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from contextlib import suppress

from flask import Request
from werkzeug.datastructures import Authorization

from rollcall.core.errors import BadEvent, SettingsError
from rollcall.core.events import decode, opaque_tokens

SCHEMES = ("basic", "bearer")

DOORS = (
    "opaqueData in every record, the header X-Trigger-Token, Authorization: Bearer TOKEN,"
    " or the password of basic auth"
)
"""Where the token may be, for people."""


MIN_TOKEN_CHARS = 16
"""A shorter token could be guessed by trying."""


def checked_token(token: str) -> str:
    """The token. Raises SettingsError when it is missing, or too short to be a secret."""
    make = "make one with: openssl rand -hex 16"
    if not token:
        raise SettingsError(
            f"TRIGGER_TOKEN is not set; without it anyone could send events; {make}"
        )
    if len(token) < MIN_TOKEN_CHARS:
        raise SettingsError(
            f"TRIGGER_TOKEN has {len(token)} characters and needs {MIN_TOKEN_CHARS}; {make}"
        )
    return token


class Access:
    """Compares tokens with the shared one, in constant time."""

    def __init__(self, token: str) -> None:
        self._token = token.encode()

    def of_headers(self, request: Request) -> bool:
        """Whether one of the headers has the token."""
        headers = request.headers
        return self.known(headers.get("X-Trigger-Token", ""), headers.get("Authorization", ""))

    def of_page(self, request: Request) -> bool:
        """Whether a web page sent it, on the strength of a login that the browser remembers.

        Browsers say where a request comes from; programs that send events do not. The token in
        X-Trigger-Token or as Bearer is nothing that a page of somebody else could add.
        """
        scheme = request.headers.get("Authorization", "").partition(" ")[0].lower()
        says_where = any(name in request.headers for name in ("Origin", "Sec-Fetch-Site"))
        return scheme == "basic" and says_where

    def known(self, trigger_token: str, authorization: str) -> bool:
        """Whether one of these two headers has the token. WSGI decodes headers as Latin-1."""
        given = [trigger_token.encode("latin-1", "replace")]
        scheme, _, value = authorization.partition(" ")
        if scheme.lower() == "bearer":
            given.append(value.strip().encode("latin-1", "replace"))
        elif (login := Authorization.from_header(authorization)) and login.type == "basic":
            given.append((login.password or "").encode(errors="replace"))
        return any(self._right(token) for token in given)

    def of_event(self, body: bytes) -> bool:
        """Whether every record has it as opaque data: Ceph's gateway can send it nowhere else."""
        try:
            tokens = opaque_tokens(decode(body))
        except BadEvent:
            return False
        return bool(tokens) and self._all(tokens)

    def doors(self, request: Request, body: bytes) -> str:
        """Where a caller gave a token, right or wrong; for the log, without the token."""
        found = ["X-Trigger-Token"] if request.headers.get("X-Trigger-Token") else []
        scheme = request.headers.get("Authorization", "").partition(" ")[0].lower()
        if scheme:
            found.append(
                f"Authorization: {scheme.title()}" if scheme in SCHEMES else "Authorization"
            )
        with suppress(BadEvent):
            found += ["opaqueData"] if any(opaque_tokens(decode(body))) else []
        return ", ".join(found)

    def _all(self, given: Iterable[str]) -> bool:
        return all(self._right(token.encode(errors="replace")) for token in given)

    def _right(self, token: bytes) -> bool:
        return hmac.compare_digest(token, self._token)
