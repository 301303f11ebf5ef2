"""The sentences of `rollcall gallery log`."""

from __future__ import annotations

from typing import Any

import pytest

from rollcall.cli.change_texts import action_text
from rollcall.core.web_protocols import Change


def line(action: str, name: str, undoes: int | None = None, /, **details: Any) -> Change:
    return Change(
        id=4,
        at_s=0.0,
        who="olga",
        action=action,
        name=name,
        details=details,
        videos=0,
        can_undo=False,
        undone_by=None,
        undoes=undoes,
    )


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (line("is", "Ada", faces=2, keys=["a.mp4"]), "named 2 faces 'Ada' in 'a.mp4'"),
        (
            line("ignore", "", faces=4, keys=["a", "b", "c", "d"]),
            "ignored 4 faces in 'a', 'b', 'c' and 1 other video",
        ),
        (line("enrol", "Ada", photos=1), "enrolled 'Ada' from 1 photo"),
        (line("rerun", "a.mp4"), "queued the video 'a.mp4' again"),
        (line("retry", "", count=3), "tried again: 3 problems"),
        (line("merge", "", into="Ada"), "merged a forgotten person into 'Ada'"),
        (line("undo", "Ada", 3, action="is", faces=1), "undid 3: named 1 face 'Ada'"),
        (
            line("undo", "Ben", 3, action="rename", new_name="B"),
            "undid 3: 'Ben' is called 'B' again",
        ),
        (line("forget", ""), "forgot a person everywhere"),
        (line("undo", "", 3, action="undo"), "undid 3"),
        (line("sign_in", ""), "signed in"),
    ],
)
def test_a_change_is_told_in_words(change: Change, text: str) -> None:
    assert action_text(change) == text
