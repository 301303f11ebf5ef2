"""The pages for errors: what happened, and the way out."""

from __future__ import annotations

import logging
from typing import NamedTuple

from flask import Flask, render_template, request
from flask_wtf.csrf import CSRFError
from werkzeug.exceptions import HTTPException

from rollcall.core.errors import PermanentError, TransientError
from rollcall.web.came_from import came_from
from rollcall.web.sign_in_gate import current_gate

log = logging.getLogger(__name__)

Answer = tuple[str, int]

TITLES = {
    400: "This cannot be done",
    403: "You may not do this",
    404: "Page not found",
    405: "This cannot be done",
    413: "The upload is too large",
}
MESSAGES = {
    404: "The address is wrong, or the page does not exist any more.",
    405: "This address is for a button of a page, and cannot be opened.",
    413: "The browser sent more than these pages accept. Send fewer or smaller photos.",
}


class WayOut(NamedTuple):
    """The button of an error page."""

    url: str
    label: str


def add_error_pages(app: Flask) -> None:
    """Answer every error with a page."""
    app.register_error_handler(CSRFError, _expired)
    app.register_error_handler(PermanentError, _refused)
    app.register_error_handler(TransientError, _unavailable)
    app.register_error_handler(Exception, _unexpected)


def _expired(error: CSRFError) -> Answer:
    # Without HTTPS, the browser keeps no session.
    gate = current_gate()
    way_out = "repeat the change" if gate.open or gate.is_safe() else "use its address over HTTPS"
    message = (
        "Nothing was changed, because the session of this page has ended. Open the page again, and"
        f" {way_out}."
    )
    return _page("This page is out of date", message, 400)


def _refused(error: PermanentError) -> Answer:
    # An error without a status of its own refuses what was asked, so it is not the server's fault.
    status = error.status if error.status != PermanentError.status else 400
    return _page(TITLES.get(status, TITLES[400]), str(error), status)


def _unavailable(error: TransientError) -> Answer:
    log.error("%s", error)
    return _page("This does not work at the moment", str(error), error.status)


def _unexpected(error: Exception) -> Answer:
    if isinstance(error, HTTPException):
        status = error.code or 500
        # werkzeug's own sentences are about HTTP.
        own = error.description if error.description != type(error).description else None
        message = own or MESSAGES.get(status) or error.description or error.name
        return _page(TITLES.get(status, "This did not work"), message, status)
    log.exception("unexpected error on a page")
    message = "An unexpected error happened; the log of `rollcall web` has the details."
    return _page("This did not work", message, 500)


def _page(title: str, message: str, status: int) -> Answer:
    page = render_template("error.html", title=title, message=message, way_out=_way_out())
    return page, status


def _way_out() -> WayOut:
    """Back to the page that sent the request; otherwise to the first page."""
    if source := came_from():
        return WayOut(source, "Back")
    return WayOut("/", "Try again" if request.path == "/" else "Go to the first page")
