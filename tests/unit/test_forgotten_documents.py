"""A person is removed from JSON documents and messages."""

from __future__ import annotations

import json
import unicodedata

import pytest

from rollcall.core.forgotten_documents import document_without, message_without

NAME = "Zoë"


def test_the_entries_of_a_person_are_removed() -> None:
    decomposed = unicodedata.normalize("NFD", NAME)
    document = {
        "status": "recognised",
        "people": [{"name": decomposed}, {"name": "unknown"}],
        "faces": [{"nearest": NAME}, {"nearest": "Ben"}],
        "deep": {"list": [[{"name": NAME}, 1]]},
    }
    text, count = document_without(json.dumps(document), NAME)
    assert count == 3
    assert json.loads(text) == {
        "status": "unknown",
        "people": [{"name": "unknown"}],
        "faces": [{"nearest": "Ben"}],
        "deep": {"list": [[1]]},
    }


@pytest.mark.parametrize(
    "text", ["{}", "[", "7", '{"name": "Zoë"}', '{"people": [{"name": "Zoës"}, {"name": 7}]}']
)
def test_other_documents_stay_as_they_are(text: str) -> None:
    assert document_without(text, NAME) == (text, 0)


def test_a_document_of_many_levels_is_left_out() -> None:
    text = "[" * 100_000 + "]" * 100_000
    assert document_without(text, NAME) == (text, 0)


def test_a_name_in_a_message_is_replaced() -> None:
    text = f"{NAME} and {NAME}, but not {NAME}s; {unicodedata.normalize('NFD', NAME)}"
    assert message_without(text, NAME) == (
        f"(forgotten) and (forgotten), but not {NAME}s; (forgotten)",
        3,
    )
    assert message_without("a.b", "a?b") == ("a.b", 0)
    assert message_without("a [b] c", "[b]") == ("a (forgotten) c", 1)
