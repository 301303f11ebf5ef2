"""The page of a video in a browser, which plays the video from a store."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route, expect
from support.browser import check_page
from support.databases import open_file
from support.index_samples import indexed, samples
from support.lecture import KEY, clip, put_lecture
from support.people_index import RecordedCorrections, encoding, save_gallery
from support.settings import embedded_settings
from support.waiting import wait_until
from support.web_pages import make_parts, serve_pages

from rollcall.core.protocols import ObjectStore
from rollcall.stores.boto import s3_client
from rollcall.stores.s3 import S3Store
from rollcall.web.parts import WebParts

BAR = "[data-lane='{}'] [data-start]"


@dataclass(frozen=True)
class Served:
    """The pages, with a lecture in the store."""

    url: str
    parts: WebParts
    video_id: int

    @property
    def page_url(self) -> str:
        return f"{self.url}/videos/{self.video_id}"

    @property
    def store(self) -> ObjectStore:
        return self.parts.store

    @property
    def bucket(self) -> str:
        return self.parts.settings.input_bucket


@pytest.fixture(scope="module")
def lecture_clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture
def served(moto_url: str, lecture_clip: bytes, tmp_path: Path) -> Iterator[Served]:
    suffix = uuid.uuid4().hex[:12]
    settings = embedded_settings(
        moto_url,
        INPUT_BUCKET=f"in-{suffix}",
        OUTPUT_BUCKET=f"out-{suffix}",
        REPORT_BUCKET=f"reports-{suffix}",
    )
    store = S3Store(s3_client(settings))
    for bucket in (settings.input_bucket, settings.output_bucket, settings.report_bucket):
        store.create_bucket(bucket)
    with closing(open_file(tmp_path / "index.sqlite3")) as database:
        parts = make_parts(database, tmp_path, store=store, settings=settings)
        parts = replace(parts, corrections=RecordedCorrections(parts.changes))
        parts.index.put([put_lecture(store, settings, lecture_clip)])
        video_id = parts.index.id_of(settings.input_bucket, KEY)
        assert video_id
        with serve_pages(parts) as url:
            yield Served(url, parts, video_id)


def open_lecture(page: Page, served: Served) -> None:
    page.goto(served.page_url)
    until(page, "document.getElementById('player').readyState >= 1")


def until(page: Page, condition: str) -> None:
    """Wait for a condition in JavaScript. Playwright's own function needs a weaker policy."""
    wait_until(lambda: page.evaluate(condition), condition, 60.0)


def time_s(page: Page) -> float:
    return float(page.evaluate("document.getElementById('player').currentTime"))


def is_at(page: Page, seconds: float) -> bool:
    return abs(time_s(page) - seconds) < 0.01


def names_in_picture(page: Page) -> list[str]:
    return page.locator(".boxes text").all_text_contents()


def test_the_page_is_accessible_in_both_themes_and_widths(page: Page, served: Served) -> None:
    open_lecture(page, served)
    page.locator(BAR.format(1)).first.press("Enter")
    page.locator(".verdict summary").first.click()
    page.get_by_text("People and times as a table").click()
    check_page(page, "video")


def test_a_bar_moves_the_player_and_shows_who_is_in_the_picture(page: Page, served: Served) -> None:
    open_lecture(page, served)
    assert page.evaluate("document.getElementById('player').videoWidth") == 320
    page.get_by_role("button", name="Ben Bitdiddle, 16:50 to 22:10, likely").press("Enter")
    assert is_at(page, 1010)
    until(page, "!document.getElementById('player').seeking")
    expect(page.locator(".boxes text")).to_have_count(2)
    assert sorted(names_in_picture(page)) == ["Ben Bitdiddle", "too small"]
    box = page.locator(".boxes rect.unjudged")
    assert [box.get_attribute(name) for name in ("x", "y", "width", "height")] == [
        *("280", "150", "20", "20")
    ]
    line = page.locator(".playhead").evaluate("line => parseFloat(line.style.left)")
    assert line == pytest.approx(100 * 1010 / 3120, abs=0.1)
    page.evaluate("document.getElementById('player').currentTime = 1700")
    expect(page.locator(".boxes text")).to_have_count(0)


def test_labels_of_faces_that_are_close_are_not_on_one_another(page: Page, served: Served) -> None:
    faces = [[5, 60 + 25 * place, 60 + 3 * place, 20, 20, place, ""] for place in range(3)]
    labels = {place: f"Person {place}" for place in range(3)}
    answer = {"faces": faces, "labels": labels, "gone": False, "problem": "", "note": ""}
    page.route("**/boxes.json*", lambda route: route.fulfill(json=answer))
    open_lecture(page, served)
    page.evaluate("document.getElementById('player').currentTime = 5")
    expect(page.locator(".boxes text")).to_have_count(3)
    boxes = [each.bounding_box() for each in page.locator(".boxes text").all()]
    for one, other in combinations(filter(None, boxes), 2):
        is_beside = abs(one["x"] - other["x"]) >= min(one["width"], other["width"])
        assert is_beside or abs(one["y"] - other["y"]) >= 0.7 * one["height"]


def test_a_click_on_a_lane_goes_to_the_time_or_to_the_nearest_appearance(
    page: Page, served: Served
) -> None:
    open_lecture(page, served)
    lane = page.locator("[data-lane='0'] .lane-bars")
    width = lane.bounding_box()["width"]  # type: ignore[index]
    lane.click(position={"x": width / 4, "y": 14})
    assert time_s(page) == pytest.approx(780, abs=5)
    page.locator("[data-lane='4'] .lane-bars").click(position={"x": width / 2, "y": 14})
    assert is_at(page, 120)
    page.get_by_role("button", name="Fatima: jump to 43:20").click()
    assert is_at(page, 2600)


def test_keys_move_between_appearances_and_play(page: Page, served: Served) -> None:
    open_lecture(page, served)
    page.locator("h1").click()
    for expected in (60, 120, 200):  # Chen, Emil, an unknown person
        page.keyboard.press("ArrowRight")
        assert is_at(page, expected)
    page.keyboard.press("ArrowLeft")
    assert is_at(page, 120)
    page.locator(BAR.format(1)).first.focus()
    for key, expected in (
        ("ArrowRight", 2500),
        ("ArrowRight", 2500),
        ("Home", 1010),
        ("ArrowDown", 960),  # Chen
        ("ArrowUp", 1010),
        ("ArrowUp", 0),  # Ada, who is there all the time
    ):
        page.keyboard.press(key)
        assert is_at(page, expected), key
    assert page.evaluate("document.activeElement.id") == "bar-0-0"
    page.keyboard.press(" ")
    until(page, "!document.getElementById('player').paused")
    page.keyboard.press(" ")
    until(page, "document.getElementById('player').paused")


def test_each_lane_is_one_stop_of_the_tab_key(page: Page, served: Served) -> None:
    open_lecture(page, served)
    page.locator(BAR.format(2)).nth(3).click()
    stops = page.locator(BAR.format(2)).evaluate_all(
        "bars => bars.map(bar => bar.getAttribute('tabindex'))"
    )
    assert [place for place, stop in enumerate(stops) if stop == "0"] == [3]


def test_the_face_at_the_pointer_is_shown(page: Page, served: Served) -> None:
    open_lecture(page, served)
    page.locator(BAR.format(0)).first.hover()
    picture = page.locator("img.peek")
    expect(picture).to_be_visible()
    assert "/faces/0.jpg?t=" in str(picture.get_attribute("src"))
    until(page, "document.querySelector('img.peek').naturalWidth === 96")
    page.locator("h1").hover()
    expect(picture).to_be_hidden()


def test_a_verdict_is_confirmed_without_moving_the_player(page: Page, served: Served) -> None:
    open_lecture(page, served)
    page.locator(BAR.format(1)).first.press("Enter")
    row = page.locator(".seen-row", has_text="Ben Bitdiddle")
    row.get_by_text("Is someone else").click()
    row.get_by_label("This is").fill("Grace")
    row.get_by_role("button", name="Save the name").click()
    expect(page.locator("#foot")).to_contain_text("Named 1 face Grace.")
    expect(page.locator("#foot")).to_contain_text("Undo")
    assert is_at(page, 1010)
    assert served.parts.changes.latest(1)[0].action == "is"
    page.locator(".seen-row", has_text="unknown 1").get_by_text("Name", exact=True).click()
    page.get_by_role("button", name="Ignore").click()
    expect(page.locator("#foot")).to_contain_text("Ignored 1 face.")


def test_a_late_answer_does_not_bring_earlier_names_back(page: Page, served: Served) -> None:
    held: list[Route] = []
    page.route("**/boxes.json*", lambda route: held.append(route))
    open_lecture(page, served)
    page.locator(BAR.format(1)).first.press("Enter")
    wait_until(lambda: page.evaluate("true") and len(held) == 1, "the first request")
    row = page.locator(".seen-row", has_text="Ben Bitdiddle")
    row.get_by_text("Is someone else").click()
    row.get_by_label("This is").fill("Grace")
    row.get_by_role("button", name="Save the name").click()
    wait_until(lambda: page.evaluate("true") and len(held) == 2, "the second request")
    answer = held[1].fetch()
    held[1].fulfill(response=answer)
    expect(page.locator(".boxes text", has_text="Ben Bitdiddle")).to_have_count(1)
    earlier = {**answer.json(), "labels": dict.fromkeys(range(9), "Earlier")}
    with page.expect_response("**/boxes.json*"):
        held[0].fulfill(json=earlier)
    page.evaluate("new Promise((done) => setTimeout(done, 200))")
    assert sorted(names_in_picture(page)) == ["Ben Bitdiddle", "too small"]


def test_a_name_is_typed_at_once_and_kept_if_it_is_refused(page: Page, served: Served) -> None:
    open_lecture(page, served)
    row = page.locator(".seen-row", has_text="Ben Bitdiddle")
    row.get_by_text("Is someone else").click()
    expect(row.get_by_label("This is")).to_be_focused()
    page.keyboard.type("unknown")
    page.keyboard.press("Enter")
    expect(row.get_by_role("alert")).to_contain_text("stands for everyone else")
    expect(row.get_by_label("This is")).to_have_value("unknown")
    expect(row.get_by_label("This is")).to_be_focused()
    check_page(page, "video-refused-name")
    expect(page.locator("#foot")).to_be_empty()


@pytest.mark.parametrize("size", [(1280, 800), (360, 740)])
def test_a_form_is_seen_with_its_buttons_when_it_opens_and_when_it_is_refused(
    page: Page, served: Served, size: tuple[int, int]
) -> None:
    page.set_viewport_size({"width": size[0], "height": size[1]})
    open_lecture(page, served)
    for who, opener in (("unknown 1", "Name"), ("Ben Bitdiddle", "Is someone else")):
        row = page.locator(".seen-row", has_text=who)
        row.get_by_text(opener, exact=True).click()
        expect(row.get_by_label("This is")).to_be_focused()
        expect(row.locator("form")).to_be_in_viewport(ratio=1)
    page.keyboard.type("unknown")
    page.keyboard.press("Enter")
    expect(row.get_by_role("alert")).to_contain_text("stands for everyone else")
    expect(row.locator("form")).to_be_in_viewport(ratio=1)


def test_a_misspelt_name_is_asked_about_and_answered_by_keys(page: Page, served: Served) -> None:
    save_gallery(served.parts, {"Vin Diesel": [encoding(1)]})
    open_lecture(page, served)
    row = page.locator(".seen-row", has_text="Ben Bitdiddle")
    row.get_by_text("Is someone else").click()
    expect(row.get_by_label("This is")).to_be_focused()
    for _ in range(2):  # Enter alone answers nothing
        page.keyboard.type("Vin Diesl")
        page.keyboard.press("Enter")
        expect(row.get_by_role("alert")).to_contain_text("Do you mean “Vin Diesel”?")
        expect(row.get_by_label("This is")).to_have_value("Vin Diesl")
        expect(row.get_by_label("This is")).to_be_focused()
        row.get_by_label("This is").select_text()
    new = row.get_by_role("button", name="Add “Vin Diesl” as a new person")
    expect(new).to_be_in_viewport(ratio=1)
    check_page(page, "video-similar-name")
    assert served.parts.changes.latest(1) == []
    for _ in range(3):
        page.keyboard.press("Tab")
    expect(new).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#foot")).to_contain_text("Named 1 face Vin Diesl.")


def test_the_page_follows_the_work_without_a_reload(page: Page, served: Served) -> None:
    open_lecture(page, served)
    page.evaluate("window.stays = true")
    page.get_by_role("button", name="Recognise again").click()
    expect(page.locator(".busy")).to_contain_text("waits to be recognised again")
    page.evaluate("window.stays = true")
    (work,) = served.parts.queue.claim(1, 60)
    expect(page.locator(".busy")).to_contain_text("is being recognised")
    video = served.parts.index.get(served.video_id)
    assert video
    served.parts.index.put([replace(video, people=video.people[:1], finished_s=2e9)])
    served.parts.queue.finish(work, "recognised")
    expect(page.locator(".busy")).to_have_count(0)
    expect(page.locator(".lane")).to_have_count(1)
    assert page.evaluate("window.stays") is True


def test_a_replaced_and_a_deleted_video_are_explained(page: Page, served: Served) -> None:
    served.store.write(served.bucket, KEY, b"no video", "video/mp4", {})
    page.goto(served.page_url)
    expect(page.locator("[data-note]")).to_contain_text("has been replaced since")
    expect(page.locator("[data-unplayable]")).to_contain_text("This browser cannot play")
    served.store.delete(served.bucket, KEY)
    page.reload()
    expect(page.locator("[data-note]")).to_contain_text("has been deleted since")
    expect(page.locator(".screen")).to_be_hidden()
    expect(page.get_by_text("Download the video")).to_be_hidden()
    page.locator(BAR.format(1)).first.press("Enter")
    line = page.locator(".playhead").evaluate("line => parseFloat(line.style.left)")
    assert line == pytest.approx(100 * 1010 / 3120, abs=0.1)


def test_names_are_suggested_for_what_is_typed_now(page: Page, served: Served) -> None:
    held: dict[str, Route] = {}
    page.route(
        "**/people/names?name=**", lambda route: held.update({route.request.url[-2:]: route})
    )
    page.goto(f"{served.url}/videos")
    field = page.get_by_label("Person", exact=True)
    for letter, end in (("A", "=A"), ("d", "Ad")):
        field.press_sequentially(letter)
        wait_until(lambda end=end: page.evaluate("true") and end in held, end)  # type: ignore[misc]
    held["Ad"].fulfill(body='<option value="Ada">')
    names = page.locator("#names option")
    expect(names).to_have_count(1)
    held["=A"].fulfill(body='<option value="Ada"><option value="Late">')
    page.evaluate("new Promise((done) => setTimeout(done, 200))")
    assert names.count() == 1


def test_an_error_before_the_script_is_explained(page: Page, served: Served) -> None:
    served.store.write(served.bucket, KEY, b"no video", "video/mp4", {})
    page.route("**/video.js", lambda route: (time.sleep(2), route.continue_()))
    page.goto(served.page_url)
    expect(page.locator("[data-unplayable]")).to_be_visible()
    expect(page.locator(".screen")).to_be_hidden()


def test_the_list_announces_new_videos_and_opens_one_by_keys(page: Page, served: Served) -> None:
    served.parts.index.put(samples())
    page.goto(f"{served.url}/videos")
    check_page(page, "videos")
    rows = page.locator(".video-row")
    expect(rows).to_have_count(7)
    served.parts.index.put([indexed("new.mp4", uploaded_s=2e9)])
    news = page.locator("a.news")
    expect(news).to_have_text("1 new video")
    expect(rows).to_have_count(7)
    news.click()
    expect(rows).to_have_count(8)
    page.wait_for_load_state("domcontentloaded")  # the scripts that know the keys run last
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text("broken.mp4")
    page.wait_for_load_state("domcontentloaded")
    page.keyboard.press("Escape")
    expect(page.locator("h1")).to_have_text("Videos")
