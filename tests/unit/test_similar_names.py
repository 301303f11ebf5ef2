"""Names that may be misspellings of known ones, and names that are only similar."""

from __future__ import annotations

import pytest

from rollcall.core.similar_names import MAX_SUGGESTIONS, close_names, similar_names

MISSPELT = [
    ("Vin Diesl", "Vin Diesel"),
    ("vin deisel", "Vin Diesel"),
    ("Win Diesel", "Vin Diesel"),
    ("Ada Lovelase", "Ada Lovelace"),
    ("Ada Biron", "Ada Byron"),
    ("Ben Kline", "Ben Klein"),
    ("Bem Klein", "Ben Klein"),
    ("Karl Jang", "Karl Lang"),
    ("Joe Muller", "Joe Müller"),
    ("Joe Mueller", "Joe Müller"),
    ("Barak Obama", "Barack Obama"),
    ("Mary-Ann Lee", "Mary Ann Lee"),
    ("Hanah", "Hannah"),
    ("Tom Hahm", "Tom Hahn"),
    ("Иван Петорв", "Иван Петров"),
    ("Nguyen Van Anh", "Nguyễn Văn Ánh"),
    ("Lovelace, Ada", "Ada Lovelace"),
    ("byron ada", "Ada Byron"),
]

PARTS = [
    ("Clara", "Clara Schumann"),
    ("ada", "Ada Lovelace"),
    ("Grace Hopper", "Grace"),
    ("Ada Lovelace", "Ada Byron Lovelace"),
    ("García, Gabriel", "Gabriel García Márquez"),
]
"""One name has all words of the other."""

SIBLINGS = [
    ("Anna Meier", "Anne Meier"),
    ("Paul Schmidt", "Paula Schmidt"),
    ("Tim Bauer", "Tom Bauer"),
    ("Christian Wagner", "Christina Wagner"),
    ("Christopher Long", "Christopher Lang"),
]
"""Different people whose names nobody can tell from misspellings."""

DIFFERENT = [
    ("Ben", "Ada"),
    ("Ben", "Ken"),
    ("Ben", "Bent"),
    ("Jan", "Jana"),
    ("Anna", "Anne"),
    ("Ada Byron", "Ada Lovelace"),
    ("Anna Schmidt", "Anna Schneider"),
    ("Lisa Müller", "Lena Müller"),
    ("Christopher Lee", "Christopher Lam"),
    ("Sebastian M.", "Sebastian K."),
    ("Person 12", "Person 13"),
    ("Student 0012", "Student 0013"),
    ("Student", "Student 0013"),
]


@pytest.mark.parametrize(("name", "known"), [*MISSPELT, *PARTS, *SIBLINGS])
def test_a_misspelling_is_close(name: str, known: str) -> None:
    assert close_names(name, ["Somebody Else", known]) == [known]


@pytest.mark.parametrize(("name", "known"), DIFFERENT)
def test_different_people_are_not_close(name: str, known: str) -> None:
    assert close_names(name, [known]) == []
    assert close_names(known, [name]) == []


def test_the_most_similar_name_comes_first_and_the_same_name_is_not_close() -> None:
    people = ["Anna Mayer", "Anna Meier", "Anna Meyer", "Anna Meyers", "Anne Meyer"]
    found = close_names("Anna Meyer", people)
    assert found[0] == "Anna Meyers"
    assert len(found) == MAX_SUGGESTIONS
    assert "Anna Meyer" not in found


def test_suggestions_also_have_parts_of_names() -> None:
    assert similar_names("ada", ["Ada Byron", "Ada Lovelace", "Ben"]) == [
        "Ada Byron",
        "Ada Lovelace",
    ]
    assert similar_names("", []) == []


def test_people_whose_names_differ_only_in_accents_are_all_close() -> None:
    """Whoever is meant needs a button in the question."""
    assert close_names("Jose Garzia", ["José García", "Jose Garcia"]) == [
        "José García",
        "Jose Garcia",
    ]
