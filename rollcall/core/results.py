"""The CSV of a video, and reading it back."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping

from rollcall.core.names import UNKNOWN, normalise_name
from rollcall.core.printable import printable
from rollcall.core.types import Person, Student

COLUMNS = ("name", "major", "year", "first_seen_s", "last_seen_s", "frames", "distance")
ERROR_COLUMNS = ("error", "message")

FORMULA_STARTS = tuple("=+-@＝＋－＠﹦﹢﹣﹫−")
"""Cells that begin so are run by spreadsheets (OWASP, CSV injection), or may be after a conversion:
full-width and small forms, and the minus sign."""

_SKIPPED = r"[\s\"\u00ad\u061c\u200b-\u200f\u2060\ufeff]*"
"""Spaces, quotes and invisible characters, which a spreadsheet may drop at the start of a cell."""

_RUN = f"({_SKIPPED})(?=[{re.escape(''.join(FORMULA_STARTS))}])"
_FORMULA = re.compile(f"^{_RUN}")
_LATER_FORMULA = re.compile(f"([;|\u061b]){_RUN}")
"""Where the list separator is a semicolon, as in most of Europe, Excel splits lines at semicolons
instead of commas. Quotes do not prevent that: they count only at the start of a field."""

_NOT_MARKS = re.compile("[^\u061c\u200e\u200f]+")
"""Left-to-right and right-to-left marks are part of names in Hebrew and Arabic, and turn nothing
but the punctuation beside them. A result keeps them, so that names can still be joined."""

_QUOTED = re.compile('[,;|\u061b"\r\n\t]')
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?|")


def render_csv(people: Iterable[Person], students: Mapping[str, Student]) -> bytes:
    """UTF-8, RFC 4180, header always; rows in the given order."""
    return _rendered(COLUMNS, (_row(person, students.get(person.name)) for person in people))


def render_error(code: str, message: str) -> bytes:
    """Why there is no result, in the same form: a header and one row."""
    return _rendered(ERROR_COLUMNS, [[safe_cell(code), safe_cell(message)]])


def safe_cell(text: str) -> str:
    """The text as a cell that no spreadsheet runs and no terminal obeys. Safe to apply twice.

    A cell that begins as a formula gets a `'` before it; so does what follows a semicolon inside
    of it. Line breaks and tabs become spaces, other control characters escapes.
    """
    line = re.sub(r"[\t\n\v\f\r\x1c-\x1f\x85\u2028\u2029]+", " ", text)
    shown = _NOT_MARKS.sub(lambda found: printable(found[0]), line)
    return _FORMULA.sub(r"'\1", _LATER_FORMULA.sub(r"\1'\2", shown))


def parse_csv(body: bytes) -> list[dict[str, str]]:
    """Rows by column. Raises ValueError when it is not a result of ours."""
    reader = csv.DictReader(io.StringIO(body.decode(), newline=""), strict=True)
    try:
        header, rows = tuple(reader.fieldnames or ()), list(reader)
    except csv.Error as error:
        raise ValueError(f"not a CSV: {error}") from error
    if header != COLUMNS:
        raise ValueError(f"the header is {header}, not {','.join(COLUMNS)}")
    if any(None in row or None in row.values() for row in rows):
        raise ValueError("a row has more or fewer cells than the header")
    return rows


def safe_csv(body: bytes) -> bytes:
    """A result that others may have written, with safe cells. One of ours comes back unchanged.

    Raises ValueError when it is not a result of ours.
    """
    return _rendered(COLUMNS, map(_safe_row, parse_csv(body)))


def csv_without(body: bytes, name: str) -> tuple[bytes, int]:
    """The result without the rows of that person, and how many those were.

    Raises ValueError when it is not a result of ours.
    """
    rows = parse_csv(body)
    gone = safe_cell(normalise_name(name))
    rest = [row for row in rows if safe_cell(normalise_name(row["name"])) != gone]
    return _rendered(COLUMNS, map(_safe_row, rest)), len(rows) - len(rest)


def text_file_without(body: bytes, name: str) -> tuple[bytes, int]:
    """The same of a worker's file. A failed video has one as well, and that names nobody."""
    if body.startswith(",".join(ERROR_COLUMNS).encode() + b"\r\n"):
        return body, 0
    return csv_without(body, name)


def _row(person: Person, student: Student | None) -> list[str]:
    record = student or Student(person.name)
    texts = [safe_cell(text) for text in (person.name or UNKNOWN, record.major, record.year)]
    distance = "" if person.distance is None else f"{person.distance:.3f}"
    times = [f"{person.first_seen_s:.2f}", f"{person.last_seen_s:.2f}"]
    return [*texts, *times, str(person.frames), distance]


def _safe_row(row: Mapping[str, str]) -> list[str]:
    """Numbers stay as they are, a negative one too."""
    texts = [safe_cell(row[column]) for column in COLUMNS[:3]]
    rest = (row[column] for column in COLUMNS[3:])
    return texts + [cell if _NUMBER.fullmatch(cell) else safe_cell(cell) for cell in rest]


def _rendered(header: Iterable[str], rows: Iterable[Iterable[str]]) -> bytes:
    """RFC 4180; cells with any separator that a spreadsheet may use are quoted too, so that one
    which splits at several of them keeps a cell whole."""
    lines = [",".join(map(_quoted, cells)) + "\r\n" for cells in (header, *rows)]
    return "".join(lines).encode()


def _quoted(cell: str) -> str:
    return '"' + cell.replace('"', '""') + '"' if _QUOTED.search(cell) else cell
