"""The list of videos: filters, pages, and limits on the rows that a page reads."""

from __future__ import annotations

from itertools import product

import pytest
from support.index_samples import DAY_S, T0, appearance, indexed, samples

from rollcall.core.index_types import IndexedVideo
from rollcall.database.database import Database
from rollcall.index import video_queries, video_walks
from rollcall.index.sql_index import SqlIndex
from rollcall.index.video_filter import TOP, VideoFilter
from rollcall.index.video_queries import VideoQueries


@pytest.fixture
def queries(database: Database) -> VideoQueries:
    SqlIndex(database).put(samples())
    return VideoQueries(database)


def keys(queries: VideoQueries, limit: int = 50, **wanted: object) -> list[str]:
    """The keys of all pages."""
    found, place = [], TOP
    while True:
        page = queries.page(VideoFilter(**wanted), place, limit)  # type: ignore[arg-type]
        found += [row.key for row in page.rows]
        if page.next is None:
            return found
        place = page.next


NEWEST_FIRST = [
    "broken.mp4",
    "door/5.mp4",
    "door/4.mp4",
    "door/ä+b %41.mp4",
    "lectures/2.mp4",
    "lectures/1.mp4",
]


@pytest.mark.parametrize("limit", [1, 2, 3, 50])
def test_the_newest_come_first_in_pages_of_any_size(queries: VideoQueries, limit: int) -> None:
    assert keys(queries, limit) == NEWEST_FIRST


def test_videos_of_one_second_are_all_listed_once(database: Database) -> None:
    SqlIndex(database).put([indexed(f"{number}.mp4") for number in range(7)])
    assert sorted(keys(VideoQueries(database), 2)) == [f"{number}.mp4" for number in range(7)]


def test_a_row_has_people_and_counts(queries: VideoQueries) -> None:
    row = queries.page(VideoFilter(words="lectures 1")).rows[0]
    assert [seen.name for seen in row.people] == ["Ada Lovelace", "Ben Bitdiddle", ""]
    assert row.people[0].intervals == ((0.0, 20.0), (30.0, 55.5))
    assert (row.named, row.unknown, row.duration_s, row.kept) == (2, 1, 60.0, "pictures")
    (corrected,) = queries.page(VideoFilter(words="%41")).rows
    assert corrected.corrected


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("lectures", ["lectures/2.mp4", "lectures/1.mp4"]),
        ("LECTURES .MP4 1", ["lectures/1.mp4"]),
        ("%41", ["door/ä+b %41.mp4"]),
        ("_", []),
        ("\\", []),
        ("ben", ["door/ä+b %41.mp4", "lectures/1.mp4"]),
        ("LOVELACE ada", ["door/ä+b %41.mp4", "lectures/2.mp4", "lectures/1.mp4"]),
        ("ada ben", []),
        ("door", ["door/5.mp4", "door/4.mp4", "door/ä+b %41.mp4"]),
        ("nothing like this", []),
    ],
)
def test_words_are_searched_in_keys_and_names(
    queries: VideoQueries, words: str, expected: list[str]
) -> None:
    assert keys(queries, words=words) == expected
    assert keys(queries, 1, words=words) == expected


def accepted(wanted: VideoFilter, each: IndexedVideo, person: str) -> bool:
    """The filter, written plainly."""
    names = [seen.name for seen in each.people]
    words = wanted.words.lower().split()
    in_key = all(word in each.key.lower() for word in words)
    in_name = any(name and all(word in name.lower() for word in words) for name in names)
    return (
        (in_key or in_name)
        and (wanted.person_id is None or person in names)
        and (not wanted.status or each.status == wanted.status)
        and (not wanted.with_unknown or "" in names)
        and (wanted.since_s is None or each.uploaded_s >= wanted.since_s)
        and (wanted.until_s is None or each.uploaded_s < wanted.until_s)
    )


def test_every_combination_of_filters_accepts_the_right_videos(
    queries: VideoQueries, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if pages end at small limits, and for the number of new videos."""
    everything = sorted(samples(), key=lambda each: -each.uploaded_s)
    statuses = ("", "recognised", "unknown", "no_face", "error")
    choices = tuple(
        product(
            ("", "ada", "lectures"),
            ("", "Ada Lovelace", "Ben Bitdiddle"),
            statuses,
            (False, True),
            ((None, None), (T0 + DAY_S, T0 + 3 * DAY_S)),
        )
    )
    for limits in ({}, {"MAX_WALKED": 2, "MAX_FILTERED": 2, "MAX_PORTION": 1}):
        limit = 1 if limits else 50
        for name, value in limits.items():
            monkeypatch.setattr(video_walks, name, value)
            monkeypatch.setattr(video_queries, name, value, raising=False)
        for words, person, status, unknown, (since_s, until_s) in choices:
            person_id = queries.person_id(person) if person else None
            wanted = VideoFilter(words, person_id, since_s, until_s, status, unknown)
            expected = [each.key for each in everything if accepted(wanted, each, person)]
            values = {name: getattr(wanted, name) for name in VideoFilter.__dataclass_fields__}
            assert keys(queries, limit, **values) == expected, wanted
            assert queries.count_new(wanted, 0) == len(expected), wanted


def test_a_search_that_ends_early_says_how_far_it_came(
    queries: VideoQueries, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(video_walks, "MAX_WALKED", 4)
    page = queries.page(VideoFilter(words="lectures"))
    assert (page.rows, page.searched_to_s) == ((), T0 + 2 * DAY_S)
    assert page.next
    rest = queries.page(VideoFilter(words="lectures"), page.next)
    assert [row.key for row in rest.rows] == ["lectures/2.mp4", "lectures/1.mp4"]
    assert (rest.next, rest.searched_to_s) == (None, None)


def test_only_later_rows_count_as_new(database: Database, queries: VideoQueries) -> None:
    newest = queries.newest_id()
    assert queries.count_new(VideoFilter(), newest) == 0
    again = samples()[0]
    old = indexed("old.mp4", appearance(0, "Ada Lovelace"), uploaded_s=T0 - DAY_S)
    SqlIndex(database).put([again, old])
    assert queries.count_new(VideoFilter(), newest) == 1
    assert queries.count_new(VideoFilter(words="lovelace"), newest) == 1
    assert queries.count_new(VideoFilter(status="error"), newest) == 0


def test_a_page_that_is_open_for_long_does_not_read_all_videos(
    database: Database, queries: VideoQueries, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(video_queries, "MAX_LOOKED_AT", 2)
    SqlIndex(database).put([indexed(f"{number}.mp4") for number in range(9)])
    assert queries.count_new(VideoFilter(), 0) == 2


def test_an_empty_index_has_no_videos(database: Database) -> None:
    queries = VideoQueries(database)
    assert keys(queries) == []
    assert queries.newest_id() == 0


def test_people_are_found_by_name_or_folded_name(queries: VideoQueries) -> None:
    ada = queries.person_id("Ada Lovelace")
    assert ada is not None
    assert queries.person_id("ada lovelace") == ada
    assert queries.person_id("Ada") is None
    assert sorted(queries.names("l")) == ["Ada Lovelace", "Ben Bitdiddle"]
    assert queries.names("BEN") == ["Ben Bitdiddle"]
    assert len(queries.names("", limit=1)) == 1


def test_an_exact_name_is_found_among_many_that_are_spelled_alike(database: Database) -> None:
    spelled = ["jose", "Jose", "JOSE", "Jos\u00e9", "jos\u00e9"]
    SqlIndex(database).put(
        [indexed(f"{number}.mp4", appearance(0, name)) for number, name in enumerate(spelled)]
    )
    queries = VideoQueries(database)
    assert len({queries.person_id(name) for name in spelled} - {None}) == len(spelled)
    assert queries.person_id("jOsE") is None
