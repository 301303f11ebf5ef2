"""Answers for the parts of pages that the browser asks for again and again."""

from __future__ import annotations

import hashlib

from flask import Response, make_response, request
from flask_wtf.csrf import generate_csrf

STOP_POLLING = 286
"""The status after which htmx asks no more."""


def polled(body: str, status: int = 200) -> Response:
    """The rendered part with an ETag, or 304 if the browser has this part already.

    `live.js` sends the ETag of the last answer, and does not change the page after a 304.
    """
    # The token of forms differs in each answer, although older ones stay valid.
    text = body.replace(generate_csrf(), "")
    response = make_response(body, status)
    response.set_etag(hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32])
    if status == 200:
        response.make_conditional(request)
    return response


def last_poll() -> Response:
    """The part has not changed and will not, so the browser keeps it and asks no more."""
    return Response(status=STOP_POLLING, headers={"HX-Reswap": "none"})
