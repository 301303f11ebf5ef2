"""Photos that a form sends. They are never written to a place that outlives the request."""

from __future__ import annotations

from flask import request
from werkzeug.datastructures import FileStorage
from werkzeug.exceptions import BadRequest, RequestEntityTooLarge

MAX_NAME_CHARS = 200


def limit_body(max_bytes: int) -> None:
    """Refuse a longer body with 413. Call this before the form is read."""
    request.max_content_length = max_bytes


def uploaded(field: str, max_files: int, max_bytes: int) -> dict[str, bytes]:
    """The uploaded files of a field by name. A folder may be a part of the name.

    Raises BadRequest if there are none, and RequestEntityTooLarge beyond the limits.
    """
    files = [each for each in request.files.getlist(field) if each.filename]
    if not files:
        raise BadRequest("no photo was sent; choose a photo first")
    if len(files) > max_files:
        raise RequestEntityTooLarge(f"at most {max_files} photos can be sent at once")
    found: dict[str, bytes] = {}
    for file in files:
        name = _free_name(file, found)
        data = file.stream.read(max_bytes + 1)
        if len(data) > max_bytes:
            raise RequestEntityTooLarge(
                f"{name!r} has more than {max_bytes >> 20} MB; make it smaller, or use JPEG"
            )
        found[name] = data
    return found


def _free_name(file: FileStorage, taken: dict[str, bytes]) -> str:
    # Browsers send only the last part of the name, or the path within the chosen folder.
    name = (file.filename or "").replace("\\", "/").rpartition("/")[2][-MAX_NAME_CHARS:]
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name} ({number})"
    return free
