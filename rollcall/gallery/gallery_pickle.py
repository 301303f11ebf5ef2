"""Pickled galleries: the layouts that courses and tutorials use.

All hold dlib's encodings: two columns under keys (the course's "name" and "encoding",
PyImageSearch's "names" and "encodings"), a pair of columns, or encodings under each person's name.
Nothing is copied before it is known to be an encoding and to fit the size of the file.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rollcall.core.encoding_space import DLIB
from rollcall.core.errors import GalleryError
from rollcall.core.gallery import Gallery
from rollcall.core.types import Encodings
from rollcall.gallery.restricted_pickle import (
    MAX_PICKLE_BYTES,
    MIN_ROW_BYTES,
    PickledArray,
    load_pickle,
    text_of,
)

NAME_KEYS = ("name", "names", "known_names", "known_face_names", "labels")
ENCODING_KEYS = ("encoding", "encodings", "known_encodings", "known_face_encodings")

SHOWN_KEYS = 5
SHOWN_CHARS = 40


def parse_pickle(body: bytes) -> Gallery:
    """Raises GalleryError. Its message has nothing of what the file holds but its globals and the
    keys of an unknown layout."""
    if len(body) > MAX_PICKLE_BYTES:
        raise GalleryError(
            f"a pickled gallery has at most {MAX_PICKLE_BYTES} bytes, not {len(body)};"
            " a larger one has to be native"
        )
    try:
        return _gallery_of(load_pickle(body), len(body))
    except GalleryError:
        raise
    except Exception as error:  # a broken pickle raises whatever its opcodes run into
        raise GalleryError(
            f"the gallery is neither .npz nor a readable pickle ({type(error).__name__})"
        ) from None


def _gallery_of(document: Any, size_bytes: int) -> Gallery:
    people, rows = _columns(document)
    names = [name for name, _ in people]
    if rows is not None:
        _check_room(len(names), size_bytes)
        return Gallery(names, _stack(rows, len(names)), fixed_tolerance=DLIB.tolerance)
    counts = [_count(value, size_bytes) for _, value in people]
    _check_room(sum(counts), size_bytes)
    repeated = [name for name, count in zip(names, counts, strict=True) for _ in range(count)]
    blocks = [_stack(_rows(value), n) for (_, value), n in zip(people, counts, strict=True)]
    return Gallery(repeated, np.vstack(blocks), fixed_tolerance=DLIB.tolerance)


def _columns(document: Any) -> tuple[list[tuple[Any, Any]], Any]:
    """Names with one row of the second value each; or, where that is None, with their own rows."""
    if isinstance(document, dict):
        names = next((document[key] for key in NAME_KEYS if key in document), None)
        rows = next((document[key] for key in ENCODING_KEYS if key in document), None)
        if names is not None and rows is not None:
            return [(name, None) for name in _names(names)], rows
        known = {*NAME_KEYS, *ENCODING_KEYS}
        if document and not known & document.keys() and all(map(_is_block, document.values())):
            return list(document.items()), None
    elif isinstance(document, list | tuple) and len(document) == 2:
        first, second = document
        if _is_names(first) or _is_names(second):
            names, rows = (first, second) if _is_names(first) else (second, first)
            return [(name, None) for name in _names(names)], rows
    raise GalleryError(
        'a pickled gallery is a dict like {"name": [...], "encoding": [...]},'
        f" {{name: encoding}} or {{name: [encodings]}}; this one is {_described(document)}"
    )


def _described(document: Any) -> str:
    """Looks at types and keys alone; values may be endless."""
    if not isinstance(document, dict):
        size = f" of {len(document)}" if isinstance(document, list | tuple) else ""
        return f"a {type(document).__name__.lstrip('_')}{size}"
    keys = [ascii(key[:SHOWN_CHARS]) for key in list(document)[:SHOWN_KEYS]]
    more = f" and {len(document) - SHOWN_KEYS} more" if len(document) > SHOWN_KEYS else ""
    return f"a dict with the keys {', '.join(keys)}{more}" if keys else "an empty dict"


def _names(names: Any) -> list[Any]:
    if isinstance(names, PickledArray):
        names = names.texts()
    if not isinstance(names, list | tuple):
        raise GalleryError("the names of a pickled gallery have to be a list or an array of text")
    return [text_of(name) for name in names]


def _is_names(column: Any) -> bool:
    if isinstance(column, PickledArray):
        if column.kind() != "O":
            return column.kind() in ("U", "S")
        column = column.items()
    return isinstance(column, list | tuple) and bool(column) and isinstance(column[0], str | bytes)


def _is_block(value: Any) -> bool:
    return isinstance(value, PickledArray | list | tuple)


def _count(value: Any, size_bytes: int) -> int:
    """How many encodings stand under a name; nothing is copied for that."""
    if isinstance(value, PickledArray) and value.kind() != "O":
        shape = value.shape()
        if not isinstance(shape, tuple) or len(shape) != 2:
            return 1
        count, width = shape
        if type(count) is not int or not 0 < count <= size_bytes or width != DLIB.size:
            raise GalleryError(f"a person has to have one encoding of {DLIB.size} or more")
        return count
    rows = _rows(value)
    if not len(rows):
        raise GalleryError("a person has to have one encoding or more")
    return len(rows)


def _rows(value: Any) -> Any:
    """The encodings of one person: a single one becomes a list of one."""
    if isinstance(value, PickledArray):
        if value.kind() == "O":
            return value.items()
        shape = value.shape()
        return value if isinstance(shape, tuple) and len(shape) == 2 else [value]
    return [value] if value and type(value[0]) in (int, float) else value


def _check_room(count: int, size_bytes: int) -> None:
    if count * MIN_ROW_BYTES > size_bytes:
        raise GalleryError(f"{count} encodings do not fit into {size_bytes} bytes")


def _stack(rows: Any, count: int) -> Encodings:
    if isinstance(rows, PickledArray) and rows.kind() == "O":
        rows = rows.items()
    if isinstance(rows, PickledArray):
        return rows.values()
    if not isinstance(rows, list | tuple):
        raise GalleryError("the encodings of a pickled gallery have to be a list or an array")
    if len(rows) != count:
        raise GalleryError(f"there are {count} names for {len(rows)} encodings")
    stacked = np.empty((count, DLIB.size))
    for index, row in enumerate(rows):
        stacked[index] = _encoding(row)
    return stacked


def _encoding(row: Any) -> Encodings:
    """Looks at the length first: rows may be one object many times over."""
    if isinstance(row, list | tuple) and len(row) == 1:
        row = row[0]  # face_encodings() returns a list, and some scripts keep that
    if isinstance(row, PickledArray):
        if row.shape() in ((DLIB.size,), (1, DLIB.size)):
            return row.values().reshape(DLIB.size)
    elif not isinstance(row, list | tuple):
        raise GalleryError("an encoding has to be an array or a list of numbers")
    elif len(row) == DLIB.size and all(type(cell) in (int, float) for cell in row):
        return np.array(row, dtype=np.float64)
    raise GalleryError(f"every encoding has to be {DLIB.size} numbers")
