"""Reads a mapping file, which says who is expected in which video, and compares results with it.

Each line is `video:major,year`. Several people are separated by `;`, and `unknown` stands for a
person who is not in the gallery. If nothing follows the colon, nobody is expected. Lines that begin
with `#` are comments.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from rollcall.core.errors import PermanentError
from rollcall.core.names import UNKNOWN, normalise_name
from rollcall.core.results import safe_cell


class MappingError(PermanentError):
    """A mapping file is empty, or has a line that cannot be parsed or that repeats a video."""


class Expectation(NamedTuple):
    """The people who are expected in one video."""

    majors_years: tuple[tuple[str, str], ...]
    """Major and year of each known person, in any order."""
    unknown: int
    """Number of people who are not in the gallery."""

    def __str__(self) -> str:
        people = [f"{major}, {year}" for major, year in self.majors_years]
        return "; ".join(people + [UNKNOWN] * self.unknown) or "nobody"


def parse_mapping(text: str) -> dict[str, Expectation]:
    """The expectation for each video. Raises MappingError."""
    lines = {n: line.strip() for n, line in enumerate(text.split("\n"), 1)}
    parsed = [_parse_line(n, line) for n, line in lines.items() if line and line[0] != "#"]
    mapping = dict(parsed)
    if not mapping:
        raise MappingError("the mapping is empty")
    twice = sorted(video for video, count in Counter(v for v, _ in parsed).items() if count > 1)
    if twice:
        raise MappingError(f"the mapping names a video twice: {', '.join(twice)}")
    return mapping


def agrees(expected: Expectation, rows: Sequence[Mapping[str, str]]) -> bool:
    """Whether a result has everyone who is expected, and nobody else with a name.

    The number of unknown people is checked only if the mapping mentions `unknown` or expects
    nobody. Otherwise there may be any number of passers-by.
    """
    named = [row for row in rows if row["name"] != UNKNOWN]
    found = Counter(_normalised(row["major"], row["year"]) for row in named)
    strict = expected.unknown > 0 or not expected.majors_years
    same_unknown = len(rows) - len(named) == expected.unknown
    wanted = Counter(_normalised(*cells) for cells in expected.majors_years)
    return found == wanted and (same_unknown or not strict)


def _normalised(major: str, year: str) -> tuple[str, str]:
    # The mapping may come from a machine that uses another Unicode form. In a result, a cell that a
    # spreadsheet would run as a formula begins with a `'`.
    return normalise_name(safe_cell(major)), normalise_name(safe_cell(year))


def _parse_line(number: int, line: str) -> tuple[str, Expectation]:
    video, colon, rest = line.rpartition(":")
    people = [part.strip() for part in rest.split(";") if part.strip()]
    known = [tuple(cell.strip() for cell in part.split(",")) for part in people if part != UNKNOWN]
    if not colon or not video or any(len(cells) != 2 for cells in known):
        raise MappingError(f"line {number} of the mapping is not `video:major,year`: {line!r}")
    pairs = tuple((cells[0], cells[1]) for cells in known)
    return video, Expectation(pairs, len(people) - len(known))
