"""Refuses values of requests that the databases cannot store, for all pages in one place.

Both databases store whole numbers of 64 bits. PostgreSQL stores no NUL characters in texts.
"""

from __future__ import annotations

from itertools import chain
from typing import Any

from flask import Flask, abort, request
from werkzeug.routing import IntegerConverter, Map, ValidationError

MAX_NUMBER = 1 << 62
"""Larger numbers are refused. No row has one."""

MAX_DIGITS = 19


class RowConverter(IntegerConverter):
    """`<int:...>` in addresses. Numbers above MAX_NUMBER are answered 404."""

    def __init__(self, url_map: Map, *args: Any, **options: Any) -> None:
        options.setdefault("max", MAX_NUMBER)
        super().__init__(url_map, *args, **options)

    def to_python(self, value: str) -> Any:
        if len(value) > MAX_DIGITS:  # Python refuses to read very many digits
            raise ValidationError
        return super().to_python(value)


def whole_number(text: str) -> int:
    """The number in a text, as `type` for reading a field. Raises ValueError."""
    number = int(text)
    if abs(number) > MAX_NUMBER:
        raise ValueError("the number is too large")
    return number


def add_limits(app: Flask) -> None:
    """Check the values of every request. Call this before pages are registered."""
    app.url_map.converters["int"] = RowConverter
    app.before_request(_refuse_nul)


def _refuse_nul() -> None:
    fields = chain(request.args.items(multi=True), request.form.items(multi=True))
    for text in chain([request.path], *fields):
        if "\x00" in text:
            abort(400, "the address or the form contains the character NUL; remove it")
