"""Mapping files are parsed, and results are compared with them."""

from __future__ import annotations

import pytest
from support.needs import REPOSITORY, classroom_folder

from rollcall.core.expectations import Expectation, MappingError, agrees, parse_mapping
from rollcall.core.results import parse_csv, render_csv
from rollcall.core.types import Person, Student

ALICE = ("physics", "junior")
BOB = ("history", "senior")


def row(majors_year: tuple[str, str] = ALICE, name: str = "alice") -> dict[str, str]:
    return {"name": name, "major": majors_year[0], "year": majors_year[1]}


STRANGER = row(("", ""), "unknown")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("a.mp4:physics,junior", Expectation((ALICE,), 0)),
        ("a.mp4: physics , junior ", Expectation((ALICE,), 0)),
        ("a.mp4:physics,junior;history,senior", Expectation((ALICE, BOB), 0)),
        ("a.mp4:physics,junior; unknown;unknown", Expectation((ALICE,), 2)),
        ("a.mp4:unknown", Expectation((), 1)),
        ("a.mp4:", Expectation((), 0)),
        ("a.mp4:,", Expectation((("", ""),), 0)),
    ],
)
def test_a_line_of_a_mapping_is_parsed(line: str, expected: Expectation) -> None:
    assert parse_mapping(f"# comment\n\n  {line}\r\n") == {"a.mp4": expected}


def test_the_name_of_a_video_may_contain_colons() -> None:
    assert list(parse_mapping("week 1: a.mp4:physics,junior")) == ["week 1: a.mp4"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# nothing",
        "a.mp4",
        ":physics,junior",
        "a.mp4:physics",
        "a.mp4:physics,junior,extra",
        "a.mp4:physics,junior;history",
        "a.mp4:\na.mp4:unknown",
    ],
)
def test_malformed_mappings_are_refused(text: str) -> None:
    with pytest.raises(MappingError):
        parse_mapping(text)


def test_the_error_names_the_line() -> None:
    with pytest.raises(MappingError, match="line 3"):
        parse_mapping("a.mp4:\n\nb.mp4:physics")


@pytest.mark.parametrize(
    ("expected", "text"),
    [
        (Expectation((), 0), "nobody"),
        (Expectation((ALICE,), 1), "physics, junior; unknown"),
    ],
)
def test_expectation_in_words(expected: Expectation, text: str) -> None:
    assert str(expected) == text


@pytest.mark.parametrize(
    ("rest", "rows", "right"),
    [
        ("physics,junior", [row()], True),
        ("physics,junior", [], False),
        ("physics,junior", [STRANGER], False),
        ("physics,junior", [row(BOB, "bob")], False),
        ("physics,junior", [row(("physics", "senior"))], False),
        ("physics,junior", [row(), row(BOB, "bob")], False),
        ("physics,junior", [row(), row(name="twin")], False),
        ("physics,junior", [row(), STRANGER], True),
        ("physics,junior;history,senior", [row(BOB, "bob"), row()], True),
        ("physics,junior;history,senior", [row()], False),
        ("physics,junior;physics,junior", [row(), row(name="twin")], True),
        ("unknown", [STRANGER], True),
        ("unknown", [STRANGER, STRANGER], False),
        ("unknown", [], False),
        ("unknown", [row()], False),
        ("physics,junior;unknown", [row(), STRANGER], True),
        ("physics,junior;unknown", [row()], False),
        ("", [], True),
        ("", [STRANGER], False),
        ("", [row()], False),
    ],
)
def test_a_result_is_compared_with_the_expectation(
    rest: str, rows: list[dict[str, str]], right: bool
) -> None:
    (expected,) = parse_mapping(f"a.mp4:{rest}").values()
    assert agrees(expected, rows) is right


def test_the_mappings_in_the_repository_can_be_parsed() -> None:
    assert parse_mapping((REPOSITORY / "data" / "mapping").read_text())
    folder = classroom_folder()
    mapping = parse_mapping((folder / "mapping").read_text())
    assert {path.name for path in (folder / "videos").iterdir()} <= set(mapping)


@pytest.mark.parametrize("major", ["-physics", "=1", "computer\tscience"])
def test_a_cell_that_was_made_safe_agrees_with_the_mapping(major: str) -> None:
    students = {"a": Student("a", major, "junior")}
    rows = parse_csv(render_csv([Person("a", 0, 0, 1, 0.4)], students))
    assert agrees(parse_mapping(f"a.mp4:{major},junior")["a.mp4"], rows)
