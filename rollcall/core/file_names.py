"""Turns keys into file names and back, so that every file system can store a file for every key.

Only `a-z`, `0-9`, `.`, `_` and `-` are kept; every other byte becomes `%xx`. So no file can be
outside of the folder, and no two keys have the same file name on a file system that ignores case or
Unicode forms. A slash becomes `%2f`. If it began a folder, the folder of the key `a.txt/b` would
have the same name as the file of the key `a` (docs/decisions/0016).
"""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

MAX_PART_CHARS = 200
"""Longest part of a path, below the limit of file systems (255 bytes). A longer name is split: its
first parts become folders."""

FILE_END = ".txt"
FOLDER_END = "+"
"""Suffixes of files and folders. They differ, so that a file and a folder in the same place never
have the same name."""

_ENCODED = re.compile(rb"^\.|[^a-z0-9._-]")
"""The bytes that are encoded. A leading dot is encoded because it would hide the file."""


def file_of_key(key: str) -> str:
    """The relative path of a key's file: `week%201%2f%41.mp4.txt` for `week 1/A.mp4`."""
    text = _ENCODED.sub(lambda found: b"%%%02x" % found[0][0], key.encode()).decode()
    *folders, last = re.findall(rf".{{1,{MAX_PART_CHARS}}}", text) or [""]
    return "/".join([*(part + FOLDER_END for part in folders), last + FILE_END])


def key_of_file(path: str) -> str:
    """The key of a file. Raises ValueError for a path that `file_of_key` never returns."""
    text = path.removesuffix(FILE_END).replace(FOLDER_END + "/", "")
    key = unquote_to_bytes(text).decode(errors="replace")
    if file_of_key(key) != path:
        raise ValueError(f"{path!r} is not the file of a key")
    return key
