"""The id of one piece of work. It stands in every log, in the answer, and in the result."""

from __future__ import annotations

import hashlib
import re
from typing import Any

_FORM = re.compile(r"[A-Za-z0-9._-]{1,64}")
"""Safe in a log line and in an HTTP header; the metadata of an object is one."""

ID_CHARS = 16

GIVEN_ID = "work:"
"""Begins the identity of work whose id its caller has given."""


def work_id_of(identity: str) -> str:
    """The id that belongs to an identity (`VideoRef.identity`): each delivery has the same."""
    if identity.startswith(GIVEN_ID):
        return identity.removeprefix(GIVEN_ID)
    return hashlib.sha256(identity.encode()).hexdigest()[:ID_CHARS]


def given_work_id(value: Any) -> str:
    """The id that a caller gave; empty if that is not a usable one."""
    return value if isinstance(value, str) and _FORM.fullmatch(value) else ""
