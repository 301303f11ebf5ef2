"""Decoding text files from other machines."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollcall.core.texts import TextError, decode_text, nfc, same_names
from rollcall.text_files import read_text

TEXT = "café.mp4:physics,junior\n日本.mp4:math,senior\n"
NFC, NFD = "caf\u00e9.mp4", "cafe\u0301.mp4"


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize(
    "encoding",
    [
        "utf-8",
        "utf-8-sig",
        "utf-16",
        "utf-32",
        "utf-16-le with mark",
        "utf-16-be with mark",
        "utf-32-be with mark",
    ],
)
def test_every_encoding_and_line_end_is_the_same_text(encoding: str, end: str) -> None:
    name, _, marked = encoding.partition(" ")
    body = ("\ufeff" * bool(marked) + TEXT.replace("\n", end)).encode(name)
    assert decode_text(body, "mapping") == TEXT


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf_16_without_a_mark(encoding: str) -> None:
    assert decode_text(TEXT.encode(encoding), "mapping") == TEXT


def test_marks_of_files_that_were_joined_are_removed() -> None:
    assert decode_text("\ufeff\ufeffa\n".encode() + "\ufeffb\n".encode(), "x") == "a\nb\n"


def test_the_end_of_file_of_dos_is_removed() -> None:
    assert decode_text(b"a\r\n\x1a", "x") == "a\n"


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("a\ncafé".encode("latin-1"), "line 2 has the byte 0xe9. It was probably saved as Windows"),
        ("a\r\n\r\n“b”".encode("cp1252"), "line 3 has the byte 0x93"),
        ("a\rb\ré".encode("latin-1"), "line 3 has the byte 0xe9"),
        (b"\xff\xfea\0b", "is incomplete or damaged UTF-16-LE"),
        (b"\xfe\xff\xd8\0", "is incomplete or damaged UTF-16-BE"),
        (b"PK\x03\x04\x14\0\x06\0", "is not a text file"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "is not a text file"),
        (b"a\0b", "is not a text file"),
        (b"\0" * 8, "is not a text file"),
    ],
)
def test_the_error_about_a_file_that_is_not_text_names_the_file(body: bytes, problem: str) -> None:
    with pytest.raises(TextError) as caught:
        decode_text(body, "mapping")
    assert str(caught.value).startswith("'mapping' ")
    assert problem in str(caught.value)
    assert str(caught.value).isprintable()


@given(st.binary(max_size=60))
def test_arbitrary_bytes_are_text_or_a_text_error(body: bytes) -> None:
    said = ""
    try:
        said = "\r" * decode_text(body, "x").count("\r")
    except TextError as error:
        said = str(error)
    assert said.isprintable()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@given(text=st.text(st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="\ufeff")))
def test_text_survives_the_round_trip(encoding: str, text: str) -> None:
    assert decode_text(text.encode(encoding), "x") == text


def test_the_error_about_a_folder_names_it(tmp_path: Path) -> None:
    with pytest.raises(TextError, match="is a folder"):
        read_text(tmp_path)


def test_the_error_about_a_missing_file_names_it(tmp_path: Path) -> None:
    with pytest.raises(TextError, match=r"x' cannot be read: No such file"):
        read_text(tmp_path / "x")
    with pytest.raises(TextError, match="cannot be read"):
        read_text(tmp_path / "a\0b")


def test_the_error_about_a_file_that_opens_but_cannot_be_read_names_it() -> None:
    """Reading the memory of a process at address 0 fails, because nothing is mapped there."""
    with pytest.raises(TextError, match="'/proc/self/mem' cannot be read: Input/output error"):
        read_text(Path("/proc/self/mem"))


def test_the_limit_is_exact(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"a" * 2048)
    assert len(read_text(path, 2048)) == 2048
    path.write_bytes(b"a" * 2049)
    with pytest.raises(TextError, match="more than 2 KiB"):
        read_text(path, 2048)


def test_names_are_the_same_in_every_unicode_form() -> None:
    assert nfc(NFD) == NFC
    assert same_names([NFC, "a", "b"], [NFD, "a"]) == {NFC: (NFD,), "a": ("a",), "b": ()}


def test_exactly_the_same_name_wins_and_no_name_matches_twice() -> None:
    assert same_names([NFC], [NFC, NFD]) == {NFC: (NFC,)}
    assert same_names([NFC, NFD], [NFC, NFD]) == {NFC: (NFC,), NFD: (NFD,)}
    assert same_names([NFC, NFD], [NFD]) == {NFC: (), NFD: (NFD,)}


def test_several_names_of_one_form_are_all_returned() -> None:
    """The Angstrom sign, A with ring, and A plus combining ring are the same in NFC."""
    forms = ("\u212b", "\u00c5", "A\u030a")
    assert same_names(forms[:1], forms[1:]) == {forms[0]: tuple(sorted(forms[1:]))}
