"""The faces that a page shows, as texts for its forms, so that a verdict is about those faces."""

from __future__ import annotations

import re
from collections.abc import Iterable

from werkzeug.exceptions import BadRequest

from rollcall.core.index_types import UnknownFaceRef

MAX_FACES = 50
"""Faces of a group that a verdict stores. The other faces of the group get the same name, because
they look like these."""

_FORM = re.compile("([0-9]{1,18})-([0-9a-f]{16})")


def write_faces(faces: Iterable[UnknownFaceRef]) -> str:
    return " ".join(f"{each.video_id}-{each.token}" for each in faces)


def read_faces(text: str) -> list[UnknownFaceRef]:
    """The faces that `write_faces` got. Raises BadRequest for other texts, and for too many."""
    found, words = [], text.split()
    if len(words) > MAX_FACES:
        raise BadRequest(f"mark at most {MAX_FACES} faces at once as somebody else")
    for word in words:
        match = _FORM.fullmatch(word)
        if match is None:
            raise BadRequest("the form names a face that does not exist; load the page again")
        found.append(UnknownFaceRef(int(match[1]), match[2]))
    return found


def read_group(text: str) -> tuple[int, list[UnknownFaceRef]]:
    """The number of a group and its faces, written as `NUMBER/FACES`. Raises BadRequest."""
    number, _, faces = text.partition("/")
    if not re.fullmatch("[0-9]{1,18}", number):
        raise BadRequest("the form names a group that does not exist; load the page again")
    return int(number), read_faces(faces)
