"""The sentences of the log."""

from __future__ import annotations

import pytest

from rollcall.core.web_protocols import Change
from rollcall.web.sentences import foot_sentence, predicate


@pytest.mark.parametrize(
    ("action", "name", "details", "text"),
    [
        ("is", "Ada", {"faces": 3}, "named 3 faces Ada"),
        ("is", "", {"faces": 1}, "named 1 face a person who was forgotten"),
        ("not", "Ada", {"faces": 1}, "said that 1 face did not show Ada"),
        ("same", "", {"faces": 4}, "said that 4 faces showed one person"),
        ("ignore", "", {"faces": 2}, "ignored 2 faces"),
        ("rename", "Ada", {"new_name": "Ada L."}, "renamed Ada to Ada L."),
        ("merge", "Ada", {"into": "Ben"}, "merged Ada into Ben"),
        ("merge", "Ada", {}, "merged Ada into a person who was forgotten"),
        ("forget", "", {}, "forgot a person everywhere"),
        ("forget", "Ada", {}, "forgot Ada everywhere"),
        ("enrol", "Ada", {}, "enrolled Ada"),
        ("enrol", "Ada", {"photos": 8}, "enrolled Ada from 8 photos"),
        ("remove_photo", "Ada", {}, "removed a photo of Ada"),
        ("rerun", "a.mp4", {}, "queued a.mp4 again"),
        ("retry", "", {"cause": "2 videos cannot be decoded"}, "tried again: 2 videos cannot be"),
        ("dismiss", "a.mp4", {"count": 1}, "dismissed: 1 problem (a.mp4)"),
        ("view", "Ada", {}, "looked at Ada"),
        ("sign_in", "", {}, "signed in"),
        ("undo", "Ada", {"action": "is", "faces": 3}, "undid a change: named 3 faces Ada"),
        (
            "undo",
            "Ada L.",
            {"action": "rename", "new_name": "Ada"},
            "undid a change: Ada L. is called Ada again",
        ),
        ("undo", "", {"action": "dismiss", "cause": "1 event"}, "brought back: 1 event"),
        ("undo", "", {}, "undid a change"),
        ("undo", "", {"action": "undo"}, "undid a change"),
        ("later", "", {"faces": "?"}, "later"),
    ],
)
def test_sentences(action: str, name: str, details: dict[str, object], text: str) -> None:
    assert predicate(Change(1, 0.0, "ada", action, name, details)).startswith(text)


def test_the_foot_line_counts_videos() -> None:
    change = Change(1, 0.0, "ada", "is", "Ben", {"faces": 1}, videos=2)
    assert foot_sentence(change) == "Named 1 face Ben. 2 videos changed."
