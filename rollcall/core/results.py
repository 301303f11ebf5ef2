"""Writes, reads and edits the CSV file of a video (contract 3.3)."""

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
"""Spreadsheets run a cell that begins with one of these characters as a formula (OWASP, "CSV
Injection"). They may convert full-width and small forms and the minus sign (−) to ASCII first."""

_SKIPPED = r"[\s\"\u00ad\u061c\u200b-\u200f\u2060\ufeff]*"
"""Spaces, quotes and invisible characters. Spreadsheets may ignore them at the start of a cell, and
then run a formula that follows them."""

# Skipped characters before the start of a formula. The start itself is not part of the match.
_FORMULA_START = f"({_SKIPPED})(?=[{re.escape(''.join(FORMULA_STARTS))}])"
_FORMULA = re.compile(f"^{_FORMULA_START}")
_LATER_FORMULA = re.compile(f"([;|\u061b]){_FORMULA_START}")
"""A formula inside a cell. Where the list separator is a semicolon, as in most of Europe, Excel
splits lines at semicolons instead of commas. Quotes inside a field do not prevent that, because
Excel respects quotes only at the start of a field."""

_NOT_MARKS = re.compile("[^\u061c\u200e\u200f]+")
"""Everything except left-to-right and right-to-left marks. Names in Hebrew and Arabic may contain
these marks, which affect only the punctuation beside them. They are kept, so that the names in a
result equal the names in other tables."""

_QUOTED = re.compile('[,;|\u061b"\r\n\t]')
"""Cells that contain one of these characters are quoted. RFC 4180 demands that for commas, quotes
and line ends; some spreadsheets split at the other separators."""

_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?|")
"""A number, or an empty cell. A negative number is not treated as a formula."""


def render_csv(people: Iterable[Person], students: Mapping[str, Student]) -> bytes:
    """The CSV of a video in UTF-8 (RFC 4180). It has a header even if there are no people."""
    return _rendered(COLUMNS, (_row(person, students.get(person.name)) for person in people))


def render_error(code: str, message: str) -> bytes:
    """The CSV of a video that failed: a header and one row with the error."""
    return _rendered(ERROR_COLUMNS, [[safe_cell(code), safe_cell(message)]])


def safe_cell(text: str) -> str:
    """The text as a cell that is safe to open in a spreadsheet and to print to a terminal.

    A `'` is put before a formula at the start of the cell or after a separator in the cell. Line
    breaks and tabs become spaces, other control characters become escapes. A cell that is already
    safe is not changed.
    """
    line = re.sub(r"[\t\n\v\f\r\x1c-\x1f\x85\u2028\u2029]+", " ", text)
    shown = _NOT_MARKS.sub(lambda found: printable(found[0]), line)
    return _FORMULA.sub(r"'\1", _LATER_FORMULA.sub(r"\1'\2", shown))


def parse_csv(body: bytes) -> list[dict[str, str]]:
    """The rows of a result as dictionaries by column. Raises ValueError if it is not a result."""
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
    """A result with safe cells, even if another program has written it.

    A result of Rollcall is returned unchanged. Raises ValueError if the body is not a result.
    """
    return csv_of_rows(parse_csv(body))


def csv_of_rows(rows: Iterable[Mapping[str, str]]) -> bytes:
    """A result with these rows, as `parse_csv` returns them, and safe cells."""
    return _rendered(COLUMNS, map(_safe_row, rows))


def csv_without(body: bytes, name: str) -> tuple[bytes, int]:
    """The result without the rows of this person, and the number of removed rows.

    Raises ValueError if the body is not a result.
    """
    rows = parse_csv(body)
    removed = safe_cell(normalise_name(name))
    rest = [row for row in rows if safe_cell(normalise_name(row["name"])) != removed]
    return csv_of_rows(rest), len(rows) - len(rest)


def text_file_without(body: bytes, name: str) -> tuple[bytes, int]:
    """Like `csv_without`, for a file of the worker, which may hold an error instead of people."""
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
    """The cells of a row in the order of COLUMNS: numbers unchanged, texts made safe."""
    texts = [safe_cell(row[column]) for column in COLUMNS[:3]]
    rest = (row[column] for column in COLUMNS[3:])
    return texts + [cell if _NUMBER.fullmatch(cell) else safe_cell(cell) for cell in rest]


def _rendered(header: Iterable[str], rows: Iterable[Iterable[str]]) -> bytes:
    lines = [",".join(map(_quoted, cells)) + "\r\n" for cells in (header, *rows)]
    return "".join(lines).encode()


def csv_line(cells: Iterable[str]) -> str:
    """A line of CSV with safe cells, without a line end."""
    return ",".join(_quoted(safe_cell(cell)) for cell in cells)


def _quoted(cell: str) -> str:
    return '"' + cell.replace('"', '""') + '"' if _QUOTED.search(cell) else cell
