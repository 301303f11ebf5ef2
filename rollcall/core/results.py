"""The CSV of a video, and reading it back."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping

from rollcall.core.names import UNKNOWN, normalise_name
from rollcall.core.types import Person, Student

COLUMNS = ("name", "major", "year", "first_seen_s", "last_seen_s", "frames", "distance")
ERROR_COLUMNS = ("error", "message")

FORMULA_STARTS = tuple("=+-@\t\r\n＝＋－＠")
"""Cells that begin so are run by spreadsheets (OWASP, CSV injection)."""


def render_csv(people: Iterable[Person], students: Mapping[str, Student]) -> bytes:
    """UTF-8, RFC 4180, header always; rows in the given order."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    writer.writerows(_row(person, students.get(person.name)) for person in people)
    return out.getvalue().encode()


def render_error(code: str, message: str) -> bytes:
    """Why there is no result, in the same form: a header and one row."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerows([ERROR_COLUMNS, [_safe(code), _safe(message)]])
    return out.getvalue().encode()


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


def csv_without(body: bytes, name: str) -> tuple[bytes, int]:
    """The result without the rows of that person, and how many those were.

    Raises ValueError when it is not a result of ours.
    """
    rows = parse_csv(body)
    gone = _safe(normalise_name(name))
    rest = [row for row in rows if normalise_name(row["name"]) != gone]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    writer.writerows([row[column] for column in COLUMNS] for row in rest)
    return out.getvalue().encode(), len(rows) - len(rest)


def text_file_without(body: bytes, name: str) -> tuple[bytes, int]:
    """The same of a worker's file. A failed video has one as well, and that names nobody."""
    if body.startswith(",".join(ERROR_COLUMNS).encode() + b"\r\n"):
        return body, 0
    return csv_without(body, name)


def _row(person: Person, student: Student | None) -> list[str]:
    record = student or Student(person.name)
    texts = [_safe(text) for text in (person.name or UNKNOWN, record.major, record.year)]
    distance = "" if person.distance is None else f"{person.distance:.3f}"
    times = [f"{person.first_seen_s:.2f}", f"{person.last_seen_s:.2f}"]
    return [*texts, *times, str(person.frames), distance]


def _safe(cell: str) -> str:
    return "'" + cell if cell.startswith(FORMULA_STARTS) else cell
