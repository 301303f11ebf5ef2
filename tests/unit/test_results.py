"""Contract 3.3: the CSV."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollcall.core.results import COLUMNS, FORMULA_STARTS, csv_without, parse_csv, render_csv
from rollcall.core.types import Person, Student

HEADER = b"name,major,year,first_seen_s,last_seen_s,frames,distance\r\n"


def person(name: str = "alice", distance: float | None = 0.4321) -> Person:
    return Person(name, 0.5, 12.0, 7, distance)


def test_no_face_is_the_header_alone() -> None:
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
    assert set("=+-@\t\r") <= set(FORMULA_STARTS)


def test_signs_elsewhere_are_left_alone() -> None:
    (row,) = parse_csv(render_csv([person("a=b-c@d")], {}))
    assert row["name"] == "a=b-c@d"


AWKWARD = ["a,b", 'say "hi"', "two\nlines", "two\r\nlines", "a\rb", '"', ",", "'", " x ", "é\u2028"]


@pytest.mark.parametrize("text", AWKWARD)
def test_awkward_cells_come_back_as_they_were(text: str) -> None:
    students = {"a": Student("a", text, text)}
    (row,) = parse_csv(render_csv([person("a")], students))
    assert (row["major"], row["year"]) == (text, text)


def test_quoting_is_that_of_rfc_4180() -> None:
    students = {"a": Student("a", 'x,"y"\nz', "1")}
    assert b'\r\na,"x,""y""\nz",1,' in render_csv([person("a")], students)


@given(st.text(), st.text(), st.text())
def test_whatever_a_record_holds_a_reader_sees_one_row(name: str, major: str, year: str) -> None:
    body = render_csv([person(name)], {name: Student(name, major, year)})
    header, row = csv.reader(io.StringIO(body.decode(), newline=""), strict=True)
    assert tuple(header) == COLUMNS
    assert len(row) == len(COLUMNS)
    assert not any(cell.startswith(FORMULA_STARTS) for cell in row)
    assert [cell.removeprefix("'") for cell in row[1:3]] == [
        text.removeprefix("'") for text in (major, year)
    ]


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
def test_what_is_no_result_is_a_value_error(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"CSV|header|cells|codec"):
        parse_csv(body)


@given(st.binary())
def test_arbitrary_bytes_raise_nothing_else(body: bytes) -> None:
    for text in (body, HEADER + body):
        try:
            rows = parse_csv(text)
        except ValueError:
            continue
        assert all(set(row) == set(COLUMNS) for row in rows)


@pytest.mark.parametrize("name", ["alice", "=1+1", 'O"Neil, Bob', "Zoë"])
def test_without_a_person_the_other_rows_are_as_they_were(name: str) -> None:
    others = [person("bob"), person(""), person("alice b", None)]
    body, count = csv_without(render_csv([person(name), *others, person(name)], {}), name)
    assert (body, count) == (render_csv(others, {}), 2)
    assert csv_without(body, name) == (body, 0)


def test_without_a_person_of_something_else() -> None:
    with pytest.raises(ValueError, match="header"):
        csv_without(b"alice,1\r\n", "alice")
