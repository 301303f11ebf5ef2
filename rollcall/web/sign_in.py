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
import ipaddress
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from flask import (
    Blueprint,
    Flask,
    abort,
    current_app,
    g,
    redirect,
    render_template,
    request,
    session,
    url_for,
)
from werkzeug.wrappers import Response

from rollcall.core.errors import SettingsError
from rollcall.core.settings import Settings
from rollcall.web.parts import parts
from rollcall.web.sign_in_limit import SignInLimit
from rollcall.web.user_file import NAME_FORM, StoredUser, UserFile
from rollcall.web.users import LOCAL, NOBODY, User

SESSION_S = 12 * 3600
"""How long somebody stays signed in: a working day."""

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
OPEN_ENDPOINTS = frozenset(
    {"sign_in.form", "sign_in.sign_in", "sign_in.sign_out", "static", "htmx", "health"}
)
"""Requests that are allowed without signing in."""
READING_ENDPOINTS = frozenset({"find_photo.find"})
"""Requests with POST that are allowed to viewers, because they only read what is sent."""

pages = Blueprint("sign_in", __name__)

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Gate:
    """How users are recognised, from the settings."""

    users: UserFile | None
    proxy_header: str
    proxies: tuple[Network, ...]
    limit: SignInLimit

    @property
    def open(self) -> bool:
        """Whether nobody has to sign in."""
        return self.users is None and not self.proxy_header

    def is_proxy(self, address: str | None) -> bool:
        """Whether requests from this address come from a trusted reverse proxy."""
        try:
            found = ipaddress.ip_address(address or "")
        except ValueError:
            return False
        if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped:
            found = found.ipv4_mapped
        return any(found in network for network in self.proxies)


def build_gate(settings: Settings) -> Gate:
    """Raises SettingsError if the settings would show the pages to everybody on the network."""
    proxies = tuple(_networks(settings.web_proxies))
    if settings.web_proxy_header and not proxies:
        raise SettingsError(
            "WEB_PROXY_HEADER needs WEB_PROXIES, the addresses of the reverse proxies; everybody"
            " else could send the header too"
        )
    users = UserFile(Path(settings.web_users)) if settings.web_users else None
    gate = Gate(users, settings.web_proxy_header, proxies, SignInLimit())
    if users:
        users.users()  # a file that cannot be used is reported at the start
    host = settings.web_listen.rpartition(":")[0].strip("[]")
    if gate.open and not _is_loopback(host):
        raise SettingsError(
            f"WEB_LISTEN {settings.web_listen} can be reached from other machines, and nobody has"
            " to sign in; set WEB_USERS (`rollcall web user add NAME`), or listen on 127.0.0.1"
        )
    return gate


def add_sign_in(app: Flask, gate: Gate) -> None:
    """Let only known users see the pages."""
    app.extensions["rollcall-gate"] = gate
    app.config.update(
        SESSION_COOKIE_SECURE=not gate.open,
        PERMANENT_SESSION_LIFETIME=SESSION_S,
    )
    app.register_blueprint(pages)
    app.before_request(_recognise)
    app.context_processor(lambda: {"can_sign_out": "name" in session})


def _recognise() -> Response | None:
    """Find out who sends the request, and refuse it if that is nobody."""
    gate = _gate()
    if gate.open:
        if _host_name() not in LOOPBACK_NAMES:
            abort(
                403,
                "open the pages at http://127.0.0.1 or http://localhost; nobody has to sign"
                " in there, so other names are refused",
            )
        g.user = LOCAL
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
    """Send the browser to the form. A part of a page that updates itself gets a whole new page."""
    wanted = _local(request.full_path.rstrip("?")) if request.method == "GET" else "/"
    if request.headers.get("HX-Request"):
        return Response(status=401, headers={"HX-Redirect": url_for("sign_in.form")})
    return redirect(url_for("sign_in.form", next=wanted))


def _proxy_user(gate: Gate) -> User | None:
    if not gate.proxy_header or not gate.is_proxy(request.remote_addr):
        return None
    name = request.headers.get(gate.proxy_header, "")
    if not NAME_FORM.fullmatch(name):
        return None
    stored = gate.users.users().get(name) if gate.users else None
    return stored.user if stored else User(name, "viewer")


def _session_user(gate: Gate) -> User | None:
    if gate.users is None or not isinstance(name := session.get("name"), str):
        return None
    stored = gate.users.users().get(name)
    signed_in_s = session.get("at_s")
    fresh = isinstance(signed_in_s, int | float) and 0 <= time.time() - signed_in_s < SESSION_S
    # A new password or a removed user ends all sessions.
    if stored is None or not fresh or session.get("stamp") != _stamp(stored):
        session.clear()
        return None
    return stored.user


def _stamp(stored: StoredUser) -> str:
    return hashlib.sha256(stored.hashed.encode()).hexdigest()[:16]


@pages.get("/sign-in")
def form() -> str | Response:
    """The form for name and password."""
    gate = _gate()
    if gate.open or _proxy_user(gate) or _session_user(gate):
        return redirect(_local(request.args.get("next", "/")))
    return _form(200)[0]


@pages.post("/sign-in")
def sign_in() -> Any:
    """Check name and password."""
    gate = _gate()
    if gate.users is None:
        abort(404)
    name, password = request.form.get("name", "")[:64], request.form.get("password", "")
    if not _reaches_us_safely(gate):
        return _form(
            400,
            "Sign in over HTTPS. Put a reverse proxy with a certificate in front of"
            " these pages, or open them on this machine.",
        )
    address = _client_address(gate)
    if wait_s := gate.limit.wait_s(name, address):
        page, status = _form(429, f"Too many wrong passwords. Try again in {wait_s:.0f} s.")
        return page, status, {"Retry-After": str(round(wait_s) + 1)}
    stored = gate.users.checked(name, password)
    if stored is None:
        gate.limit.note_failure(name, address)
        return _form(401, "The name or the password is wrong.")
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
    target = _local(request.values.get("next", "/"))
    name = request.form.get("name", "")[:64]
    return render_template("sign_in.html", next=target, problem=problem, name=name), status


def _reaches_us_safely(gate: Gate) -> bool:
    """Whether the password came over HTTPS, or did not leave this machine."""
    forwarded = request.headers.get("X-Forwarded-Proto")
    if forwarded and gate.is_proxy(request.remote_addr):
        return forwarded == "https"
    # A header from a proxy that is not trusted shows at least that the request came from elsewhere.
    return request.is_secure or (not forwarded and _is_loopback(request.remote_addr or ""))


def _client_address(gate: Gate) -> str:
    """The address that sent the request to the first trusted proxy, for the limit of attempts.

    Each proxy appends the address that it got the request from, so everything before the last
    address that is not a proxy may be made up.
    """
    address = request.remote_addr or ""
    for text in reversed(request.headers.get("X-Forwarded-For", "").split(",")):
        if not gate.is_proxy(address):
            break
        address = text.strip() or address
    return address[:64]


def _gate() -> Gate:
    gate: Gate = current_app.extensions["rollcall-gate"]
    return gate


def _host_name() -> str:
    return (urlsplit("//" + request.host).hostname or "").lower()


def _local(target: str) -> str:
    """The target if it is a path of these pages, otherwise the first page."""
    # A browser reads //host and /\host as another host, and drops tabs and line breaks.
    safe = target.startswith("/") and target[1:2] not in ("/", "\\")
    return target if safe and target.isprintable() else "/"


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _networks(text: str) -> list[Network]:
    try:
        parts = [part.strip() for part in text.split(",")]
        return [ipaddress.ip_network(part) for part in parts if part]
    except ValueError as error:
        raise SettingsError(
            f"WEB_PROXIES {text!r} has to be a list of addresses or networks, for example"
            " 10.0.0.5, 10.1.0.0/16"
        ) from error
