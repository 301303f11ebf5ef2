"""File names for keys: each name can be turned back, and no two keys have the same name."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rollcall.core.file_names import file_of_key, key_of_file

KEYS = st.text(st.characters(exclude_categories=["Cs"]), max_size=400)


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("x.mp4", "x.mp4.txt"),
        ("week 1/A.mp4", "week%201%2f%41.mp4.txt"),
        ("../up.mp4", "%2e.%2fup.mp4.txt"),
        ("é+%", "%c3%a9%2b%25.txt"),
        ("\x00", "%00.txt"),
        ("", ".txt"),
        ("x" * 200, "x" * 200 + ".txt"),
        ("x" * 201, "x" * 200 + "+/x.txt"),
    ],
)
def test_file_of_key(key: str, path: str) -> None:
    assert file_of_key(key) == path
    assert key_of_file(path) == key


@given(KEYS)
@example("語" * 341)
@example("a" * 199 + "語")
@example("a" * 200 + "..")
def test_a_key_survives_the_round_trip_and_its_file_name_is_safe(key: str) -> None:
    path = file_of_key(key)
    assert key_of_file(path) == key
    *folders, name = path.split("/")
    assert name.endswith(".txt")
    assert all(folder.endswith("+") for folder in folders)
    assert all(
        len(part) <= 255 and part.isascii() and part.isprintable() for part in path.split("/")
    )


@given(KEYS, KEYS)
@example("A.mp4", "a.mp4")
@example("\u00e9", "e\u0301")
@example("a/b", "a%2fb")
@example("ſ", "s")
def test_two_keys_have_two_names_even_if_case_and_unicode_forms_are_ignored(
    one: str, other: str
) -> None:
    if one != other:
        names = [unicodedata.normalize("NFKD", file_of_key(key)).casefold() for key in (one, other)]
        assert names[0] != names[1]


@given(KEYS, KEYS)
@example("a", "a" * 201)
@example("a.txt/b", "a")
def test_no_file_has_the_name_of_a_folder_that_another_key_needs(one: str, other: str) -> None:
    assert not file_of_key(other).startswith(file_of_key(one) + "/")


@pytest.mark.parametrize("path", ["A.txt", "a", "%41%2F.txt", "../a.txt", "a+/b.txt", "%ff.txt"])
def test_another_path_is_not_the_file_of_a_key(path: str) -> None:
    with pytest.raises(ValueError, match="is not the file of a key"):
        key_of_file(path)
