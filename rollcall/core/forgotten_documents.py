"""Removes a person from JSON documents and messages that are stored in the database."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from typing import Any

from rollcall.core.names import UNKNOWN, normalise_name, spellings
from rollcall.core.types import recognition_status

FORGOTTEN = "(forgotten)"
"""Stands in messages for the name of a person who was forgotten."""

STATUSES = frozenset({"recognised", "unknown", "no_face"})


def document_without(text: str, name: str) -> tuple[str, int]:
    """The JSON text without the entries of a person, and their number.

    An entry is an object in a list that has the person's name as `name` or `nearest`. A text that
    is not JSON, or has no such entry, is returned unchanged.
    """
    try:
        document = json.loads(text)
        rest, count = _without(document, {normalise_name(name)})
    except (ValueError, RecursionError):
        return text, 0
    return (json.dumps(rest), count) if count else (text, 0)


def _without(value: Any, names: Collection[str]) -> tuple[Any, int]:
    if isinstance(value, list):
        pairs = [_without(each, names) for each in value if not _is_about(each, names)]
        removed = len(value) - len(pairs)
        return [each for each, _ in pairs], removed + sum(count for _, count in pairs)
    if isinstance(value, dict):
        found = {key: _without(each, names) for key, each in value.items()}
        rest = {key: each for key, (each, _) in found.items()}
        count = sum(count for _, count in found.values())
        people = rest.get("people")
        if count and isinstance(people, list) and rest.get("status") in STATUSES:
            rest["status"] = recognition_status([_name_of(person) for person in people])
        return rest, count
    return value, 0


def _is_about(entry: Any, names: Collection[str]) -> bool:
    if not isinstance(entry, dict):
        return False
    texts = (entry.get("name"), entry.get("nearest"))
    return any(isinstance(text, str) and normalise_name(text) in names for text in texts)


def _name_of(person: Any) -> str:
    name = person.get("name") if isinstance(person, dict) else None
    return "" if not isinstance(name, str) or name == UNKNOWN else name


def message_without(text: str, name: str) -> tuple[str, int]:
    """The message with FORGOTTEN in place of the name, and how often the name was in it."""
    found = "|".join(re.escape(spelling) for spelling in spellings(name))
    return re.subn(rf"(?<!\w)(?:{found})(?!\w)", FORGOTTEN, text)
