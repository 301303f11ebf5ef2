"""Who may see the pages: sign-in with a password, through a reverse proxy, or only this machine.

Three ways, in this order:

1. A reverse proxy at one of WEB_PROXIES names the user in the header WEB_PROXY_HEADER. The role is
   that of the user in WEB_USERS; a user who is not there is a viewer.
2. With WEB_USERS, people sign in. The session is in a cookie that is signed, that scripts cannot
   read, and that is sent only over HTTPS (browsers make an exception for this machine).
3. Without both, nobody signs in. That is allowed only on a loopback address, and only for requests
   to a loopback name: a web site could otherwise make its own name point to this machine
   (DNS rebinding), and read the pages through the visitor's browser.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Mapping
from math import ceil
from typing import Any
from urllib.parse import urlsplit

from flask import (
    Blueprint,
    Flask,
    abort,
    g,
    redirect,
    render_template,
    request,
    session,
    url_for,
)
from werkzeug.wrappers import Response

from rollcall.core.errors import SettingsError, TransientError
from rollcall.web.came_from import came_from
from rollcall.web.parts import parts
from rollcall.web.sign_in_gate import Gate, current_gate
from rollcall.web.uploads import limit_body
from rollcall.web.user_file import NAME_FORM, StoredUser, meant_user
from rollcall.web.users import LOCAL, NOBODY, User

SESSION_S = 12 * 3600
"""How long somebody stays signed in: a working day."""

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
FILES_AND_PROBES = frozenset({"static", "htmx", "health"})
"""Requests for which it does not matter who sends them."""
OPEN_ENDPOINTS = FILES_AND_PROBES | {"sign_in.form", "sign_in.sign_in", "sign_in.sign_out"}
"""Requests that are allowed without signing in."""
READING_ENDPOINTS = frozenset({"find_photo.find"})
"""Requests with POST that are allowed to viewers, because they only read what is sent."""

NEEDS_HTTPS = (
    "Sign in over HTTPS. Put a reverse proxy with a certificate in front of these pages, and name"
    " its address in WEB_PROXIES; or open the pages on this machine."
)
NEEDS_PROXY = "Open these pages at the address of the reverse proxy, which signs people in."
NEEDS_NAME = (
    "The reverse proxy has not named a user. Check that it names one in the header of"
    " WEB_PROXY_HEADER, with letters, digits, dots, dashes, underscores and @."
)

MAX_FORM_BYTES = 1 << 16
"""Longest form for signing in. Everybody may send it, so it is far below the limit for photos."""

log = logging.getLogger(__name__)
pages = Blueprint("sign_in", __name__)


def add_sign_in(app: Flask, gate: Gate) -> None:
    """Let only known users see the pages."""
    app.extensions["rollcall-gate"] = gate
    app.config.update(
        SESSION_COOKIE_SECURE=not gate.open,
        # A page in another tab asks for its changes every two seconds. An answer to it that comes
        # after a sign-out must not bring the cookie back.
        SESSION_REFRESH_EACH_REQUEST=False,
        PERMANENT_SESSION_LIFETIME=SESSION_S,
    )
    app.register_blueprint(pages)
    app.before_request(_recognise)
    app.context_processor(lambda: {"can_sign_out": "name" in session})


@pages.url_value_preprocessor
def _limit(endpoint: str | None, values: dict[str, Any] | None) -> None:
    limit_body(MAX_FORM_BYTES)  # before the token of the form is checked, which reads the form


def _recognise() -> Response | None:
    """Find out who sends the request. Send unknown people to the form."""
    gate = current_gate()
    if gate.open:
        if _host_name() not in LOOPBACK_NAMES:
            abort(
                403,
                "open the pages at http://127.0.0.1 or http://localhost; nobody has to sign"
                " in there, so other names are refused",
            )
        g.user = LOCAL
    elif request.endpoint in FILES_AND_PROBES:
        g.user = NOBODY
    else:
        user = _proxy_user(gate) or _session_user(gate)
        if user is None and request.endpoint not in OPEN_ENDPOINTS:
            return _ask()
        g.user = user or NOBODY
    # The views that change something check the role too; a forgotten check must not matter.
    changes = request.method not in ("GET", "HEAD", "OPTIONS")
    allowed = g.user.may_edit or request.endpoint in OPEN_ENDPOINTS | READING_ENDPOINTS
    if changes and not allowed:
        abort(403, "your role is viewer; ask an editor to make this change")
    return None


def _ask() -> Response:
    """Send the browser to the form, and from there back to the page. A part of a page that updates
    itself is answered with the address of a whole page."""
    if request.headers.get("HX-Request"):
        form_url = url_for("sign_in.form", next=came_from())
        return Response(status=401, headers={"HX-Redirect": form_url})
    wanted = _local(request.full_path.rstrip("?")) if request.method == "GET" else "/"
    return redirect(url_for("sign_in.form", next=wanted))


def _proxy_user(gate: Gate) -> User | None:
    if not gate.proxy_header or not gate.is_proxy(request.remote_addr):
        return None
    name = request.headers.get(gate.proxy_header, "")
    if not NAME_FORM.fullmatch(name):
        return None
    stored = _users(gate).get(name)
    return stored.user if stored else User(name, "viewer")


def _session_user(gate: Gate) -> User | None:
    if gate.users is None or not isinstance(name := session.get("name"), str):
        return None
    stored = _users(gate).get(name)
    signed_in_s = session.get("at_s")
    fresh = isinstance(signed_in_s, int | float) and 0 <= time.time() - signed_in_s < SESSION_S
    # A new password or a removed user ends all sessions.
    if stored is None or not fresh or session.get("stamp") != _stamp(stored):
        session.clear()
        return None
    return stored.user


def _users(gate: Gate) -> Mapping[str, StoredUser]:
    """All users. Raises TransientError if the file cannot be read."""
    try:
        return gate.users.users() if gate.users else {}
    except SettingsError as error:
        # The message names the file, and whoever sees it may not have signed in.
        log.error("%s", error)
        raise TransientError(
            "the file with the users cannot be read; the log of `rollcall web` says why"
        ) from error


def _stamp(stored: StoredUser) -> str:
    return hashlib.sha256(stored.hashed.encode()).hexdigest()[:16]


@pages.get("/sign-in")
def form() -> Any:
    """The form for name and password."""
    gate = current_gate()
    if gate.open or _proxy_user(gate) or _session_user(gate):
        return redirect(_local(request.args.get("next", "/")))
    return _form(400 if _hindrance(gate) else 200)


@pages.post("/sign-in")
def sign_in() -> Any:
    """Check name and password."""
    gate = current_gate()
    if gate.users is None or _hindrance(gate):
        return _form(400)
    name, password = request.form.get("name", "")[:64], request.form.get("password", "")
    address = gate.client_address()
    meant = meant_user(_users(gate), name)
    # Unknown names are counted in any case too. Otherwise the limit would reveal which names exist.
    counted = meant.user.name if meant else name.casefold()
    if wait_s := ceil(gate.limit.wait_s(counted, address)):
        page, status = _form(429, f"Too many wrong passwords. Try again in {wait_s} s.")
        return page, status, {"Retry-After": str(wait_s)}
    stored = gate.users.checked(name, password)
    if stored is None:
        gate.limit.note_failure(counted, address)
        return _form(401, "The name or the password is wrong.")
    name = stored.user.name
    gate.limit.note_success(name, address)
    parts().changes.record(name, "sign_in")
    session.clear()
    session.permanent = True
    session.update(name=name, at_s=time.time(), stamp=_stamp(stored))
    return redirect(_local(request.form.get("next", "/")))


@pages.post("/sign-out")
def sign_out() -> Response:
    """End the session in this browser."""
    session.clear()
    return redirect(url_for("sign_in.form"))


def _form(status: int, problem: str = "") -> tuple[str, int]:
    hindrance = _hindrance(current_gate())
    values = {
        "next": _local(request.values.get("next", "/")),
        "name": request.form.get("name", "")[:64],
        "problem": hindrance or problem,
        "usable": not hindrance,
    }
    return render_template("sign_in.html", **values), status


def _hindrance(gate: Gate) -> str:
    """Why nobody can sign in here with a password; empty if people can."""
    if gate.users is None:
        return NEEDS_NAME if gate.is_proxy(request.remote_addr) else NEEDS_PROXY
    return "" if gate.is_safe() else NEEDS_HTTPS


def _host_name() -> str:
    return (urlsplit("//" + request.host).hostname or "").lower()


def _local(target: str) -> str:
    """The target if it is a path of these pages, otherwise the first page."""
    # A browser reads //host and /\host as another host, and drops tabs and line breaks.
    safe = target.startswith("/") and target[1:2] not in ("/", "\\")
    return target if safe and target.isprintable() else "/"
