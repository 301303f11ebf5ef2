"""Reads lists of names: lines, columns of a CSV, or the records of student_data.json."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Sequence
from pathlib import Path

from rollcall.core.errors import PermanentError
from rollcall.core.names import MAX_RAW_CHARS, normalise_name
from rollcall.core.student_records import parse_records
from rollcall.core.texts import storable
from rollcall.text_files import read_text

MAX_NAMES = 100_000

HEADERS = ("name", "fullname")
FIRST_NAME_HEADERS = ("firstname", "givenname", "forename")
LAST_NAME_HEADERS = ("lastname", "surname", "familyname")
"""Headers of columns, without capitals, spaces, `_` and `-`."""


class NameListError(PermanentError):
    """A file does not hold a list of names."""

    code = "name_list"


def read_names(path: Path) -> list[str]:
    """The names in a file, each once, in the file's order and without the header.

    Raises TextError, StudentFileError and NameListError, whose messages name the file.
    """
    text = read_text(path)
    if text.lstrip().startswith("["):
        found = [str(record["name"]) for record in parse_records(text, str(path))]
    elif path.suffix.lower() == ".csv":
        found = _names_in_table(text, path)
    else:
        found = text.splitlines()
    too_long = [name for name in found if len(name) > MAX_RAW_CHARS]
    names = list(dict.fromkeys(filter(None, (normalise_name(storable(name)) for name in found))))
    if names and _header(names[0]) in HEADERS:
        del names[0]
    if not names or too_long or len(names) > MAX_NAMES:
        raise NameListError(
            f"{str(path)!r} does not hold a list of names: write one name per line, as `First Last`"
            " or `Last, First`, or a .csv with a column `name` or the columns `first name` and"
            f" `last name`; at most {MAX_NAMES} names"
        )
    return names


def first_last(name: str) -> str:
    """`First Last` for a name that is written `Last, First`; otherwise the name itself."""
    last, _, first = map(str.strip, name.partition(","))
    return normalise_name(f"{first} {last}") if first and last and "," not in first else name


def _names_in_table(text: str, path: Path) -> list[str]:
    """The column `name`, the columns of first and last names, or else the first column."""
    lines = [line for line in text.splitlines() if line.strip()]
    delimiter = max(",", ";", "\t", key=lines[0].count) if lines else ","
    try:
        rows = list(csv.reader(io.StringIO("\n".join(lines)), delimiter=delimiter))
    except csv.Error as error:
        raise NameListError(f"{str(path)!r} is not a CSV: {error}") from error
    header = [_header(cell) for cell in rows[0]] if rows else []
    whole = _place(header, HEADERS)
    first, last = _place(header, FIRST_NAME_HEADERS), _place(header, LAST_NAME_HEADERS)
    if whole is None and first is not None and last is not None:
        return [f"{_cell(row, first)} {_cell(row, last)}" for row in rows[1:]]
    if len(header) == 1 and whole == 0:  # `Last, First` without quotes
        return [", ".join(row) for row in rows]
    return [_cell(row, whole or 0) for row in rows]


def _header(cell: str) -> str:
    return re.sub(r"[\s_-]", "", cell).casefold()


def _place(header: Sequence[str], wanted: Collection[str]) -> int | None:
    return next((place for place, cell in enumerate(header) if cell in wanted), None)


def _cell(row: Sequence[str], place: int) -> str:
    return row[place] if len(row) > place else ""
