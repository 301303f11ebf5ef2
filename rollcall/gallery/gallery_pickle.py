"""Reads pickled galleries (decision 0032). Courses and tutorials use these layouts:

- a dict of two columns, with keys such as "name" and "encoding" or "names" and
  "encodings" (PyImageSearch);
- a pair of two columns, in either order;
- a dict from each name to one encoding or to several.

All of them hold dlib's encodings. `restricted_pickle` reads the file; its arrays are placeholders
(`PickledArray`) that hold what the file says. An array is built only after its shape was checked,
and after the number of encodings was found to fit the size of the file.
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
"""How many keys of an unknown layout an error message shows, and how much of each."""


def parse_pickle(body: bytes) -> Gallery:
    """Parse a pickled gallery. Raises GalleryError.

    The file holds personal data, so messages quote only the global names that the pickle asks for,
    and the first keys of an unknown layout.
    """
    if len(body) > MAX_PICKLE_BYTES:
        raise GalleryError(
            f"a pickled gallery has at most {MAX_PICKLE_BYTES} bytes, not {len(body)};"
            " a larger one has to be native"
        )
    try:
        return _build_gallery(load_pickle(body), len(body))
    except GalleryError:
        raise
    except Exception as error:  # each opcode raises its own errors on broken input
        raise GalleryError(
            f"the gallery is neither .npz nor a readable pickle ({type(error).__name__})"
        ) from None


def _build_gallery(document: Any, size_bytes: int) -> Gallery:
    people, rows = _find_layout(document)
    names = [name for name, _ in people]
    # A pickled gallery keeps the tolerance of dlib's space (0.6), which its users expect.
    if rows is not None:
        _check_fits(len(names), size_bytes)
        return Gallery(names, _stack(rows, len(names)), fixed_tolerance=DLIB.tolerance)
    counts = [_count_encodings(value, size_bytes) for _, value in people]
    _check_fits(sum(counts), size_bytes)
    repeated = [name for name, count in zip(names, counts, strict=True) for _ in range(count)]
    blocks = [
        _stack(_rows_of_person(value), n) for (_, value), n in zip(people, counts, strict=True)
    ]
    return Gallery(repeated, np.vstack(blocks), fixed_tolerance=DLIB.tolerance)


def _find_layout(document: Any) -> tuple[list[tuple[Any, Any]], Any]:
    """Return pairs (name, encodings of that person), and a column of all encodings.

    In a layout of two columns, the encodings in the pairs are None. In a dict by name, the column
    is None. Raises GalleryError for any other layout.
    """
    if isinstance(document, dict):
        names = next((document[key] for key in NAME_KEYS if key in document), None)
        rows = next((document[key] for key in ENCODING_KEYS if key in document), None)
        if names is not None and rows is not None:
            return [(name, None) for name in _decode_names(names)], rows
        # If only one of the keys is there, a column is missing: the key is not a person's name.
        known = {*NAME_KEYS, *ENCODING_KEYS}
        if (
            document
            and not known & document.keys()
            and all(map(_may_hold_encodings, document.values()))
        ):
            return list(document.items()), None
    elif isinstance(document, list | tuple) and len(document) == 2:
        first, second = document
        if _is_name_column(first) or _is_name_column(second):
            names, rows = (first, second) if _is_name_column(first) else (second, first)
            return [(name, None) for name in _decode_names(names)], rows
    raise GalleryError(
        'a pickled gallery is a dict like {"name": [...], "encoding": [...]},'
        f" {{name: encoding}} or {{name: [encodings]}}; this one is {_describe(document)}"
    )


def _describe(document: Any) -> str:
    """Describe an unknown layout by its type and keys.

    Values are not shown: lists that refer to one list many times make their `repr` endless.
    """
    if not isinstance(document, dict):
        size = f" of {len(document)}" if isinstance(document, list | tuple) else ""
        return f"a {type(document).__name__.lstrip('_')}{size}"
    keys = [ascii(key[:SHOWN_CHARS]) for key in list(document)[:SHOWN_KEYS]]
    more = f" and {len(document) - SHOWN_KEYS} more" if len(document) > SHOWN_KEYS else ""
    return f"a dict with the keys {', '.join(keys)}{more}" if keys else "an empty dict"


def _decode_names(names: Any) -> list[Any]:
    if isinstance(names, PickledArray):
        names = names.texts()
    if not isinstance(names, list | tuple):
        raise GalleryError("the names of a pickled gallery have to be a list or an array of text")
    return [text_of(name) for name in names]


def _is_name_column(column: Any) -> bool:
    if isinstance(column, PickledArray):
        if column.kind() != "O":
            return column.kind() in ("U", "S")
        column = column.items()
    return isinstance(column, list | tuple) and bool(column) and isinstance(column[0], str | bytes)


def _may_hold_encodings(value: Any) -> bool:
    return isinstance(value, PickledArray | list | tuple)


def _count_encodings(value: Any, size_bytes: int) -> int:
    """Return how many encodings one person has, without building an array."""
    if isinstance(value, PickledArray) and value.kind() != "O":
        shape = value.shape()
        if not isinstance(shape, tuple) or len(shape) != 2:
            return 1
        count, width = shape
        if type(count) is not int or not 0 < count <= size_bytes or width != DLIB.size:
            raise GalleryError(f"each person needs at least one encoding of {DLIB.size} numbers")
        return count
    rows = _rows_of_person(value)
    if not len(rows):
        raise GalleryError("each person needs at least one encoding")
    return len(rows)


def _rows_of_person(value: Any) -> Any:
    """Return the encodings of one person as a sequence, even if there is only one encoding."""
    if isinstance(value, PickledArray):
        if value.kind() == "O":
            return value.items()
        shape = value.shape()
        return value if isinstance(shape, tuple) and len(shape) == 2 else [value]
    return [value] if value and type(value[0]) in (int, float) else value


def _check_fits(count: int, size_bytes: int) -> None:
    """Refuse more encodings than the file has room for: a pickle can refer to one row many times,
    and each reference would become a copy."""
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
        stacked[index] = _build_encoding(row)
    return stacked


def _build_encoding(row: Any) -> Encodings:
    """Return one encoding, shape (128,). Raises GalleryError for anything else.

    The length is checked before anything is copied: many rows may be the same huge object.
    """
    if isinstance(row, list | tuple) and len(row) == 1:
        # face_recognition.face_encodings() returns a list, and some scripts store that list.
        row = row[0]
    if isinstance(row, PickledArray):
        if row.shape() in ((DLIB.size,), (1, DLIB.size)):
            return row.values().reshape(DLIB.size)
    elif not isinstance(row, list | tuple):
        raise GalleryError("an encoding has to be an array or a list of numbers")
    elif len(row) == DLIB.size and all(type(cell) in (int, float) for cell in row):
        return np.array(row, dtype=np.float64)
    raise GalleryError(f"every encoding has to have {DLIB.size} numbers")
