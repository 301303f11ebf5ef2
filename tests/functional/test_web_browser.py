"""The frame of the pages in a browser: themes, widths, keys, times and lists that update."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask, render_template_string
from markupsafe import Markup
from playwright.sync_api import Page, Response, expect
from support.browser import check_page, overflow_px
from support.index_samples import samples
from support.waiting import wait_until
from support.web_pages import serve_pages, web_parts

from rollcall.core.settings import Settings
from rollcall.web.foot import show_change
from rollcall.web.polling import polled
from rollcall.web.user_file import UserFile
from rollcall.web.web_app import create_app

LIST = """
{% extends "base.html" %}
{% from "macros.html" import certainty, command, csrf, face with context %}
{% block title %}List{% endblock %}
{% block main %}
<h1>List</h1>
<p>{{ 0|when }}</p>
<p class="row">{{ face(none, 0, "Ada") }}{{ certainty("likely", 0.43) }}</p>
{{ command("make it") }}
<form method="post" action="/save">{{ csrf() }}<button class="button">Save</button></form>
<div class="live" data-live="row|rows" hx-get="/rows" hx-trigger="every 1s" id="list">
{{ part }}
</div>
{% endblock %}
"""
ROWS = """
<ul class="rows">
{% for name, text in rows.items() if text %}
<li data-row id="row-{{ name }}">
{%- if name == "plain" %}{{ text }}{% else %}<a href="/{{ name }}">{{ text }}</a>{% endif -%}
</li>
{% endfor %}
</ul>
"""


@pytest.fixture
def rows() -> dict[str, str]:
    """The text of each row of the list. A row without a text is not shown yet."""
    return {"new": "", "one": "one: waiting", "two": "two: waiting"}


@pytest.fixture
def url(tmp_path: Path, rows: dict[str, str]) -> Iterator[str]:
    with web_parts(tmp_path) as parts:
        app: Flask = create_app(parts)

        @app.get("/list")
        def show() -> str:
            return render_template_string(LIST, part=_part(dict(rows)))

        @app.get("/rows")
        def part():
            if "broken" in rows:
                return "<main><p>The database is asleep.</p></main>", 503
            return polled(_part(dict(rows)))

        @app.post("/save")
        def save():
            show_change(parts.changes.record("ada", "enrol", "Ben", undo={"x": 1}))
            return show()

        with serve_pages(parts, app) as served:
            yield served


def _part(rows: dict[str, str]) -> Markup:
    return Markup(render_template_string(ROWS, rows=rows))


def test_the_frame_is_accessible_in_both_themes_and_widths(page: Page, url: str) -> None:
    page.goto(f"{url}/list")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#foot")).to_contain_text("Enrolled Ben.")
    check_page(page, "frame")


@pytest.mark.parametrize("width", [320, 719, 720, 1024])
def test_the_navigation_fits_into_one_line(page: Page, url: str, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(f"{url}/list")
    assert overflow_px(page) == 0
    heights = [
        link.bounding_box()["height"]  # type: ignore[index]
        for link in page.locator(".brand, nav[aria-label=Pages] a span:first-of-type").all()
    ]
    assert len(heights) == 7
    assert max(heights) < 30


def test_an_error_page_is_accessible(page: Page, url: str) -> None:
    page.goto(f"{url}/nothing")
    expect(page.get_by_role("heading")).to_have_text("Page not found")
    check_page(page, "error")


def test_rows_change_in_place_and_new_ones_wait_while_the_pointer_is_there(
    page: Page, url: str, rows: dict[str, str]
) -> None:
    page.goto(f"{url}/list")
    page.locator("#row-one").hover()
    first = page.locator("#row-one").bounding_box()
    rows |= {"new": "new: waiting", "one": "one: done"}
    expect(page.locator("#row-one")).to_contain_text("one: done")
    news = page.get_by_role("button", name="1 new row")
    expect(news).to_be_visible()
    assert page.locator("#row-new").count() == 0
    assert page.locator("#row-one").bounding_box() == first
    news.click()
    expect(page.locator("#list li").first).to_contain_text("new: waiting")
    expect(news).to_have_count(0)


def test_new_rows_appear_at_once_if_the_pointer_is_elsewhere(
    page: Page, url: str, rows: dict[str, str]
) -> None:
    page.goto(f"{url}/list")
    page.get_by_role("heading", name="List").hover()
    rows["new"] = "new: waiting"
    expect(page.locator("#row-new")).to_be_visible()
    expect(page.locator("#announcement")).to_have_text("1 new row")


def test_an_unchanged_part_is_answered_304(page: Page, url: str) -> None:
    answers: list[int] = []

    def note(answer: Response) -> None:
        if answer.url.endswith("/rows"):
            answers.append(answer.status)

    page.on("response", note)  # the list may ask before `goto` returns
    page.goto(f"{url}/list")
    wait_until(lambda: page.evaluate("true") and len(answers) >= 2, "two answers about the list")
    assert answers[:2] == [200, 304]
    expect(page.locator("#row-two")).to_be_visible()


def test_a_page_says_that_the_server_does_not_answer(page: Page, tmp_path: Path) -> None:
    with web_parts(tmp_path) as parts:
        with serve_pages(parts) as url:
            page.goto(url)
            expect(page.get_by_text("All is well.")).to_be_visible()
        expect(page.locator("#foot")).to_contain_text("The server does not answer.")
        expect(page.get_by_text("All is well.")).to_be_visible()


def test_the_line_about_an_outage_ends_with_the_outage(
    page: Page, url: str, rows: dict[str, str]
) -> None:
    page.goto(f"{url}/list")
    rows["broken"] = ""
    expect(page.locator("#foot")).to_contain_text("The database is asleep.")
    del rows["broken"]
    expect(page.locator("#foot")).to_be_empty()


def test_a_page_says_why_it_is_not_updated(page: Page, tmp_path: Path) -> None:
    with web_parts(tmp_path) as parts, serve_pages(parts) as url:
        page.goto(url)
        parts.database.close()
        expect(page.locator("#foot")).to_contain_text("is closed")


def test_keys_move_search_and_list_themselves(page: Page, url: str) -> None:
    page.goto(f"{url}/list")
    page.keyboard.press("j")
    page.keyboard.press("j")
    expect(page.locator("#row-two a")).to_be_focused()
    page.keyboard.press("k")
    expect(page.locator("#row-one a")).to_be_focused()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    page.keyboard.press("/")
    expect(page.get_by_role("searchbox")).to_be_focused()
    page.keyboard.type("j?")
    expect(page.get_by_role("searchbox")).to_have_value("j?")
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{url}/one")


def test_keys_pass_rows_that_cannot_be_opened(page: Page, url: str, rows: dict[str, str]) -> None:
    rows |= {"plain": "a row without a link", "three": "three: done"}
    page.goto(f"{url}/list")
    for _ in range(3):
        page.keyboard.press("j")
    expect(page.locator("#row-three a")).to_be_focused()
    page.keyboard.press("k")
    expect(page.locator("#row-two a")).to_be_focused()


def test_keys_do_nothing_where_there_is_nothing(page: Page, tmp_path: Path) -> None:
    users = UserFile(tmp_path / "users")
    users.put("ada", "editor", "three quiet words")
    settings = Settings(web_users=str(users.path))
    with web_parts(tmp_path, settings=settings) as parts, serve_pages(parts) as served:
        page.goto(served)
        page.locator("#main").focus()
        page.keyboard.press("/")
        page.keyboard.press("j")
        check_page(page, "sign-in")


def test_a_row_with_the_focus_changes_when_the_focus_has_left(
    page: Page, url: str, rows: dict[str, str]
) -> None:
    page.goto(f"{url}/list")
    page.locator("#row-one a").focus()
    rows["one"] = "one: done"
    rows["two"] = "two: running"
    expect(page.locator("#row-two")).to_contain_text("two: running")
    expect(page.locator("#row-one")).to_contain_text("one: waiting")
    page.locator("#main").focus()
    expect(page.locator("#row-one")).to_contain_text("one: done")


def test_text_that_is_selected_stays_selected(page: Page, url: str, rows: dict[str, str]) -> None:
    page.goto(f"{url}/list")
    page.evaluate("getSelection().selectAllChildren(document.getElementById('row-two'))")
    rows["one"] = "one: done"
    expect(page.locator("#row-one")).to_contain_text("one: done")
    assert page.evaluate("getSelection().toString()") == "two: waiting"


def test_times_are_written_in_the_language_of_the_browser(page: Page, url: str) -> None:
    page.goto(f"{url}/list")
    expect(page.locator("time").first).to_contain_text("1 Jan 1970")


def test_the_skip_link_is_the_first_stop(page: Page, url: str) -> None:
    page.goto(f"{url}/list")
    page.keyboard.press("Tab")
    expect(page.get_by_text("Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()


def test_the_foot_line_can_be_closed(page: Page, url: str) -> None:
    page.goto(f"{url}/list")
    page.get_by_role("button", name="Save").click()
    page.get_by_role("button", name="Close this line").click()
    expect(page.locator("#foot")).to_be_empty()


def test_a_command_can_be_copied(page: Page, url: str) -> None:
    page.goto(f"{url}/list")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    button = page.get_by_role("button", name="Copy").element_handle()
    # After three seconds the button says "Copy" again, which a busy machine may do first.
    page.evaluate(
        """button => {
            window.said = [];
            const note = () => window.said.push(button.textContent);
            new MutationObserver(note).observe(button, { childList: true });
        }""",
        button,
    )
    button.click()
    wait_until(lambda: page.evaluate("window.said.includes('Copied')"), "the word on the button")
    assert page.evaluate("navigator.clipboard.readText()") == "make it"


def test_the_search_box_of_every_page_finds_videos(page: Page, tmp_path: Path) -> None:
    with web_parts(tmp_path) as parts, serve_pages(parts) as served:
        parts.index.put(samples())
        page.goto(f"{served}/log")
        page.keyboard.press("/")
        page.keyboard.type("bitdiddle")
        page.keyboard.press("Enter")
        expect(page).to_have_url(f"{served}/videos?q=bitdiddle")
        expect(page.locator(".video-row")).to_have_count(2)
        expect(page.get_by_label("Search videos and people")).to_have_value("bitdiddle")
