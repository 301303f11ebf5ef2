"""Names the video that log lines are about, without passing it to every function that logs.

`rollcall.logs` adds these fields to each line that is logged inside the block of `about`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType

FIELDS = ("work", "key", "bucket", "trace_id")
"""The fields, in the order in which JSON lines have them. `work` is the work id."""

_NO_FIELDS: Mapping[str, str] = MappingProxyType({})
_fields: ContextVar[Mapping[str, str]] = ContextVar("log_fields", default=_NO_FIELDS)


@contextmanager
def about(*, work: str = "", key: str = "", bucket: str = "", trace_id: str = "") -> Iterator[None]:
    """Add these fields to the lines that this thread logs in the block. Empty fields are left out.

    Fields of an outer block stay, unless this block has the same field.
    """
    given = {"work": work, "key": key, "bucket": bucket, "trace_id": trace_id}
    token = _fields.set({**_fields.get(), **{name: text for name, text in given.items() if text}})
    try:
        yield
    finally:
        _fields.reset(token)


def current_fields() -> Mapping[str, str]:
    """The fields for a line that is logged now."""
    return _fields.get()
