"""Listings keep the same contract on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, func, select
from support.databases import open_tables
from support.waiting import wait_until

from rollcall.core.errors import InboxUnavailable, StoreMisconfigured
from rollcall.core.keys import result_key
from rollcall.core.settings import SQLITE_URL
from rollcall.core.types import ListedVideo, ObjectInfo
from rollcall.database.database import IN_MEMORY, Database
from rollcall.database.tables import listed_result, listed_video
from rollcall.queues import sql_listings
from rollcall.queues.sql_listings import SqlListings, SqlListingScan

IN, OUT = "videos", "results"
T0 = 1_795_237_499.25
Scan = Callable[[], AbstractContextManager[SqlListingScan]]


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres_url")
    else:
        url = IN_MEMORY if request.param == "memory" else f"{SQLITE_URL}{tmp_path}/inbox.sqlite3"
    with closing(open_tables(url)) as opened:
        yield opened


@pytest.fixture
def listings(database: Database, monkeypatch: pytest.MonkeyPatch) -> SqlListings:
    """Listings with three rows in a page, so that few objects fill several pages."""
    monkeypatch.setattr(sql_listings, "PAGE", 3)
    monkeypatch.setattr(sql_listings, "_LIMIT", 3)
    return SqlListings(database)


def scan(
    listings: SqlListings, output: str = OUT, before_page: Callable[[], None] = lambda: None
) -> AbstractContextManager[SqlListingScan | None]:
    return listings.scan(IN, output, before_page)


def video(key: str, etag: str = "e1") -> ListedVideo:
    return ListedVideo(ObjectInfo(IN, key, 3 << 32, etag, "v1", T0), result_key(key))


def result(key: str, etag: str = "r1", at_s: float = T0) -> ObjectInfo:
    return ObjectInfo(OUT, key, 10, etag, "", at_s)


def sort(items: Iterable[Any]) -> list[Any]:
    return sorted(items, key=lambda item: getattr(item, "info", item).key)


def videos_of(keys: str, etag: str = "e1") -> list[ListedVideo]:
    return sort(video(f"{key}.mp4", etag) for key in keys)


def results_of(keys: str) -> list[ObjectInfo]:
    return sort(result(f"{key}.csv") for key in keys)


def unmatched(each: SqlListingScan) -> dict[str, bool]:
    """The keys that `unmatched` yields, with whether a result exists."""
    return {video.info.key: video.has_result for page in each.unmatched() for video in page}


def count(database: Database) -> tuple[int, int]:
    with database.reading() as connection:
        videos, results = (
            connection.execute(select(func.count()).select_from(table)).scalar_one()
            for table in (listed_video, listed_result)
        )
    return videos, results


class TestListings:
    def test_unmatched_videos_come_back_as_they_were_stored(self, listings: SqlListings) -> None:
        stored = [
            video("a.mp4"),
            video("b/ü.mp4", "e2"),
            video("c.avi"),
            video("c.mp4"),
            video("c.webm"),
        ]
        with scan(listings) as each:
            assert each
            each.store_videos(stored)
            each.store_results(results_of("ac"))
            pages = list(each.unmatched())
        found = [video for page in pages for video in page]
        assert found == [
            replace(video, has_result=video.info.key in ("a.mp4", "c.mp4")) for video in stored
        ]
        assert max(map(len, pages)) <= 3

    def test_a_video_is_matched_by_a_result_with_its_etag(self, listings: SqlListings) -> None:
        with scan(listings) as each:
            assert each
            each.store_videos(videos_of("abcdefgh"))
            each.store_results(results_of("abcdef"))
            each.store_sources({"a.csv": "e1", "b.csv": "e0", "d.csv": "e1", "e.csv": ""})
            assert unmatched(each) == {
                "b.mp4": True,
                "c.mp4": True,
                "e.mp4": True,
                "f.mp4": True,
                "g.mp4": False,
                "h.mp4": False,
            }
            keys = ["a.mp4", "b.mp4", "d.mp4", "h.mp4", "x.mp4"]
            assert sort(each.matched(keys)) == [video("a.mp4").info, video("d.mp4").info]

    def test_the_order_of_keys_is_that_of_their_bytes(self, listings: SqlListings) -> None:
        """An `a.mp4` sorts before `a/b.mp4`, but its result `a.csv` may sort after it."""
        keys = [
            "A.mp4",
            "Z.mp4",
            "_.mp4",
            "a-b.mp4",
            "a.mp4",
            "a/b.mp4",
            "ab.mp4",
            "Ä.mp4",
            "😀.mp4",
        ]
        assert sorted(keys, key=str.encode) == sorted(keys)
        for _ in range(2):
            with scan(listings) as each:
                assert each
                each.store_videos(map(video, sorted(keys)))
                each.store_results(sort(result(result_key(key)) for key in keys))
                each.store_sources({result_key(key): "e1" for key in keys if key != "ab.mp4"})
                assert unmatched(each) == {"ab.mp4": True}

    @pytest.mark.parametrize("left", ["", "a", "k", "ek", "abcdefghijk", "xyz"])
    def test_objects_that_are_not_listed_again_are_forgotten(
        self, listings: SqlListings, database: Database, left: str
    ) -> None:
        with scan(listings) as each:
            assert each
            each.store_videos(videos_of("abcdefghijk"))
            each.store_results(results_of("abcdefghijk"))
        with scan(listings) as each:
            assert each
            each.store_videos(videos_of(left))
            each.store_results(results_of(left))
            assert unmatched(each) == {f"{key}.mp4": True for key in left}
        assert count(database) == (len(left), len(left))

    @pytest.mark.parametrize(
        ("changed", "known"),
        [
            (result("a.csv"), True),
            (result("a.csv", "r2"), False),
            (result("a.csv", at_s=T0 + 1), False),
        ],
        ids=["same", "other etag", "other time"],
    )
    def test_a_source_is_remembered_until_its_result_changes(
        self, listings: SqlListings, changed: ObjectInfo, known: bool
    ) -> None:
        with scan(listings) as each:
            assert each
            each.store_videos(videos_of("a"))
            each.store_results(results_of("a"))
            each.store_sources({"a.csv": "e1"})
        with scan(listings) as each:
            assert each
            each.store_videos(videos_of("a"))
            each.store_results([changed])
            assert unmatched(each) == ({} if known else {"a.mp4": True})

    def test_a_video_is_unmatched_after_another_upload(self, listings: SqlListings) -> None:
        with scan(listings) as each:
            assert each
            each.store_videos(videos_of("ab"))
            each.store_results(results_of("ab"))
            each.store_sources({"a.csv": "e1", "b.csv": "e1"})
            each.store_videos([video("a.mp4"), video("b.mp4", "e2")])
            (page,) = each.unmatched()
        assert page == [replace(video("b.mp4", "e2"), has_result=True)]

    def test_a_second_scan_of_the_same_objects_writes_nothing(
        self, listings: SqlListings, database: Database
    ) -> None:
        written: list[str] = []

        def record(connection: object, cursor: object, statement: str, *rest: object) -> None:
            if statement.split(maxsplit=1)[0] in ("INSERT", "UPDATE", "DELETE"):
                written.append(statement)

        event.listen(database.engine, "before_cursor_execute", record)
        for _ in range(2):
            written.clear()
            with scan(listings) as each:
                assert each
                each.store_videos(videos_of("abcdefg"))
                each.store_results(results_of("abcdefg"))
        assert not written

    def test_an_unsorted_listing_is_refused(self, listings: SqlListings) -> None:
        """Rows between two keys would be taken for deleted objects."""
        for order in ("ba", "abdc", "abcda", "abcdefab"):
            unsorted = (video(f"{key}.mp4") for key in order)
            with scan(listings) as each:
                assert each
                with pytest.raises(StoreMisconfigured, match="videos out of order"):
                    each.store_videos(unsorted)

    def test_a_key_that_is_listed_twice_is_not_an_error(self, listings: SqlListings) -> None:
        """A page of the store may begin with an object that was replaced in the meantime."""
        with scan(listings) as each:
            assert each
            each.store_videos(video(f"{key}.mp4") for key in "abccdd")
            assert list(unmatched(each)) == ["a.mp4", "b.mp4", "c.mp4", "d.mp4"]

    def test_a_failed_scan_leaves_listings_for_the_next(
        self, listings: SqlListings, database: Database
    ) -> None:
        def failing() -> Iterator[ListedVideo]:
            yield from videos_of("abcdef")
            raise StoreMisconfigured("refused")

        with scan(listings) as each:
            assert each
            with pytest.raises(StoreMisconfigured):
                each.store_videos(failing())
        assert count(database) == (6, 0)
        with scan(listings) as each:
            assert each
            each.store_videos(videos_of("bcz"))
            assert list(unmatched(each)) == ["b.mp4", "c.mp4", "z.mp4"]

    def test_every_loop_asks_before_each_page(self, listings: SqlListings) -> None:
        pages = [0]

        def before_page() -> None:
            pages[0] += 1

        def asked(step: Callable[[], object]) -> int:
            before = pages[0]
            step()
            return pages[0] - before

        with scan(listings, before_page=before_page) as each:
            assert each
            assert asked(lambda: each.store_videos(videos_of("abcdefghi"))) >= 3
            assert asked(lambda: each.store_results(results_of("abcdefghi"))) >= 3
            assert asked(lambda: list(each.unmatched())) >= 3
            assert asked(lambda: each.store_videos([])) >= 3

    def test_listings_of_other_buckets_are_deleted_at_the_end(
        self, listings: SqlListings, database: Database
    ) -> None:
        with listings.scan("a-videos", "z-results", lambda: None) as other:
            assert other
            other.store_videos(videos_of("abcd"))
            other.store_results(results_of("abcd"))
        with scan(listings) as each:
            assert each
            each.store_videos(videos_of("x"))
            each.store_results(results_of("xy"))
            assert list(unmatched(each)) == ["x.mp4"]
            assert count(database) == (5, 6)
            each.succeed()
        assert count(database) == (1, 2)

    def test_the_time_of_the_last_success_is_that_of_the_input_bucket(
        self, listings: SqlListings
    ) -> None:
        with scan(listings) as each:
            assert each
            assert each.last_success_s() == 0
            before_s = each.now_s()
            at_s = each.succeed()
            assert each.last_success_s() == at_s
            assert before_s <= at_s <= each.now_s()
            assert each.succeed() >= at_s
        with listings.scan("others", OUT, lambda: None) as other:
            assert other
            assert other.last_success_s() == 0


@pytest.fixture
def two(postgres_url: str) -> Iterator[tuple[Database, Database]]:
    """The databases of two triggers."""
    with closing(Database(postgres_url)) as one, closing(Database(postgres_url)) as two:
        yield one, two


def test_in_postgresql_one_process_scans_at_a_time(two: tuple[Database, Database]) -> None:
    first, second = map(SqlListings, two)
    with scan(first) as one:
        assert one
        with scan(second) as other:
            assert other is None
        one.store_videos(videos_of("a"))
    with scan(second) as other:
        assert other
        assert list(unmatched(other)) == ["a.mp4"]


def test_a_scan_occupies_no_connection_of_the_pool(two: tuple[Database, Database]) -> None:
    pool: Any = two[0].engine.pool
    with scan(SqlListings(two[0])) as one:
        assert one
        one.store_videos(videos_of("a"))
        assert pool.checkedout() == 0


def test_a_scan_that_has_lost_its_lock_cannot_write(two: tuple[Database, Database]) -> None:
    """PostgreSQL ends the connection; a second scan begins, and the first one fails."""
    first, second = map(SqlListings, two)
    with scan(first) as one:
        assert one
        one.store_videos(videos_of("ab"))
        with two[1].transaction() as connection:
            connection.exec_driver_sql("SELECT pg_terminate_backend(pid) FROM pg_locks" + ADVISORY)
        wait_until(lambda: not locks(two[1]), "the end of the connection")
        with scan(second) as other:
            assert other
            other.store_videos(videos_of("xyz"))
        for message in ("cannot be used", "is broken"):
            with pytest.raises(InboxUnavailable, match=message):
                one.store_videos(videos_of("c"))
    with scan(second) as other:
        assert other
        assert list(unmatched(other)) == ["x.mp4", "y.mp4", "z.mp4"]


ADVISORY = " WHERE locktype='advisory'"


def locks(database: Database) -> int:
    with database.reading() as connection:
        query = "SELECT count(*) FROM pg_locks" + ADVISORY
        return int(connection.exec_driver_sql(query).scalar_one())
