"""Reads text files that people write: mapping, student records, settings."""

from __future__ import annotations

from pathlib import Path

from rollcall.core.texts import TextError, decode_text

MAX_TEXT_BYTES = 64 << 20
"""Enough for hundreds of thousands of records. A larger file was probably named by mistake."""


def read_text(path: Path, max_bytes: int = MAX_TEXT_BYTES) -> str:
    """The text of a file, decoded by `decode_text`. Raises TextError, which names the file."""
    try:
        with open(path, "rb") as file:
            body = file.read(max_bytes + 1)
    except IsADirectoryError as error:
        raise TextError(f"{str(path)!r} is a folder, not a file") from error
    except (OSError, ValueError) as error:  # a NUL in the file name raises ValueError
        reason = error.strerror if isinstance(error, OSError) else error
        raise TextError(f"{str(path)!r} cannot be read: {reason}") from error
    if len(body) > max_bytes:
        raise TextError(f"{str(path)!r} has more than {max_bytes >> 10} KiB; is it the right file?")
    return decode_text(body, str(path))
