"""Headers of every answer of the trigger: no scripts in our pages, no framing, no caching."""

from __future__ import annotations

# The status page shows keys and messages that outsiders choose. So its only active content may be
# our own style element, which a nonce allows.
POLICY = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
SECURITY_HEADERS = (
    ("X-Frame-Options", "DENY"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cache-Control", "no-store"),
)


def security_headers(nonce: str = "") -> list[tuple[str, str]]:
    """The headers; `nonce` is that of the page's style element."""
    style = f"; style-src 'nonce-{nonce}'" if nonce else ""
    return [("Content-Security-Policy", POLICY + style), *SECURITY_HEADERS]
