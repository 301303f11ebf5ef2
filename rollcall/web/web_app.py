"""The Flask app of the pages. Each page has a module of its own in this folder."""

from __future__ import annotations

import secrets
from importlib.resources import files
from pathlib import Path
from typing import Any

from flask import Flask, Response, g, send_file
from flask_wtf import CSRFProtect
from markupsafe import Markup
from werkzeug.wrappers import Response as AnyResponse

from rollcall.core.key_rotation import secrets_in
from rollcall.core.printable import printable
from rollcall.web import (
    enrol_photos,
    enrolled_faces,
    find_photo,
    forget_person,
    formats,
    log_page,
    now,
    people,
    person,
    person_changes,
    problems,
    unknown,
    unknown_changes,
    video_changes,
    video_downloads,
    video_page,
    videos,
)
from rollcall.web.error_pages import add_error_pages
from rollcall.web.foot import foot_line
from rollcall.web.navigation import navigation
from rollcall.web.parts import WebParts, parts
from rollcall.web.request_values import add_limits
from rollcall.web.sign_in import add_sign_in
from rollcall.web.sign_in_gate import build_gate
from rollcall.web.system_state import SystemState
from rollcall.web.users import current_user

MAX_BODY_BYTES = 64 << 20
"""Longest request. Photos for the enrolment are the longest."""

PAGES = (
    now.pages,
    problems.pages,
    log_page.pages,
    videos.pages,
    video_page.pages,
    video_changes.pages,
    video_downloads.pages,
    people.pages,
    person.pages,
    person_changes.pages,
    forget_person.pages,
    unknown.pages,
    unknown_changes.pages,
    find_photo.pages,
    enrol_photos.pages,
    enrolled_faces.pages,
)
"""The blueprints. The navigation is in `templates/base.html`."""


def create_app(web_parts: WebParts) -> Flask:
    """The app with all pages."""
    app = Flask(__name__)
    # Without WEB_SECRET, the key lives as long as this process, and so do the sessions.
    key, *old_keys = secrets_in(web_parts.settings.web_secret) or (secrets.token_hex(32),)
    app.config.update(
        MAX_CONTENT_LENGTH=MAX_BODY_BYTES,
        SECRET_KEY=key,
        SECRET_KEY_FALLBACKS=old_keys,
        SESSION_COOKIE_NAME="rollcall",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        # A page may stay open for days; its tokens are valid as long as the session.
        WTF_CSRF_TIME_LIMIT=None,
    )
    app.extensions["rollcall"] = web_parts
    app.extensions["rollcall-state"] = SystemState(web_parts)
    add_sign_in(app, build_gate(web_parts.settings))
    CSRFProtect(app)
    add_limits(app)
    for pages in PAGES:
        app.register_blueprint(pages)
    app.add_url_rule("/static/htmx.js", "htmx", _htmx)
    app.add_url_rule("/healthz", "health", lambda: {"status": "ok", "service": "rollcall-web"})
    app.context_processor(_common_values)
    app.jinja_env.filters.update(formats.FILTERS)
    # HTML escaping leaves control characters in a text, also those that reverse its direction.
    app.jinja_env.finalize = _escape_control_characters
    app.after_request(_add_security_headers)
    add_error_pages(app)
    return app


def _common_values() -> dict[str, Any]:
    """The values that `base.html` and most templates use."""
    return {
        "user": current_user(),
        "blur_faces": parts().settings.blur_faces == "yes",
        "navigation": navigation,
        "foot_line": foot_line,
    }


def _htmx() -> Response:
    # The wheel of django-htmx contains htmx; Django itself is not needed.
    path = Path(str(files("django_htmx"))) / "static" / "django_htmx" / "htmx-2.min.js"
    return send_file(path, mimetype="text/javascript", max_age=3600)


def _escape_control_characters(value: Any) -> Any:
    if isinstance(value, str) and not isinstance(value, Markup):
        return printable(value)
    return value


def _add_security_headers(response: AnyResponse) -> AnyResponse:
    # The page of a video plays it straight from the store.
    media = " ".join(filter(None, ("'self'", g.get("media_origin"))))
    response.headers.setdefault(
        "Content-Security-Policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
        f" connect-src 'self'; media-src {media}; form-action 'self'; base-uri 'none';"
        " frame-ancestors 'none'",
    )
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    response.headers.setdefault("X-Frame-Options", "DENY")
    response.headers.setdefault("Referrer-Policy", "same-origin")
    # Without users nobody signs in, so other sites could show the pictures of faces.
    response.headers.setdefault("Cross-Origin-Resource-Policy", "same-origin")
    response.headers.setdefault("Cache-Control", "no-store")
    return response
