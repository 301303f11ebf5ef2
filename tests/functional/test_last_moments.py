"""Pages that are read at the moment at which the last video follows a change.

A page asks again only while something is in progress. If it read the old state first, and then that
nothing is in progress any more, it would show the old state for good.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from support.people_index import NOW_S, RecordedCorrections, encoding, put_unknown, put_video
from support.web_pages import pages_client, web_parts

from rollcall.core.work import Work
from rollcall.web.parts import WebParts


@dataclass
class EndingCorrections(RecordedCorrections):
    """Corrections whose last video is done when somebody asks how many are left."""

    end: Callable[[], object] = lambda: None

    def pending(self) -> int:
        self.end()
        return 0


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[WebParts]:
    with web_parts(tmp_path, keep_faces="encodings") as built:
        yield built


def ending(parts: WebParts, end: Callable[[], object]) -> FlaskClient:
    corrections = EndingCorrections(parts.changes, end=end)
    return pages_client(replace(parts, corrections=corrections))


def test_a_group_that_was_just_named_is_gone(parts: WebParts) -> None:
    video = put_video(parts.database, "1.mp4", [("", [(1, 2)])])
    put_unknown(parts.database, video, {0: encoding(1)})
    client = ending(parts, lambda: put_unknown(parts.database, video, {}))
    assert "data-group" not in client.get("/unknown").text


def test_a_person_has_the_videos_that_were_just_corrected(parts: WebParts) -> None:
    put_video(parts.database, "1.mp4", [("Ada", [(1, 2)])], NOW_S)
    client = ending(parts, lambda: put_video(parts.database, "2.mp4", [("Ada", [(1, 2)])]))
    assert "in 2 videos" in client.get("/people/1").text


def test_the_line_at_the_foot_counts_the_last_video(parts: WebParts) -> None:
    change_id = parts.changes.record("ada", "is", "Ben", {"faces": 1})
    count: Any = parts.changes
    client = ending(parts, lambda: count.count_videos(change_id))
    assert "1 video changed." in client.get(f"/log/{change_id}/foot").text


def test_a_video_shows_the_result_that_just_came(parts: WebParts) -> None:
    video = put_video(parts.database, "1.mp4", [("Ada", [(1, 2)])])

    class EndingQueue:
        """A queue in which the work on the video ends before its history is read."""

        def history(self, *_: object) -> list[Work]:
            put_video(parts.database, "1.mp4", [("Ben", [(1, 2)])], NOW_S + 1)
            return []

        def __getattr__(self, name: str) -> Any:
            return getattr(parts.queue, name)

    queue: Any = EndingQueue()
    page = pages_client(replace(parts, queue=queue)).get(f"/videos/{video}").text
    assert "Ben" in page
    assert "Ada" not in page
