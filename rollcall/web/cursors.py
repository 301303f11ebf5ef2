"""Places in a long list, as texts for the address of the next page."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any

from werkzeug.exceptions import BadRequest

from rollcall.core.texts import storable
from rollcall.web.request_values import MAX_NUMBER

MAX_CURSOR_CHARS = 8_000
NUMBER = (int, float)


def write_cursor(values: Sequence[str | int | float]) -> str:
    return base64.urlsafe_b64encode(json.dumps(list(values)).encode()).decode().rstrip("=")


def read_cursor(text: str, *types: type | tuple[type, ...]) -> list[Any] | None:
    """The values that `write_cursor` got; None for an empty text.

    Raises BadRequest if the values do not have these types.
    """
    if not text:
        return None
    try:
        if len(text) > MAX_CURSOR_CHARS:
            raise ValueError
        values = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        fits = isinstance(values, list) and len(values) == len(types)
        if fits and all(map(_fits, values, types)):
            return list(values)
    except (ValueError, RecursionError):
        pass
    raise damaged()


def damaged() -> BadRequest:
    """The error for a cursor that no page has written."""
    return BadRequest("the address of this page is damaged; go back to the first page of the list")


def _fits(value: object, kind: type | tuple[type, ...]) -> bool:
    """Whether the value has this type, and a database can compare it with others."""
    if isinstance(value, bool):  # a kind of number in Python and in SQLite, but not in PostgreSQL
        return False
    if isinstance(value, str):
        storable_ = storable(value) == value
    else:
        storable_ = isinstance(value, NUMBER) and -MAX_NUMBER <= value <= MAX_NUMBER
    return storable_ and isinstance(value, kind)
