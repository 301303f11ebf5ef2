"""Control characters in text from outside become escapes."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollcall.core.printable import json_text, printable, printable_block

TRICKS = {
    "a screen that is cleared": "\x1b[2J",
    "a window title": "\x1b]0;owned\x07",
    "a link": "\x1b]8;;http://x\x1b\\",
    "the same in one C1 character": "\x9b2J",
    "an overwritten line": "WRONG\rright",
    "erased text": "abc\b\b\b",
    "a forged line": "x\n2/2 correct",
    "another column": "x\ty",
    "delete": "\x7f",
    "next line": "\x85",
    "line separator": "\u2028",
    "paragraph separator": "\u2029",
    "turned text": "gpj.\u202exe",
    "an isolate": "\u2066x\u2069",
    "a mark": "\u200fx\u061c",
    "half of a character": "\ud800",
    "a byte of a file name": "caf\udce9",
}


@pytest.mark.parametrize("text", TRICKS.values(), ids=TRICKS)
def test_no_control_characters_are_left(text: str) -> None:
    for shown in (printable(text), json_text({"name": text})):
        assert shown.isprintable()
        assert shown.encode()
    assert json.loads(json_text({"name": text})) == {"name": text}


def test_escapes_are_those_of_python() -> None:
    assert printable("a\x1b[1m\r\n\t\x9b\u202e") == r"a\x1b[1m\r\n\t\x9b\u202e"


@pytest.mark.parametrize("text", ["Zoë", "أحمد", "می\u200cخواهم", "👩\u200d👧", "a\\x1b", "王 芳"])
def test_text_in_any_language_is_unchanged(text: str) -> None:
    assert printable(text) == printable_block(text) == text
    assert json_text(text) == json.dumps(text, ensure_ascii=False)


def test_later_lines_of_a_block_are_indented() -> None:
    assert printable_block("a\n2/2\x1b correct\r\tb") == "a\n  2/2\\u001b correct\\u000d\tb"


@given(st.text())
def test_any_text_becomes_one_line_and_is_then_unchanged(text: str) -> None:
    shown = printable(text)
    assert not {unicodedata.category(each) for each in shown} & {"Cc", "Cs", "Zl", "Zp"}
    assert not {unicodedata.bidirectional(each) for each in shown} & {"RLO", "LRO", "RLE", "LRE"}
    assert printable(shown) == shown
    assert json.loads(json_text(text)) == text
