"""Names in all languages: the one spelling of each, and the names that are refused."""

from __future__ import annotations

import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollcall.core.errors import GalleryError
from rollcall.core.expectations import agrees, parse_mapping
from rollcall.core.gallery import Gallery
from rollcall.core.names import (
    checked_name,
    checked_new_name,
    lookalike_names,
    normalise_name,
    spellings,
    with_known_case,
)
from rollcall.core.reports import report_without
from rollcall.core.results import csv_without, render_csv
from rollcall.core.types import Person, Student

COMPOSED, DECOMPOSED = "Zo\u00eb", "Zoe\u0308"

WELCOME = {
    "Persian, zero-width non-joiner": "\u062f\u0627\u0646\u0634\u200c\u0622\u0645\u0648\u0632",
    "Sinhala, with a zero-width joiner": "\u0dc1\u0dca\u200d\u0dbb\u0dd3 \u0dbd\u0d82\u0d9a\u0dcf",
    "Hebrew, with a right-to-left mark": "\u05d0\u05d1\u200f!",
    "Hawaiian": "Kahale\u02bbula",
    "Chinese": "\u738b\u5c0f\u660e",
    "a combining mark without composed form": "m\u0304",
    "a private character": "\ue000",
    "a character newer than this Python": "\U0003fffd",
    "a soft hyphen": "Mar\u00adlene",
}


@pytest.mark.parametrize("name", WELCOME.values(), ids=WELCOME)
def test_a_name_in_any_language_keeps_its_spelling(name: str) -> None:
    assert checked_name(name) == name


REFUSED = {
    "nothing": ("", "no visible"),
    "spaces": (" \u00a0\u3000", "no visible"),
    "joiners alone": ("\u200d\u200c", "no visible"),
    "a line feed": ("Ada\nLovelace", "U\\+000A, which is a control"),
    "a tab": ("Ada\tLovelace", "U\\+0009"),
    "a line feed at the end": ("Ada\n", "U\\+000A"),
    "a NUL": ("Ada\x00", "U\\+0000"),
    "DEL": ("Ada\x7f", "U\\+007F"),
    "NEL": ("Ada\x85Lovelace", "U\\+0085"),
    "a surrogate": ("Ada\ud800", "U\\+D800, which is half"),
    "the reserved name": (" unknown\u00a0", "everyone else"),
    "too long": ("x" * 257, "at most 256"),
    "far too long": (" " * 100_000, "at most 256"),
    **{
        f"U+{code:04X}": (f"Ada{chr(code)}", f"U\\+{code:04X}, which changes the direction")
        for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))
    },
}


@pytest.mark.parametrize(("name", "reason"), REFUSED.values(), ids=REFUSED)
def test_a_name_that_breaks_lines_or_direction_is_refused(name: str, reason: str) -> None:
    with pytest.raises(GalleryError, match=reason) as caught:
        checked_name(name)
    assert str(caught.value).isprintable()


NEAR = {
    "case": "ada Lovelace",
    "all capitals": "ADA LOVELACE",
    "no space": "AdaLovelace",
    "a zero-width space": "Ada\u200b Lovelace",
    "a zero-width space instead of the space": "Ada\u200bLovelace",
    "a joiner": "A\u200dda Lovelace",
    "a soft hyphen": "Ada Love\u00adlace",
    "a byte order mark": "\ufeffAda Lovelace",
    "a word joiner at the end": "Ada Lovelace\u2060",
    "a right-to-left mark": "Ada Lovelace\u200f",
    "a Hangul filler": "Ada Lovelace\u3164",
    "an empty Braille pattern": "Ada\u2800Lovelace",
    "a variation selector": "Ada\ufe0f Lovelace",
    "a grapheme joiner": "Ada\u034f Lovelace",
    "a tag": "Ada Lovelace\U000e0041",
    "wide letters": "\uff21da Lovelace",
    "a bold letter": "\U0001d400da Lovelace",
}


@pytest.mark.parametrize("name", NEAR.values(), ids=NEAR)
def test_a_name_that_looks_like_another_one_is_refused(name: str) -> None:
    people = ["Ada Lovelace", "Grace Hopper"]
    with pytest.raises(GalleryError, match="looks like 'Ada Lovelace', who is in the gallery"):
        checked_new_name(name, people)
    assert lookalike_names(name, people) == ["Ada Lovelace"]
    assert lookalike_names("Ada Lovelace", [name, "Ada Lovelace"]) == [name]
    assert checked_new_name(name, [name, *people]) == checked_name(name), "it is there already"


@pytest.mark.parametrize(
    "name", ["Ada  Lovelace ", "\u00a0Ada\u3000Lovelace", "Ad\u0061 Lovelace"], ids=ascii
)
def test_another_spelling_of_a_name_is_normalised(name: str) -> None:
    assert checked_new_name(name, ["Ada Lovelace"]) == "Ada Lovelace"
    assert checked_new_name(DECOMPOSED, [COMPOSED]) == COMPOSED
    assert not lookalike_names(DECOMPOSED, [COMPOSED])


@pytest.mark.parametrize("name", ["Zoe", "Ada Lovelace 2", "Ada L", "Ad\u00e1 Lovelace"])
def test_other_names_are_other_people(name: str) -> None:
    people = ["Ada Lovelace", COMPOSED]
    assert checked_new_name(name, people) == name
    assert not lookalike_names(name, people)


UNKNOWNS = ["Unknown", "UNKNOWN", "un known", "\u200bunknown", "Unknown\u3164", "\uff35nknown"]


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("joe  MÜLLER", "Joe Müller"),
        ("joe mu\u0308ller", "Joe Müller"),
        ("JoeMüller", "JoeMüller"),
        ("ada", "ada"),
        ("ADA", "ADA"),
        ("Eve ", "Eve"),
    ],
)
def test_a_name_in_another_case_is_that_of_the_known_person(typed: str, found: str) -> None:
    assert with_known_case(typed, ["Joe Müller", "Ada", "ada", "Ben"]) == found


@pytest.mark.parametrize("name", UNKNOWNS, ids=ascii)
def test_a_name_that_looks_like_unknown_is_refused(name: str) -> None:
    with pytest.raises(GalleryError, match="looks like 'unknown', which stands for everyone else"):
        checked_new_name(name, [])
    assert checked_new_name(name, [checked_name(name)]) == checked_name(name), "it is there already"


SPACES = "\u00a0\u1680\u2000\u2003\u2009\u200a\u2028\u2029\u202f\u205f\u3000"


@pytest.mark.parametrize("space", SPACES, ids=ascii)
def test_other_spaces_become_one_plain_space(space: str) -> None:
    assert checked_name(f"{space}Ada{space} {space}Lovelace{space}") == "Ada Lovelace"


@given(st.text())
def test_normalising_twice_changes_nothing_more(text: str) -> None:
    once = normalise_name(text)
    assert normalise_name(once) == once == unicodedata.normalize("NFC", once)


def test_spellings_are_the_same_for_each_spelling_of_a_name() -> None:
    assert spellings(DECOMPOSED) == spellings(f" {COMPOSED} ") == (COMPOSED, DECOMPOSED)
    assert spellings("Ada") == ("Ada",)


# --- where names are compared


def test_a_gallery_stores_one_spelling() -> None:
    points = np.random.default_rng(1).normal(0, 0.1, (3, 128))
    gallery = Gallery([DECOMPOSED, COMPOSED, "Ada\u00a0L."], points)
    assert gallery.names == (COMPOSED, COMPOSED, "Ada L.")
    assert gallery.people == ("Ada L.", COMPOSED)
    assert gallery.version == Gallery([COMPOSED, COMPOSED, "Ada L."], points).version
    assert len(gallery.encodings_of(DECOMPOSED)) == 2
    assert gallery.without(DECOMPOSED).people == ("Ada L.",)


@pytest.mark.parametrize(("written", "asked"), [(COMPOSED, DECOMPOSED), (DECOMPOSED, COMPOSED)])
def test_results_and_reports_are_searched_for_both_spellings(written: str, asked: str) -> None:
    body = render_csv([Person(written, 0, 1, 2, 0.4), Person("ada", 0, 1, 2, 0.4)], {})
    rest, count = csv_without(body, asked)
    assert (count, b"ada" in rest, b"Zo" in rest) == (1, True, False)
    report = '{"people": [{"name": "%s"}], "faces": [{"nearest": "%s"}, {"nearest": null}]}'
    _, count = report_without((report % (written, written)).encode(), asked)
    assert count == 2


def test_a_mapping_and_a_result_may_be_spelled_differently() -> None:
    (expected,) = parse_mapping(f"a.mp4:M{DECOMPOSED},senior\u00a0year").values()
    row = {"name": "ada", "major": f"M{COMPOSED}", "year": "senior year"}
    assert agrees(expected, [row])
    assert not agrees(expected, [row | {"major": "Moe"}])


def test_a_record_in_the_other_spelling_is_in_the_result() -> None:
    students = {COMPOSED: Student(DECOMPOSED, "physics", "junior")}
    assert b"physics" in render_csv([Person(COMPOSED, 0, 1, 2, 0.4)], students)
