"""Keys as file names: injective and reversible on every file system.

Only `a-z`, `0-9`, `.`, `_` and `-` stand for themselves; every other byte is `%xx`. So no name
leaves its folder, and no two are equal where case or Unicode forms do not count. A slash is `%2f`:
as a folder, the key `a.txt/b` would stand in the way of the key `a`.
"""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

MAX_PART_CHARS = 200
"""Below the 255 bytes that file systems take. A longer name goes on in a folder."""

FILE_END = ".txt"
FOLDER_END = "+"
"""Folders and files of one place never have the same name."""

_ENCODED = re.compile(rb"^\.|[^a-z0-9._-]")
"""A leading dot would hide the file."""


def file_of_key(key: str) -> str:
    """`week 1/A.mp4` -> `week%201%2f%41.mp4.txt`; a relative path, folders parted by `/`."""
    text = _ENCODED.sub(lambda found: b"%%%02x" % found[0][0], key.encode()).decode()
    *folders, last = re.findall(rf".{{1,{MAX_PART_CHARS}}}", text) or [""]
    return "/".join([*(part + FOLDER_END for part in folders), last + FILE_END])


def key_of_file(path: str) -> str:
    """The key whose result is there. Raises ValueError for what `file_of_key` never gives."""
    text = path.removesuffix(FILE_END).replace(FOLDER_END + "/", "")
    key = unquote_to_bytes(text).decode(errors="replace")
    if file_of_key(key) != path:
        raise ValueError(f"{path!r} is the file of no key")
    return key
