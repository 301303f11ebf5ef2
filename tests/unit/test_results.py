"""Contract 3.3: the CSV file of a video."""

from __future__ import annotations

import csv
import io
import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollcall.core.results import (
    COLUMNS,
    FORMULA_STARTS,
    csv_without,
    parse_csv,
    render_csv,
    render_error,
    safe_cell,
    safe_csv,
)
from rollcall.core.types import Person, Student

HEADER = b"name,major,year,first_seen_s,last_seen_s,frames,distance\r\n"


def person(name: str = "alice", distance: float | None = 0.4321) -> Person:
    return Person(name, 0.5, 12.0, 7, distance)


def test_without_people_there_is_only_the_header() -> None:
    assert render_csv([], {}) == HEADER


def test_known_person_with_record() -> None:
    students = {"alice": Student("alice", "physics", "junior")}
    assert (
        render_csv([person()], students) == HEADER + b"alice,physics,junior,0.50,12.00,7,0.432\r\n"
    )


def test_known_person_without_record() -> None:
    assert render_csv([person()], {}) == HEADER + b"alice,,,0.50,12.00,7,0.432\r\n"


def test_unknown_person() -> None:
    assert render_csv([person("")], {}) == HEADER + b"unknown,,,0.50,12.00,7,0.432\r\n"


def test_empty_gallery_leaves_no_distance() -> None:
    assert render_csv([person("", None)], {}).endswith(b"unknown,,,0.50,12.00,7,\r\n")


def test_rows_keep_their_order() -> None:
    rows = parse_csv(render_csv([person("b"), person("a"), person("")], {}))
    assert [row["name"] for row in rows] == ["b", "a", "unknown"]


def test_utf8() -> None:
    assert "Zoë,,,".encode() in render_csv([person("Zoë")], {})


@pytest.mark.parametrize("start", FORMULA_STARTS)
@pytest.mark.parametrize("column", ["name", "major", "year"])
def test_no_cell_begins_as_a_formula(start: str, column: str) -> None:
    cell = start + "SUM(A1)"
    record = {"name": "alice", "major": "m", "year": "y"} | {column: cell}
    student = Student(**record)
    (row,) = parse_csv(render_csv([person(student.name)], {student.name: student}))
    assert row[column] == "'" + cell


def test_formula_starts_are_those_that_spreadsheets_run() -> None:
    assert set("=+-@＝＋－＠") <= set(FORMULA_STARTS)


def as_read(body: bytes, separators: str) -> list[str]:
    """The cells as read by a spreadsheet that splits lines at any of these separators.

    A quote counts at the start of a cell only, as in Excel and LibreOffice.
    """
    ends = separators + "\r\n"
    quoted_cell = '"((?:[^"]|"")*)"?'
    cells = re.finditer(
        f"(?:{quoted_cell})?([^{re.escape(ends)}]*)([{re.escape(ends)}]|$)", body.decode()
    )
    return [(found[1] or "").replace('""', '"') + found[2] for found in cells]


FORMULA = "=cmd|' /C calc'!A0"
HIDDEN_FORMULAS = {
    "after a semicolon": f"x;{FORMULA}",
    "after a semicolon and a space": f"x; {FORMULA}",
    "after a semicolon and a no-break space": f"x;\u00a0{FORMULA}",
    "after a semicolon and an empty pair of quotes": f'x;"{FORMULA};"',
    "after a semicolon and an invisible character": f"x;\u200b{FORMULA}",
    "after two semicolons": f"x;;{FORMULA}",
    "after a line break": f"x\n{FORMULA}",
    "after a carriage return": f"x\r{FORMULA}",
    "after a tab": f"x\t{FORMULA}",
    "after a quote": f'"{FORMULA}',
    "after a quote and a comma": f'",{FORMULA}',
    "after a space": f" {FORMULA}",
    "after a tab at the start": f"\t{FORMULA}",
    "after a line break at the start": f"\r\n{FORMULA}",
    "after a byte order mark": f"\ufeff{FORMULA}",
    "with another sign": "x;+1;-1;@SUM(A1)",
    "full-width": "x;＝1;＋1",
    "after an Arabic semicolon": f"x\u061b{FORMULA}",
    "after a pipe": f"x|{FORMULA}",
}


@pytest.mark.parametrize("separators", [",", ";", "\t", "|", "\u061b", ",;\t"])
@pytest.mark.parametrize("text", HIDDEN_FORMULAS.values(), ids=HIDDEN_FORMULAS)
@pytest.mark.parametrize("column", ["name", "major", "year"])
def test_no_separator_lets_a_formula_run(text: str, separators: str, column: str) -> None:
    student = Student(**({"name": "alice", "major": "m", "year": "y"} | {column: text}))
    body = render_csv([person(student.name)], {student.name: student})
    for cell in as_read(body, separators) + as_read(render_error("x", text), separators):
        assert not cell.strip(' "\u00a0\u200b\ufeff').startswith(FORMULA_STARTS), cell


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("x;=1", "x;'=1"),
        ("a; b - c", "a; b - c"),
        ("=1", "'=1"),
        ("'=1", "'=1"),
        (" =1", "' =1"),
        ("C++; C#", "C++; C#"),
        ("two\r\nlines\tmore", "two lines more"),
        ("a\x1b]0;x\x07\x9b\u202e", r"a\x1b]0;x\x07\x9b\u202e"),
        ("\x1b[2J", r"\x1b[2J"),
        ("\u200fשרה\u200e\u061c", "\u200fשרה\u200e\u061c"),
        ("\u200f=1", "'\u200f=1"),
        ("a\u202eb\u200f\x07", "a\\u202eb\u200f\\x07"),
    ],
)
def test_safe_cells(text: str, cell: str) -> None:
    assert safe_cell(text) == safe_cell(cell) == cell


def test_a_cell_with_a_semicolon_is_quoted() -> None:
    body = render_csv([person("a")], {"a": Student("a", "x;y", "1")})
    assert b'\r\na,"x;y",1,' in body


def test_another_programs_result_becomes_safe_and_ours_is_unchanged() -> None:
    ours = render_csv([person("=a"), person("b;c")], {"b;c": Student("b;c", 'd"e', "f,g")})
    assert safe_csv(ours) == ours
    foreign = HEADER + b'=1,x;=2,"a\x1b\nb",-1.00,=3,1,\r\n'
    assert safe_csv(foreign) == HEADER + b"'=1,\"x;'=2\",a\\x1b b,-1.00,'=3,1,\r\n"


def test_signs_inside_a_text_are_unchanged() -> None:
    (row,) = parse_csv(render_csv([person("a=b-c@d")], {}))
    assert row["name"] == "a=b-c@d"


AWKWARD = ["a,b", "a;b", 'say "hi"', '"', ",", ";", "'", " x ", "é", "a|b", "می\u200cخواهم"]


@pytest.mark.parametrize("text", AWKWARD)
def test_awkward_cells_are_read_back_unchanged(text: str) -> None:
    students = {"a": Student("a", text, text)}
    (row,) = parse_csv(render_csv([person("a")], students))
    assert (row["major"], row["year"]) == (text, text)


def test_quoting_is_that_of_rfc_4180() -> None:
    students = {"a": Student("a", 'x,"y" z', "1")}
    assert b'\r\na,"x,""y"" z",1,' in render_csv([person("a")], students)


@given(st.text(), st.text(), st.text())
def test_any_record_becomes_exactly_one_row(name: str, major: str, year: str) -> None:
    body = render_csv([person(name)], {name: Student(name, major, year)})
    header, row = csv.reader(io.StringIO(body.decode(), newline=""), strict=True)
    assert tuple(header) == COLUMNS
    assert len(row) == len(COLUMNS)
    assert not any(cell.startswith(FORMULA_STARTS) for cell in row)
    assert row[1:3] == [safe_cell(major), safe_cell(year)] == [*map(safe_cell, row[1:3])]
    line = "".join(row)
    assert not {unicodedata.category(each) for each in line} & {"Cc", "Zl", "Zp"}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"name,major\r\n",
        b"\xff",
        b"\xef\xbb\xbf" + HEADER,
        HEADER + b"a,b\r\n",
        HEADER + b"1,2,3,4,5,6,7,8\r\n",
        HEADER + b'"a"x,,,,,,\r\n',
        HEADER + b'"never closed\r\n',
        b'"na"me,major,year\r\n',
        b'"' + HEADER,
        HEADER + b"a" * 200_000 + b",,,,,,\r\n",
        b"a" * 200_000,
    ],
    ids=lambda body: repr(body[:12] + body[-12:]),
)
def test_other_files_are_value_errors(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"CSV|header|cells|codec"):
        parse_csv(body)


@given(st.binary())
def test_arbitrary_bytes_raise_only_value_errors(body: bytes) -> None:
    for text in (body, HEADER + body):
        try:
            rows = parse_csv(text)
        except ValueError:
            continue
        assert all(set(row) == set(COLUMNS) for row in rows)


@pytest.mark.parametrize("name", ["alice", "=1+1", 'O"Neil, Bob', "Zoë"])
def test_removing_a_person_keeps_the_other_rows(name: str) -> None:
    others = [person("bob"), person(""), person("alice b", None)]
    body, count = csv_without(render_csv([person(name), *others, person(name)], {}), name)
    assert (body, count) == (render_csv(others, {}), 2)
    assert csv_without(body, name) == (body, 0)


def test_removing_a_person_from_another_file_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="header"):
        csv_without(b"alice,1\r\n", "alice")
