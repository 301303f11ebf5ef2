"""Reads lists of names: lines, a column of a CSV, or the records of student_data.json."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from rollcall.core.errors import PermanentError
from rollcall.core.names import MAX_RAW_CHARS, normalise_name
from rollcall.core.student_records import parse_records
from rollcall.core.texts import storable
from rollcall.text_files import read_text

MAX_NAMES = 100_000

HEADER = "name"


class NameListError(PermanentError):
    """A file does not hold a list of names."""

    code = "name_list"


def read_names(path: Path) -> list[str]:
    """The names in a file, each once, in the file's order. A header `name` is left out.

    Raises TextError, StudentFileError and NameListError, whose messages name the file.
    """
    text = read_text(path)
    if text.lstrip().startswith("["):
        found = [str(record["name"]) for record in parse_records(text, str(path))]
    elif path.suffix.lower() == ".csv":
        found = _column_of_names(text, path)
    else:
        found = text.splitlines()
    too_long = [name for name in found if len(name) > MAX_RAW_CHARS]
    names = list(dict.fromkeys(filter(None, (normalise_name(storable(name)) for name in found))))
    if names and names[0].casefold() == HEADER:
        del names[0]
    if not names or too_long or len(names) > MAX_NAMES:
        raise NameListError(
            f"{str(path)!r} does not hold a list of names: write one name per line, or a .csv with"
            f" a column `name`; at most {MAX_NAMES} names"
        )
    return names


def _column_of_names(text: str, path: Path) -> list[str]:
    """The column with the header `name`, or the first one."""
    lines = text.splitlines()
    delimiter = ";" if lines and lines[0].count(";") > lines[0].count(",") else ","
    try:
        rows = list(csv.reader(io.StringIO(text), delimiter=delimiter))
    except csv.Error as error:
        raise NameListError(f"{str(path)!r} is not a CSV: {error}") from error
    header = [cell.strip().casefold() for cell in rows[0]] if rows else []
    column = header.index(HEADER) if HEADER in header else 0
    return [row[column] for row in rows if len(row) > column]
