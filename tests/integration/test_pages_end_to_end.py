"""The pages on the real stack, from an upload to a correction of the past, driven in Chromium.

The tests are the chapters of one story, in this order: each goes on with the state in which the one
before has left the stack.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect
from support.browser import WAIT_MS, check_page, drop
from support.faces_stack import FacesStack, faces_stack
from support.waiting import wait_until

from rollcall.core.names import UNKNOWN
from rollcall.web.user_file import UserFile

OBAMA, BIDEN, GRACE = "president_obama", "president_biden", "Grace Hopper"
FIRST, SECOND, LATE = "term/stranger.mp4", "term/later.mp4", "lectures/late.mp4"
BROKEN = "lectures/broken.mp4"
PASSWORD = "a long password for tests"
WAIT_S = 120.0
"""Enough for a busy test machine. A wait ends as soon as its condition is true."""


@pytest.fixture(scope="module")
def run(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FacesStack]:
    with faces_stack(sample, tmp_path_factory.mktemp("pages")) as running:
        yield running


@pytest.fixture(scope="module")
def signed_url(run: FacesStack) -> Iterator[str]:
    """The URL of other pages of the same stack, where an editor and a viewer can sign in."""
    users = UserFile(run.folder / "users")
    users.put("ada", "editor", PASSWORD)
    users.put("ben", "viewer", PASSWORD)
    with run.more_pages({"WEB_USERS": str(users.path), "AUDIT_VIEWS": "yes"}) as url:
        yield url


@pytest.fixture
def page(page: Page) -> Iterator[Page]:
    """As in `conftest.py`, with time for a busy machine."""
    page.set_default_timeout(1000 * WAIT_S)
    expect.set_options(timeout=1000 * WAIT_S)
    yield page
    expect.set_options(timeout=WAIT_MS)


def row_of(page: Page, key: str) -> Locator:
    return page.locator("[data-row]", has_text=Path(key).name)


def foot(page: Page) -> Locator:
    return page.locator("#foot")


def mark(page: Page) -> None:
    """Mark the open page. A reload would remove the mark."""
    page.evaluate("document.body.dataset.mark = 'kept'")


def expect_no_reload(page: Page) -> None:
    expect(page.locator("body")).to_have_attribute("data-mark", "kept")


def sign_in(page: Page, name: str, password: str) -> None:
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()


def open_until(page: Page, url: str, shown: Locator) -> None:
    """Open a page until it shows something, because the index follows a result a moment later."""

    def is_shown() -> bool:
        page.goto(url)
        return shown.is_visible()

    wait_until(is_shown, f"{shown} at {url}", WAIT_S, poll_s=0.5)


def open_video(page: Page, run: FacesStack, key: str) -> None:
    page.goto(f"{run.url}/videos")
    row_of(page, key).get_by_role("link").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(Path(key).name)


def log_lines(page: Page, url: str) -> Locator:
    page.goto(f"{url}/log")
    return page.locator(".log-line")


def test_a_row_of_the_first_page_changes_without_a_reload(page: Page, run: FacesStack) -> None:
    page.goto(run.url)
    expect(page.get_by_text("No video has arrived yet.")).to_be_visible()
    check_page(page, "now-empty")
    mark(page)
    run.stack.function.stop()  # calls wait until it starts again
    run.upload(FIRST, run.clip("stranger"))
    expect(row_of(page, FIRST)).to_contain_text("running")
    run.stack.function = run.stack.start_function()
    expect(row_of(page, FIRST)).to_contain_text("done")
    expect(row_of(page, FIRST)).to_contain_text("1 unknown")
    expect_no_reload(page)
    run.wait_for_names(FIRST, UNKNOWN)


def test_a_lane_moves_the_player(page: Page, run: FacesStack) -> None:
    run.upload(LATE, run.clip("cat", "lecture_1", "two_people"))
    run.wait_for_names(LATE, OBAMA, BIDEN)
    page.goto(f"{run.url}/?")
    row_of(page, LATE).get_by_role("link").click()
    bar = page.locator(f".lane-bars[aria-label={BIDEN}] [data-start]").first
    start_s = float(bar.get_attribute("data-start") or 0)
    assert start_s > 3
    wait_until(lambda: page.evaluate("player.readyState") >= 1, "the video in the player", WAIT_S)
    bar.press("Enter")
    assert page.evaluate("player.currentTime") == pytest.approx(start_s, abs=0.1)
    wait_until(lambda: not page.evaluate("player.seeking"), "the picture at this time", WAIT_S)
    expect(page.locator(".boxes text", has_text=BIDEN)).to_be_visible()
    pictures = page.locator(".seen .face img")
    expect(pictures).to_have_count(2)
    loaded = "all => all.every((each) => each.naturalWidth > 0)"
    wait_until(lambda: pictures.evaluate_all(loaded), "the pictures of the faces", WAIT_S)
    check_page(page, "video")


def test_naming_an_unknown_person_changes_an_older_video(page: Page, run: FacesStack) -> None:
    run.upload(SECOND, run.clip("cat", "stranger"))
    run.wait_for_names(SECOND, UNKNOWN)
    open_until(page, f"{run.url}/unknown", page.get_by_role("heading", name="2 faces"))
    check_page(page, "unknown")
    open_video(page, run, SECOND)
    mark(page)
    page.locator(".verdict summary").click()
    page.get_by_label("This is").fill(GRACE)
    check_page(page, "video-naming")
    page.get_by_role("button", name="Save the name").click()
    expect(foot(page)).to_contain_text("2 videos changed.")
    expect(page.locator(".lane-name")).to_have_text(GRACE)
    expect_no_reload(page)
    for key in (FIRST, SECOND):
        run.wait_for_names(key, GRACE)
        assert run.is_corrected(key)
    assert GRACE in run.gallery().names
    page.goto(f"{run.url}/videos?person=Grace+Hopper")
    expect(page.locator(".video-row")).to_have_count(2)
    expect(page.locator(".video-row .chip")).to_have_text(["corrected", "corrected"])
    check_page(page, "videos")


def test_undo_restores_both_videos_and_the_gallery(page: Page, run: FacesStack) -> None:
    line = log_lines(page, run.url).first
    expect(line).to_contain_text(f"named 1 face {GRACE}; 2 videos changed")
    line.get_by_role("button", name="Undo").click()
    expect(foot(page)).to_contain_text("Undid a change")
    for key in (FIRST, SECOND):
        run.wait_for_names(key, UNKNOWN)
    assert GRACE not in run.gallery().names
    expect(log_lines(page, run.url).nth(1)).to_contain_text("undone")
    check_page(page, "log")
    open_until(page, f"{run.url}/unknown", page.get_by_role("heading", name="2 faces"))


def test_a_group_is_named_on_the_page_of_unknown_faces(page: Page, run: FacesStack) -> None:
    page.goto(f"{run.url}/unknown")
    page.keyboard.press("n")
    page.keyboard.type(GRACE)
    page.keyboard.press("Enter")
    expect(foot(page)).to_contain_text("2 videos changed.")
    check_page(page, "unknown-none")
    for key in (FIRST, SECOND):
        run.wait_for_names(key, GRACE)
    page.goto(f"{run.url}/people")
    check_page(page, "people")
    page.locator("[data-row]", has_text=GRACE).click()
    expect(page.locator("#appearances .appearance")).to_have_count(2)
    check_page(page, "person")


def test_a_dead_letter_is_tried_again(page: Page, run: FacesStack) -> None:
    run.upload_bytes("lectures/notes.txt", b"not a video")
    run.upload_bytes(BROKEN, b"<!doctype html><html></html>")
    page.goto(run.url)
    expect(page.get_by_text("1 video cannot be decoded.")).to_be_visible()
    expect(row_of(page, BROKEN)).to_contain_text("failed")
    check_page(page, "now-problem")
    skipped = page.get_by_role("heading", name="1 upload is not a video")
    open_until(page, f"{run.url}/problems", skipped)
    check_page(page, "problems")
    page.get_by_role("link", name=BROKEN).click()
    expect(page.get_by_role("heading", name="This video has no result")).to_be_visible()
    check_page(page, "video-failed")

    run.stack.function.stop()
    run.upload(BROKEN, run.clip("lecture_2"))
    page.goto(f"{run.url}/problems")
    page.get_by_role("button", name="Try again").click()
    expect(foot(page)).to_contain_text("Tried again: 1 video cannot be decoded")
    expect(page.get_by_role("heading", name="cannot be decoded")).to_have_count(0)
    run.stack.function = run.stack.start_function()
    run.wait_for_names(BROKEN, OBAMA)
    open_until(page, run.url, page.get_by_text("All is well."))
    expect(row_of(page, BROKEN)).to_contain_text("done")
    page.goto(f"{run.url}/problems")
    page.get_by_role("button", name="Dismiss").click()
    expect(page.get_by_text("No problems.")).to_be_visible()
    expect(log_lines(page, run.url).nth(1)).to_contain_text("tried again")


def test_a_person_is_enrolled_by_drag_and_drop(page: Page, run: FacesStack) -> None:
    page.goto(f"{run.url}/enrol")
    page.get_by_label("Name", exact=True).fill("Joe")
    drop(page, "#enrol-form", {"joe.png": run.photo("lecture_3"), "cat.png": run.photo("cat")})
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page.locator("[data-progress]")).to_have_text("1 of 2 photos added")
    expect(page.locator(".photo-refused")).to_contain_text("cat.png")
    expect(foot(page)).to_contain_text("Enrolled Joe")
    check_page(page, "enrol")
    assert "Joe" in run.gallery().names
    run.upload("term/joe.mp4", run.clip("lecture_3"))
    run.wait_for_names("term/joe.mp4", "Joe")
    expect(log_lines(page, run.url).first).to_contain_text("enrolled Joe")


def test_a_photo_finds_a_person_in_all_videos(page: Page, run: FacesStack) -> None:
    page.goto(f"{run.url}/find")
    drop(page, "#find-form", {"who.png": run.photo("stranger")})
    expect(page.get_by_role("heading", name="2 appearances")).to_be_visible()
    results = page.locator("#results .appearance")
    expect(results.filter(has_text=GRACE)).to_have_count(2)
    check_page(page, "find")
    results.filter(has_text=SECOND).get_by_role("link").first.click()
    expect(page.get_by_role("heading", level=1)).to_have_text(Path(SECOND).name)
    wait_until(
        lambda: page.evaluate("player.currentTime") > 1, "the time of the appearance", WAIT_S
    )


def test_only_people_with_a_password_get_in(page: Page, signed_url: str) -> None:
    page.goto(f"{signed_url}/people")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    sign_in(page, "ada", "the wrong password")
    expect(page.get_by_role("alert")).to_have_text("The name or the password is wrong.")
    check_page(page, "sign-in")
    sign_in(page, "ada", PASSWORD)
    expect(page.get_by_role("heading", name="People")).to_be_visible()
    (cookie,) = page.context.cookies()
    assert (cookie["secure"], cookie["httpOnly"], cookie["sameSite"]) == (True, True, "Lax")
    page.locator("[data-row]", has_text=GRACE).click()
    page.get_by_role("button", name="Forget everywhere").click()
    expect(page.get_by_role("heading", name="What will be removed")).to_be_visible()
    expect(page.get_by_label(f"Type the name {GRACE}")).to_be_visible()
    check_page(page, "forget")
    page.goto(f"{signed_url}/log")
    expect(page.locator(".log-line").first).to_contain_text(f"ada looked at {GRACE}")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    page.goto(f"{signed_url}/videos")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_a_viewer_is_refused(page: Page, signed_url: str) -> None:
    page.goto(f"{signed_url}/videos")
    sign_in(page, "ben", PASSWORD)
    row_of(page, FIRST).get_by_role("link").click()
    expect(page.locator(".seen-row")).to_contain_text(GRACE)
    check_page(page, "video-viewer")
    for path in ("videos/1", "unknown", "problems", "log", "people"):
        page.goto(f"{signed_url}/{path}")
        expect(page.locator("main form[method=post]")).to_have_count(0)
    token = page.locator("meta[name=csrf-token]").get_attribute("content") or ""
    # What the button of an editor would send.
    answer = page.request.post(f"{signed_url}/videos/1/rerun", form={"csrf_token": token})
    assert answer.status == 403
    assert "your role is viewer" in answer.text()
    page.goto(f"{signed_url}/enrol")
    expect(page.get_by_text("your role is viewer")).to_be_visible()
    check_page(page, "error")
