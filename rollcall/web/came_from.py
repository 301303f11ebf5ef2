"""Where a request came from, so that an answer can lead back there."""

from __future__ import annotations

from urllib.parse import urlsplit

from flask import redirect, request
from werkzeug.wrappers import Response


def came_from() -> str | None:
    """Path and query of the page of ours that sent the request."""
    source = urlsplit(request.referrer or "")
    path = source.path + (f"?{source.query}" if source.query else "")
    # A browser reads //host as another host.
    usable = source.netloc == request.host and path.startswith("/") and not path.startswith("//")
    return path if usable and path != request.full_path.rstrip("?") else None


def back(otherwise: str) -> Response:
    """Show the page again that sent a form; if it is unknown, another one."""
    return redirect(came_from() or otherwise, 303)
