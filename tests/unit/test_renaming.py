"""Other names in results and reports, without looking at a face."""

from __future__ import annotations

from typing import Any

import pytest

from rollcall.core.renaming import csv_renamed, people_renamed, report_renamed
from rollcall.core.results import parse_csv, render_csv
from rollcall.core.types import Person, Student

RESULT = render_csv(
    [
        Person("Ben", 5.0, 9.0, 7, 0.4),
        Person("", 0.0, 1.0, 6, 0.7),
        Person("=Ada", 1.0, 6.0, 5, 0.3),
        Person("", 2.0, 3.0, 1, None),
    ],
    {"Ben": Student("Ben", "physics", "1")},
)


def entry(name: str, *intervals: tuple[float, float], **fields: Any) -> dict[str, Any]:
    times = {"first_seen_s": intervals[0][0], "last_seen_s": intervals[-1][1]}
    spans = [list(each) for each in intervals]
    seen = {"intervals": spans, "frames": 2, "distance": 0.4, "certainty": "likely"}
    return {"name": name, "major": "", "year": "", **times, **seen, **fields}


def test_a_person_of_a_result_gets_another_name() -> None:
    students = {"Ada L": Student("Ada L", "maths", "3")}
    rows = parse_csv(csv_renamed(RESULT, {"=Ada": "Ada L"}, students))
    assert [row["name"] for row in rows] == ["Ben", "unknown", "Ada L", "unknown"]
    assert [row["major"] for row in rows] == ["physics", "", "maths", ""]
    assert csv_renamed(RESULT, {"Eve": "Eva"}, {}) == RESULT


def test_two_rows_of_one_person_become_one() -> None:
    rows = parse_csv(csv_renamed(RESULT, {"Ben": "=Ada"}, {}))
    assert [(row["name"], row["frames"]) for row in rows] == [
        ("'=Ada", "12"),
        ("unknown", "6"),
        ("unknown", "1"),
    ]
    first = rows[0]
    assert (first["first_seen_s"], first["last_seen_s"]) == ("1.00", "9.00")
    assert first["distance"] == "0.300"


def test_people_of_a_report_are_joined() -> None:
    people = [
        entry("Ada", (0.0, 2.0), (4.0, 6.0), distance=None),
        entry("unknown", (1.0, 2.0)),
        entry("Ben", (1.0, 3.0), (8.0, 9.0), certainty="clear"),
        entry("unknown", (5.0, 6.0)),
    ]
    renamed, places = people_renamed(people, {2: "Ada"}, {})
    assert places == [0, 1, 0, 2]
    assert [each["name"] for each in renamed] == ["Ada", "unknown", "unknown"]
    joined = renamed[0]
    assert joined["intervals"] == [[0.0, 3.0], [4.0, 6.0], [8.0, 9.0]]
    assert (joined["first_seen_s"], joined["last_seen_s"]) == (0.0, 9.0)
    assert (joined["frames"], joined["distance"], joined["certainty"]) == (4, 0.4, "clear")


def test_faces_follow_their_people() -> None:
    report = {
        "status": "recognised",
        "people": [entry("Ada", (0.0, 2.0)), entry("Ben", (1.0, 3.0)), entry("Eve", (1.0, 2.0))],
        "faces": [
            {"person": 1, "nearest": "Ben"},
            {"person": 2, "nearest": "Eve"},
            {"person": None, "nearest": None},
        ],
        "other": 1,
    }
    renamed = report_renamed(report, {1: "Ada"}, {})
    assert renamed["faces"] == [
        {"person": 0, "nearest": "Ada"},
        {"person": 1, "nearest": "Eve"},
        {"person": None, "nearest": None},
    ]
    assert renamed["other"] == 1


@pytest.mark.parametrize(
    "report",
    [{}, {"people": 7}, {"people": [{"name": 7}]}, {"people": [], "faces": [7]}],
)
def test_another_document_is_refused(report: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="not a report"):
        report_renamed(report, {0: "Ada"}, {})
