"""Gives people other names in results and reports, without looking at a face again.

If two people of a video get the same name, their rows become one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rollcall.core.names import UNKNOWN, normalise_name
from rollcall.core.results import COLUMNS, csv_of_rows, parse_csv, safe_cell
from rollcall.core.types import Student, recognition_status
from rollcall.core.voting import CERTAINTIES

SEEN_COLUMNS = (COLUMNS[0], *COLUMNS[3:])
"""The columns of a result without the student record."""


def csv_renamed(
    body: bytes, new_names: Mapping[str, str], students: Mapping[str, Student]
) -> bytes:
    """The result in which people have other names, with the records of the new names.

    Raises ValueError if the body is not a result.
    """
    cells = {safe_cell(normalise_name(old)): new for old, new in new_names.items()}
    rows: dict[object, dict[str, str]] = {}
    for number, row in enumerate(parse_csv(body)):
        new = cells.get(safe_cell(normalise_name(row["name"])))
        if new is not None:
            record = students.get(new, Student(new))
            row |= {"name": new, "major": record.major, "year": record.year}
        # Unknown people stay apart.
        name = safe_cell(normalise_name(row["name"]))
        place = number if name == UNKNOWN else name
        rows[place] = _joined_rows(rows[place], row) if place in rows else row
    return csv_of_rows(sorted(rows.values(), key=_rank))


def csv_shows(body: bytes, people: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a result shows exactly these people of a report.

    Raises ValueError if the body is not a result.
    """
    rows = [tuple(row[column] for column in SEEN_COLUMNS) for row in parse_csv(body)]
    try:
        return sorted(rows) == sorted(map(_seen, people))
    except (KeyError, TypeError, ValueError):  # another program may have written the report
        return False


def _seen(person: Mapping[str, Any]) -> tuple[str, ...]:
    """The cells of SEEN_COLUMNS for a person of a report."""
    distance = "" if person.get("distance") is None else f"{person['distance']:.3f}"
    times = (f"{person['first_seen_s']:.2f}", f"{person['last_seen_s']:.2f}")
    return (safe_cell(normalise_name(person["name"])), *times, str(person["frames"]), distance)


def _joined_rows(left: Mapping[str, str], right: Mapping[str, str]) -> dict[str, str]:
    known = [row for row in (left, right) if row["distance"]]
    nearest = min(known or [left], key=lambda row: _number(row["distance"]))
    return {
        **left,
        "first_seen_s": min(left["first_seen_s"], right["first_seen_s"], key=_number),
        "last_seen_s": max(left["last_seen_s"], right["last_seen_s"], key=_number),
        "frames": str(int(_number(left["frames"]) + _number(right["frames"]))),
        "distance": nearest["distance"],
    }


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return 0.0


def _rank(row: Mapping[str, str]) -> float:
    return -_number(row["frames"])


def people_renamed(
    people: Sequence[Mapping[str, Any]],
    new_names: Mapping[int, str],
    students: Mapping[str, Student],
) -> tuple[list[dict[str, Any]], list[int]]:
    """The `people` of a report with other names, and the new place of each former place.

    The keys of `new_names` are places in `people`. The order stays the same, but people who get the
    same name are joined at the place of the first one.
    """
    renamed: list[dict[str, Any]] = []
    places: list[int] = []
    by_name: dict[str, int] = {}
    for number, person in enumerate(people):
        entry = dict(person)
        if number in new_names:
            record = students.get(new_names[number], Student(new_names[number]))
            entry |= {"name": record.name, "major": record.major, "year": record.year}
        name = normalise_name(entry["name"])
        if name != UNKNOWN and name in by_name:
            place = by_name[name]
            renamed[place] = joined(renamed[place], entry)
        else:
            place = by_name[name] = len(renamed)
            renamed.append(entry)
        places.append(place)
    return renamed, places


def joined(left: Mapping[str, Any], right: Mapping[str, Any]) -> dict[str, Any]:
    """One entry of a report for two entries of the same person."""
    distances = [each["distance"] for each in (left, right) if each.get("distance") is not None]
    certainties = [each.get("certainty") or "" for each in (left, right)]
    return {
        **left,
        "first_seen_s": min(left["first_seen_s"], right["first_seen_s"]),
        "last_seen_s": max(left["last_seen_s"], right["last_seen_s"]),
        "intervals": _union([*left.get("intervals", ()), *right.get("intervals", ())]),
        "frames": left["frames"] + right["frames"],
        "distance": min(distances, default=None),
        "certainty": min(certainties, key=CERTAINTIES.index) or None,
    }


def _union(intervals: Iterable[Sequence[float]]) -> list[list[float]]:
    """The intervals in order, with overlapping ones joined."""
    union: list[list[float]] = []
    for start_s, end_s in sorted(map(list, intervals)):
        if union and start_s <= union[-1][1]:
            union[-1][1] = max(union[-1][1], end_s)
        else:
            union.append([start_s, end_s])
    return union


def report_renamed(
    report: Mapping[str, Any],
    new_names: Mapping[int, str],
    students: Mapping[str, Student],
) -> dict[str, Any]:
    """A report in which people, given by their place, have other names.

    Raises ValueError if the report has another form.
    """
    try:
        people, places = people_renamed(report["people"], new_names, students)
        changed = {
            normalise_name(person["name"]): new_names[number]
            for number, person in enumerate(report["people"])
            if number in new_names
        }
        faces = [
            {
                **face,
                "nearest": changed.get(face.get("nearest") or "", face.get("nearest")),
                **_person_of(face, places),
            }
            for face in report.get("faces", ())
        ]
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise ValueError("not a report") from error
    names = ["" if person["name"] == UNKNOWN else person["name"] for person in people]
    return {**report, "status": recognition_status(names), "people": people, "faces": faces}


def _person_of(face: Mapping[str, Any], places: Sequence[int]) -> dict[str, int]:
    number = face.get("person")
    return {"person": places[number]} if isinstance(number, int) else {}
