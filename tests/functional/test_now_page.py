"""The first page: what is wrong, the counts, and the latest results."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
from flask.testing import FlaskClient
from playwright.sync_api import Page, expect
from sqlalchemy import text as sql
from support.browser import check_page
from support.index_samples import appearance, indexed
from support.sample_rows import add_video, fail, fill, finish, take, upload
from support.waiting import wait_until
from support.web_pages import pages_client, serve_pages

from rollcall.core.errors import InboxUnavailable
from rollcall.core.figures import LONG_S
from rollcall.database.database import Database
from rollcall.index.overview_queries import _DONE, SLOT_S, Lag
from rollcall.web.now import HEIGHT_PX, NOT_TAKEN_S, bars, seconds_text
from rollcall.web.parts import WebParts
from rollcall.web.system_state import (
    DAY_S,
    LAG_SLOTS,
    DoneToday,
    Kept,
    SystemState,
    system_state,
)


@pytest.fixture
def noon_s(parts: WebParts, monkeypatch: pytest.MonkeyPatch) -> float:
    """The time of the pages and of the database, whose clocks stand still in the middle of a day.

    Otherwise the day might end during a test, and a busy machine might need a second for a result.
    """
    noon_s = 20_000.5 * DAY_S
    clock = SimpleNamespace(time=lambda: noon_s, monotonic=time.monotonic)
    for name in ("now", "system_state"):
        monkeypatch.setattr(f"rollcall.web.{name}.time", clock)
    monkeypatch.setattr(parts.database, "clock", clock.time)
    return noon_s


def fresh(client: FlaskClient) -> str:
    """The page as it is now, not as it was up to a second ago."""
    with client.application.app_context():
        system_state().forget()
        system_state().lags.forget()
    return client.get("/").get_data(as_text=True)


def test_an_empty_system_shows_the_command_that_uploads_a_video(client: FlaskClient) -> None:
    text = client.get("/").text
    assert "aws s3 cp VIDEO.mp4 s3://input-bucket-video/" in text
    assert "All is well." in text
    assert "No video has been recognised yet." in text


def test_a_result_appears_with_its_people(client: FlaskClient, parts: WebParts) -> None:
    finish(parts, "a.mp4")
    id_ = add_video(parts, "a.mp4", "Ada", "Ben", "Chen", "Dora", "", "")
    text = fresh(client)
    assert "Ada, Ben, Chen +1, 2 unknown" in text
    assert f'href="/videos/{id_}"' in text
    assert "All is well." in text
    assert "after the video came." in text
    assert "VIDEO.mp4" not in text


def test_a_video_stays_one_row_from_upload_to_result(client: FlaskClient, parts: WebParts) -> None:
    import re

    def row() -> tuple[str, str]:
        found = re.findall(r'<li data-row id="([^"]+)".*?class="state (\w+)"', fresh(client), re.S)
        assert len(found) == 1
        return found[0]

    upload(parts, "a.mp4")
    element, state = row()
    assert state == "waiting"
    work = take(parts)
    assert row() == (element, "running")
    parts.queue.finish(work, "recognised")
    add_video(parts, "a.mp4", "Ada", ago_s=0)
    assert row() == (element, "done")


def test_problems_have_a_sentence_and_a_button(client: FlaskClient, parts: WebParts) -> None:
    fail(parts, "a.mp4", "b.mp4")
    text = fresh(client)
    assert "2 videos cannot be decoded." in text
    assert "Try again" not in text  # another try would fail, too
    fail(parts, "c.mp4", code="store_unavailable")
    assert 'action="/problems/dead/retry"' in fresh(client)
    assert 'href="/problems#dead-not_a_video"' in text
    assert "All is well" not in text


def test_files_are_counted_as_done_or_failed(
    client: FlaskClient, parts: WebParts, noon_s: float
) -> None:
    read = indexed("/srv/a.mp4", appearance(0, "Ada"), bucket="", finished_s=noon_s)
    yesterday = noon_s - DAY_S
    old = indexed("/srv/old.mp4", bucket="", status="error", finished_s=yesterday)
    parts.index.put([read, old])
    text = fresh(client)
    assert "All is well." in text
    assert "<dt>done today (UTC)</dt><dd>1</dd>" in text
    failed = indexed("/srv/b.mp4", bucket="", status="error", finished_s=noon_s)
    parts.index.put([failed])
    text = fresh(client)
    assert "All is well." not in text
    assert "1 file could not be recognised today." in text
    assert 'href="/videos?status=error"' in text
    assert "<dt>done today (UTC)</dt><dd>1</dd>" in text
    page = client.get("/problems").text
    assert "1 file of <code>rollcall recognise --index</code> could not be recognised" in page


def test_work_that_no_trigger_takes_is_a_problem(tmp_path: Path) -> None:
    from contextlib import closing

    from support.databases import open_file
    from support.web_pages import make_parts

    now_s = time.time()
    with closing(open_file(tmp_path / "inbox.sqlite3", lambda: now_s)) as database:
        parts = make_parts(database, tmp_path)
        client = pages_client(parts)
        upload(parts, "a.mp4")
        assert "All is well." in fresh(client)
        now_s += NOT_TAKEN_S
        assert "no trigger takes them. Start the trigger." in fresh(client)
        work = take(parts)
        assert "no trigger takes them" not in fresh(client)
        parts.queue.retry(work, 600.0, "no_answer", "the gateway refuses connections")
        assert "no trigger takes them" not in fresh(client)
        now_s += LONG_S
        text = fresh(client)
        assert "A video has been waiting for 6 min." in text
        assert "The last call failed: the gateway refuses connections." in text


def test_the_part_is_304_until_something_changes(client: FlaskClient, parts: WebParts) -> None:
    add_video(parts, "a.mp4", "Ada")
    first = client.get("/now/part")
    headers = {"If-None-Match": first.headers["ETag"]}
    assert client.get("/now/part", headers=headers).status_code == 304
    upload(parts, "b.mp4")
    fresh(client)
    assert client.get("/now/part", headers=headers).status_code == 200


def test_hostile_keys_are_text(client: FlaskClient, parts: WebParts) -> None:
    add_video(parts, '<script>alert("1")</script>\x1b.mp4', '"><img src=x>')
    text = fresh(client)
    assert "<script>alert" not in text
    assert "<img src=x>" not in text
    assert "\x1b" not in text


def test_many_readers_cost_one_query(parts: WebParts, monkeypatch: pytest.MonkeyPatch) -> None:
    from sqlalchemy import event

    for name in ("KEEP_S", "KEEP_LAGS_S"):  # long enough for the readers on a busy machine
        monkeypatch.setattr(f"rollcall.web.system_state.{name}", 600.0)
    client = pages_client(parts)
    client.get("/")
    seen: list[str] = []
    event.listen(
        parts.database.engine, "before_cursor_execute", lambda *values: seen.append(values[2])
    )
    for _ in range(3):
        client.get("/now/part")
    assert seen == []


class CountingClock:
    """Replaces the module `time` in `system_state`, and counts how often the time is read."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.count = 0

    def monotonic(self) -> float:
        with self._lock:
            self.count += 1
            return time.monotonic()


def test_many_readers_wait_for_one_time_out(monkeypatch: pytest.MonkeyPatch) -> None:
    reads = []
    clock = CountingClock()
    monkeypatch.setattr("rollcall.web.system_state.time", clock)

    def read() -> int:
        reads.append(1)
        if len(reads) == 1:
            # Each reader reads the time when it comes, and the first one once more.
            wait_until(lambda: clock.count == 9, "the other readers")
            raise InboxUnavailable("the database does not answer")
        return 7

    def get(_: int) -> int | str:
        try:
            return kept.get()
        except InboxUnavailable as error:
            return str(error)

    kept = Kept(read, 60.0)
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(get, range(8))) == {"the database does not answer"}
    assert len(reads) == 1
    assert kept.get() == 7


@pytest.mark.usefixtures("noon_s")
def test_each_video_is_counted_once_today(parts: WebParts) -> None:
    state = SystemState(parts)
    finish(parts, "a.mp4", "b.mp4")
    assert state.progress.get().done_today == 2
    finish(parts, "c.mp4")
    state.forget()
    assert state.progress.get().done_today == 3
    fail(parts, "d.mp4")
    state.forget()
    assert state.progress.get().done_today == 3


def test_only_files_of_the_time_are_read_to_count_them(parts: WebParts) -> None:
    times = {"since_s": 1, "until_s": 2}
    with parts.database.reading() as connection:
        rows = connection.execute(sql(f"EXPLAIN QUERY PLAN {_DONE.text}"), times)
        plan = [row.detail for row in rows if " video " in row.detail]
    assert plan == ["SEARCH video USING INDEX video_finished (finished_s>? AND finished_s<?)"]


def test_today_begins_at_midnight_in_utc(parts: WebParts, monkeypatch: pytest.MonkeyPatch) -> None:
    begins: list[float] = []

    def count_done(database: Database, since_s: float, until_s: float) -> int:
        begins.append(since_s)
        return 0

    monkeypatch.setattr("rollcall.web.system_state.count_done", count_done)
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        DoneToday(parts.database).count(20_000.25 * DAY_S)
    finally:
        monkeypatch.undo()
        time.tzset()
    assert begins[0] == 20_000 * DAY_S


def test_bars_are_placed_by_time() -> None:
    now_s = 1e9
    last = int(now_s) // SLOT_S
    found = bars([Lag(last - LAG_SLOTS, 9, 9), Lag(last - 1, 1, 2), Lag(last, 4, 8)], now_s)
    assert [bar.height for bar in found] == [round(HEIGHT_PX / 9), round(HEIGHT_PX * 4 / 9)]
    assert [bar.x for bar in found] == [180, 190]
    assert bars([], now_s) == []


@pytest.mark.usefixtures("noon_s")
def test_lags_are_those_of_results(client: FlaskClient, parts: WebParts) -> None:
    finish(parts, "a.mp4")
    fail(parts, "b.mp4")
    text = fresh(client)
    assert "the longest was 0.0 s" in text
    assert text.count("<rect") == 1


def test_texts() -> None:
    assert seconds_text(1.24) == "1.2 s"
    assert seconds_text(75) == "75 s"
    assert seconds_text(600) == "10 min"


def test_nobody_is_in_a_video_without_faces(client: FlaskClient, parts: WebParts) -> None:
    add_video(parts, "a.mp4")
    assert '<span class="soft cut">nobody</span>' in fresh(client)


def test_the_page_in_a_browser(page: Page, parts: WebParts) -> None:
    fill(parts)
    with serve_pages(parts) as url:
        page.goto(url)
        expect(page.get_by_text("2 videos cannot be decoded.")).to_be_visible()
        check_page(page, "now")
        page.get_by_role("heading", name="Latest").hover()
        row = page.locator("[data-row]", has_text="second.mp4")
        expect(row).to_contain_text("waiting")
        parts.queue.finish(take(parts), "recognised")
        add_video(parts, "second.mp4", "Ada", ago_s=0)
        expect(row).to_contain_text("done")
        expect(row).to_contain_text("Ada")


def test_the_empty_page_in_a_browser(page: Page, parts: WebParts) -> None:
    with serve_pages(parts) as url:
        page.goto(url)
        expect(page.get_by_text("No video has arrived yet.")).to_be_visible()
        check_page(page, "now-empty")
        page.get_by_role("heading", name="Now").focus()
        upload(parts, "first.mp4")
        expect(page.locator("[data-row]")).to_contain_text("first.mp4")
        expect(page.locator("nav .count.alert")).to_be_hidden()
        parts.queue.bury(take(parts), "not_a_video", "broken")
        expect(page.locator("nav .count.alert")).to_have_text("1")
