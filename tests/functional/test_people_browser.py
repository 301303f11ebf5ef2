"""The pages about people in a browser: keys, drag and drop, and how they look."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from playwright.sync_api import Page, expect
from support.browser import check_page, drop, drop_paths
from support.people_index import (
    DAY_S,
    NOW_S,
    RecordedCorrections,
    encoding,
    painted_photo,
    put_unknown,
    put_video,
    save_gallery,
)
from support.web_pages import serve_pages, web_parts

from rollcall.core.encoding_space import DLIB
from rollcall.faces.painted_faces import PaintedFaces
from rollcall.web.parts import WebParts
from rollcall.web.user_file import UserFile


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[WebParts]:
    with web_parts(tmp_path, keep_faces="encodings") as built:
        parts = replace(built, corrections=RecordedCorrections(built.changes))
        for number in range(6):
            people = [("Ada Lovelace", [(12.3, 75), (90, 91)]), ("", [(3, 4)])]
            uploaded_s = NOW_S - number * DAY_S
            video = put_video(
                parts.database, f"term/lecture-{number}.mp4", people, uploaded_s, "encodings"
            )
            noise = np.random.default_rng(number).normal(0, 0.005, 128)
            put_unknown(parts.database, video, {1: encoding(number % 2) + noise}, uploaded_s)
            parts.faces.put(video, DLIB.name, [0], PaintedFaces.encoding("red")[None])
        save_gallery(
            parts,
            {
                "Ada Lovelace": [encoding(5)],
                "Ada Long": [encoding(6, 0.6, towards=5)],
                "Ben Klein": [encoding(7, 0.6, towards=0)],
            },
        )
        yield parts


BEFORE = {"Ada Lovelace", "Ada Long", "Ben Klein"}
"""The people of the gallery."""


def put_file(path: Path, body: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(body)


@pytest.fixture
def url(parts: WebParts) -> Iterator[str]:
    with serve_pages(parts) as served:
        yield served


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/people", "people"),
        ("/people/1", "person"),
        ("/people/by-name/Ben%20Klein", "person-never-seen"),
        ("/people/merge?name=Ada%20Lovelace&into=Ada%20Long", "merge"),
        ("/unknown", "unknown"),
        ("/unknown/1", "unknown-group"),
        ("/find", "find"),
        ("/enrol", "enrol"),
    ],
)
def test_the_page_is_accessible_in_both_themes_and_widths(
    page: Page, url: str, path: str, name: str
) -> None:
    page.goto(url + path)
    check_page(page, name)


def test_days_are_reached_by_arrow_keys(page: Page, url: str) -> None:
    page.goto(f"{url}/people/1")
    days = page.locator("svg.year a")
    expect(days).to_have_count(6)
    days.nth(5).focus()
    page.keyboard.press("ArrowLeft")
    expect(days.nth(4)).to_be_focused()
    expect(days.nth(5)).to_have_attribute("tabindex", "-1")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Videos of 26 November 2025")).to_be_visible()
    expect(page.locator("#appearances .appearance")).to_have_count(1)


def test_names_are_suggested_while_typing(page: Page, url: str) -> None:
    page.goto(f"{url}/people/1")
    page.get_by_text("Merge into somebody else").click()
    page.get_by_label("The same person as").press_sequentially("ada l")
    expect(page.locator("#names option")).to_have_count(2)
    page.get_by_label("The same person as").fill("Ada Long")
    page.get_by_role("button", name="Compare").click()
    expect(page.get_by_role("button", name="Merge Ada Lovelace into Ada Long")).to_be_visible()


def test_an_unknown_group_is_named_by_keys(page: Page, url: str, parts: WebParts) -> None:
    page.goto(f"{url}/unknown")
    groups = page.locator("[data-group]")
    expect(groups).to_have_count(2)
    page.keyboard.press("j")
    page.keyboard.press("j")
    expect(groups.nth(1)).to_be_focused()
    page.keyboard.press("k")
    expect(groups.nth(0)).to_be_focused()
    page.keyboard.press("n")
    page.keyboard.type("Nina jk")
    page.keyboard.press("Enter")
    expect(page.locator("#foot")).to_contain_text("Named 3 faces Nina jk.")
    expect(page.locator("#foot").get_by_role("button", name="Undo")).to_be_visible()
    assert parts.changes.latest(9)[0].name == "Nina jk"


def test_keys_begin_at_the_first_group_and_go_on_after_a_change(
    page: Page, parts: WebParts
) -> None:
    third = put_video(parts.database, "third.mp4", [("", [(3, 4)])], NOW_S, "encodings")
    put_unknown(parts.database, third, {0: encoding(3)}, NOW_S)
    corrections = Mock(wraps=parts.corrections, pending=Mock(return_value=6))
    with serve_pages(replace(parts, corrections=corrections)) as url:
        page.goto(f"{url}/unknown")
        groups = page.locator("[data-group]")
        expect(groups).to_have_count(3)
        page.keyboard.press("n")  # without j before it
        expect(groups.nth(0).get_by_label("Name", exact=True)).to_be_focused()
        page.keyboard.press("Escape")
        page.keyboard.press("j")
        page.keyboard.press("j")
        expect(groups.nth(1)).to_be_focused()
        page.keyboard.press("n")
        page.keyboard.type("Nina")
        last = groups.nth(2).get_attribute("aria-labelledby")
        page.keyboard.press("Enter")
        expect(page.locator("#foot")).to_contain_text("Named")
        expect(groups).to_have_count(2)
        expect(groups.nth(1)).to_be_focused()
        expect(groups.nth(1)).to_have_attribute("aria-labelledby", str(last))
        page.reload()
        expect(page.locator("body")).to_be_focused()
        page.keyboard.press("i")  # only selects, because nobody has chosen this group
        expect(groups.nth(0)).to_be_focused()
        expect(groups).to_have_count(2)
        page.keyboard.press("i")
        expect(page.locator("#foot")).to_contain_text("Ignored")
        expect(groups).to_have_count(1)


def test_a_misspelt_name_is_the_known_one_or_a_new_one(
    page: Page, url: str, parts: WebParts
) -> None:
    for name, button in (("Ben Klien", "This is Ben Klein"), ("Ben Klain", "Add “Ben Klain”")):
        page.goto(f"{url}/unknown")
        group = page.locator("[data-group]").first
        group.get_by_label("Name", exact=True).fill(name)
        page.keyboard.press("Enter")
        expect(group.get_by_role("alert")).to_contain_text("Do you mean “Ben Klein”?")
        expect(group.get_by_label("Name", exact=True)).to_have_value(name)
        expect(group.get_by_label("Name", exact=True)).to_be_focused()
        check_page(page, "unknown-similar-name")
        group.get_by_role("button", name=button).click()
        expect(page.locator("#foot")).to_contain_text("Named 3 faces")
    assert [each.name for each in parts.changes.latest(9)] == ["Ben Klain", "Ben Klein"]


def test_a_rename_to_a_similar_name_is_asked_about(page: Page, url: str, parts: WebParts) -> None:
    def rename() -> None:
        page.goto(f"{url}/people/1")
        page.get_by_text("Rename", exact=True).first.click()
        page.get_by_label("New name").fill("Ben Klien")
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert")).to_contain_text("“Ben Klien” is similar to “Ben Klein”.")
        expect(page.get_by_label("New name")).to_be_focused()

    rename()
    check_page(page, "person-similar-name")
    page.get_by_role("link", name="Compare with Ben Klein").click()
    expect(page.get_by_role("heading", name="Are they one person?")).to_be_visible()
    rename()
    page.get_by_role("button", name="Rename to “Ben Klien”").click()
    expect(page.locator("#foot")).to_contain_text("Renamed Ada Lovelace to Ben Klien")


def test_groups_follow_a_change_by_themselves(page: Page, parts: WebParts) -> None:
    pending = Mock(return_value=6)
    corrections = Mock(wraps=parts.corrections, pending=pending)
    with serve_pages(replace(parts, corrections=corrections)) as url:
        page.goto(f"{url}/unknown")
        groups = page.locator("[data-group]")
        expect(groups).to_have_count(2)
        groups.first.get_by_label("Name", exact=True).fill("Nina")
        page.keyboard.press("Enter")
        expect(groups).to_have_count(1)
        for video in (2, 4, 6):  # the results follow
            put_unknown(parts.database, video, {})
        pending.return_value = 0
        expect(page.locator(".pending")).to_have_count(0)
        expect(groups).to_have_count(1)
        expect(page.locator("#foot")).to_contain_text("Named 3 faces Nina")

        pending.return_value = 6
        page.reload()
        page.get_by_label("Name", exact=True).fill("half a na")
        pending.return_value = 0
        expect(page.get_by_role("link", name="Show the new results")).to_be_visible()
        expect(page.get_by_label("Name", exact=True)).to_have_value("half a na")


def test_a_group_is_added_and_ignored_by_one_key_each(
    page: Page, url: str, parts: WebParts
) -> None:
    page.goto(f"{url}/unknown")
    offer = page.locator("[data-group]", has=page.get_by_text("Ben Klein"))
    offer.focus()
    page.keyboard.press("a")
    expect(page.locator("#foot")).to_contain_text("Named 3 faces Ben Klein.")
    page.wait_for_load_state()  # the scripts that know the keys run after the line is shown
    page.keyboard.press("j")
    page.keyboard.press("i")
    expect(page.locator("#foot")).to_contain_text("Ignored 3 faces.")
    assert [each.action for each in parts.changes.latest(9)] == ["ignore", "is"]


def test_a_face_of_somebody_else_is_left_out(page: Page, url: str, parts: WebParts) -> None:
    page.goto(f"{url}/unknown")
    page.keyboard.press("j")
    page.keyboard.press("o")
    others = page.locator("[data-group]").first.get_by_label("somebody else")
    expect(others).to_have_count(3)
    others.first.check()
    page.locator("[data-group]").first.locator("input[name=name]").fill("Nina")
    page.keyboard.press("Enter")
    expect(page.locator("#foot")).to_contain_text("Named 2 faces Nina.")
    assert [each.action for each in parts.changes.latest(9)] == ["not", "is"]


def test_two_groups_become_one(page: Page, url: str, parts: WebParts) -> None:
    page.goto(f"{url}/unknown")
    same = page.locator("[data-same]")
    expect(same).to_be_disabled()
    for _ in range(2):
        page.keyboard.press("j")
        page.keyboard.press("x")
    same.click()
    expect(page.locator("#foot")).to_contain_text("6 faces showed one person")


def test_what_has_the_keyboard_is_not_behind_the_line_at_the_foot(page: Page, url: str) -> None:
    page.set_viewport_size({"width": 360, "height": 480})
    page.goto(f"{url}/unknown")
    page.locator("[data-group]").first.get_by_label("Name", exact=True).fill("Nina")
    page.keyboard.press("Enter")
    foot = page.locator("#foot")
    expect(foot.get_by_role("button", name="Undo")).to_be_visible()
    page.wait_for_load_state("domcontentloaded")  # the scripts run after the line is shown
    group = page.locator("[data-group]").first
    before = group.locator("a").last
    for part in (group.locator("input[name=name]"), group.locator("[data-ignore]")):
        # At the lower edge of the window, where the line is.
        part.evaluate("each => scrollBy(0, each.getBoundingClientRect().bottom - innerHeight + 80)")
        before.evaluate("each => each.focus({ preventScroll: true })")
        while not part.evaluate("each => each === document.activeElement"):
            page.keyboard.press("Tab")
        box, line = part.bounding_box(), foot.bounding_box()
        assert box
        assert line
        assert box["y"] + box["height"] <= line["y"]
        before = part


def test_a_line_without_undo_goes_away_by_itself(page: Page, url: str) -> None:
    page.clock.install()
    page.goto(f"{url}/unknown")
    page.locator("[data-group]").first.get_by_label("Name", exact=True).fill("Nina")
    page.keyboard.press("Enter")
    foot = page.locator("#foot")
    expect(foot).to_contain_text("Named 3 faces Nina.")
    page.wait_for_load_state()
    page.clock.fast_forward(60_000)
    foot.get_by_role("button", name="Undo").click()
    expect(foot).to_contain_text("Undid")
    page.wait_for_load_state()
    foot.hover()
    page.clock.fast_forward(60_000)
    expect(foot).to_contain_text("Undid")
    page.mouse.move(5, 5)
    page.clock.fast_forward(11_000)
    expect(foot).to_be_empty()


def test_a_dropped_photo_finds_the_person(page: Page, url: str) -> None:
    page.goto(f"{url}/find")
    drop(page, "#find-form", {"me.png": painted_photo("red", "blue")})
    expect(page.get_by_role("heading", name="The photo shows 2 faces")).to_be_visible()
    page.get_by_role("button", name="Face 2").click()
    expect(page.get_by_role("button", name="Face 2")).to_have_attribute("aria-pressed", "true")
    page.get_by_role("button", name="Face 1").click()
    expect(page.get_by_role("button", name="Face 1")).to_have_attribute("aria-pressed", "true")
    found = page.get_by_role("heading", name="6 appearances").or_(
        page.get_by_role("heading", name="Nobody like this")
    )
    expect(found).to_be_visible()
    check_page(page, "find-results")


def test_the_results_of_an_earlier_photo_do_not_stay_below_another_one(
    page: Page, url: str
) -> None:
    page.goto(f"{url}/find")
    drop(page, "#find-form", {"me.png": painted_photo("red")})
    expect(page.get_by_role("heading", name="6 appearances in videos")).to_be_visible()
    page.route("**/find", lambda route: route.abort())
    drop(page, "#find-form", {"other.png": painted_photo("blue")})
    expect(page.locator("#foot")).to_contain_text("does not answer")
    expect(page.locator("#results")).to_be_empty()


def test_long_names_fit_into_the_question_whether_they_are_one_person(
    page: Page, url: str, parts: WebParts
) -> None:
    long = "Dora Márquez-Fernández de la Vega y Castellanos"
    save_gallery(parts, {long: [encoding(8)], "Konstantin" * 6: [encoding(9)]})
    page.goto(f"{url}/people/merge?name={long}&into={'Konstantin' * 6}")
    check_page(page, "merge-long")


def test_a_photo_without_a_face_is_explained(page: Page, url: str) -> None:
    page.goto(f"{url}/find")
    drop(page, "#find-form", {"me.png": painted_photo()})
    expect(page.locator("#results")).to_contain_text("me.png shows no face")


def test_dropped_photos_are_added(page: Page, url: str, parts: WebParts) -> None:
    page.goto(f"{url}/enrol")
    drop(page, "#enrol-form", {"one.png": painted_photo("red"), "none.png": painted_photo()})
    expect(page.locator("[data-chosen]")).to_have_text("2 photos: type the name, then press Add.")
    expect(page.get_by_label("Name")).to_be_focused()
    page.keyboard.type("Rosa")
    page.keyboard.press("Enter")
    expect(page.locator("[data-progress]")).to_have_text("1 of 2 photos added")
    expect(page.locator("#rows tr")).to_have_count(2)
    expect(page.locator("#rows .photo-added")).to_contain_text("one.png")
    expect(page.locator("#rows .photo-refused")).to_contain_text("No face was found")
    expect(page.locator("#foot")).to_contain_text("Enrolled Rosa from 1 photo.")
    check_page(page, "enrol-results")
    assert "Rosa" in parts.known.current().names


def test_the_next_photos_are_not_those_of_the_last_person(page: Page, url: str) -> None:
    page.goto(f"{url}/enrol")
    name = page.get_by_label("Name")
    name.fill("Rosa")
    drop(page, "#enrol-form", {"none.png": painted_photo()})
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page.locator("[data-progress]")).to_have_text("0 of 1 photos added")
    expect(name).to_have_value("Rosa")  # another photo of the same person is needed
    drop(page, "#enrol-form", {"one.png": painted_photo("red")})
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page.locator("[data-progress]")).to_have_text("1 of 1 photos added")
    expect(name).to_have_value("")
    drop(page, "#enrol-form", {"two.png": painted_photo("blue")})
    chosen = page.locator("[data-chosen]")
    expect(chosen).to_have_text("two.png: type the name, then press Add.")
    expect(name).to_be_focused()


def test_a_stray_photo_beside_the_folders_of_people_is_left_out(
    page: Page, url: str, parts: WebParts, tmp_path: Path
) -> None:
    people = tmp_path / "people"
    for name, colour in (("Rosa", "red"), ("Gina", "green")):
        put_file(people / name / "1.png", painted_photo(colour))
    put_file(people / "group.png", painted_photo("blue"))
    page.goto(f"{url}/enrol")
    drop_paths(page, "#enrol-form", people)
    chosen = "Press Add for Gina (1 photo), Rosa (1 photo). “people/group.png” is left out;"
    expect(page.locator("[data-chosen]")).to_contain_text(chosen)
    check_page(page, "enrol-stray")
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page.locator("[data-progress]")).to_have_text("2 of 2 photos added")
    assert parts.known.current().names - BEFORE == {"Rosa", "Gina"}


def test_a_folder_of_folders_is_a_person_each(
    page: Page, url: str, parts: WebParts, tmp_path: Path
) -> None:
    for name, colour in (("Rosa", "red"), ("Gina", "green")):
        folder = tmp_path / "people" / name
        put_file(folder / "1.png", painted_photo(colour))
        put_file(folder / "notes.txt", b"not a picture")
        put_file(folder / "._1.png", b"what macOS leaves on other disks")
    put_file(tmp_path / "people" / ".trash" / "1.png", painted_photo("blue"))
    page.goto(f"{url}/enrol")
    page.get_by_label("Or folders").set_input_files(tmp_path / "people")
    chosen = page.locator("[data-chosen]")
    expect(chosen).to_have_text("Press Add for Gina (1 photo), Rosa (1 photo).")
    assert parts.changes.latest(9) == []  # nothing is sent before that
    check_page(page, "enrol-folders")
    page.get_by_role("button", name="Clear").click()
    expect(chosen).to_be_empty()
    page.get_by_label("Or folders").set_input_files(tmp_path / "people")
    with page.expect_request("**/enrol/finish") as finish:
        page.get_by_role("button", name="Add", exact=True).click()
    # The server reads at most a thousand parts of a form, and there may be two thousand people.
    assert "urlencoded" in finish.value.headers["content-type"]
    expect(page.locator("[data-progress]")).to_have_text("2 of 2 photos added")
    assert {"Rosa", "Gina"} <= parts.known.current().names
    names = {each.name for each in parts.changes.latest(9)}
    assert names == {"Rosa", "Gina"}
    foot = "Enrolled Gina (1 photo), Rosa (1 photo). Each can be undone in the log."
    expect(page.locator("#foot")).to_contain_text(foot)


def test_a_name_that_looks_like_a_known_one_keeps_photos_and_text(
    page: Page, url: str, parts: WebParts
) -> None:
    page.goto(f"{url}/enrol")
    page.get_by_label("Name").fill("BenKlein")
    photos = [{"name": "1.png", "mimeType": "image/png", "buffer": painted_photo("red")}]
    page.get_by_label("Photos").set_input_files(photos)
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("“BenKlein” looks like “Ben Klein”")
    expect(page.get_by_label("Name")).to_have_value("BenKlein")
    expect(page.locator("#enrolled")).to_be_hidden()
    check_page(page, "enrol-refused-name")
    page.get_by_role("button", name="This is Ben Klein").click()
    expect(page.locator("#rows .photo-added")).to_contain_text("Ben Klein")
    expect(page.get_by_role("alert")).to_be_hidden()
    # Only then does the form take more photos.
    expect(page.locator("[data-progress]")).to_have_text("1 of 1 photos added")
    page.get_by_label("Name").fill("ben klein")
    page.get_by_label("Photos").set_input_files(photos)
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page.locator("#rows .photo-known")).to_contain_text("Ben Klein")
    assert parts.known.current().names == BEFORE


def test_a_misspelt_name_keeps_photos_and_text_until_it_is_answered(
    page: Page, url: str, parts: WebParts
) -> None:
    photos = [{"name": "1.png", "mimeType": "image/png", "buffer": painted_photo("red")}]
    page.goto(f"{url}/enrol")
    for name in ("Ben Klien", "Ben Klain"):
        page.get_by_label("Name").fill(name)
        page.get_by_label("Photos").set_input_files(photos)
        page.get_by_role("button", name="Add", exact=True).click()
        expect(page.get_by_role("alert")).to_contain_text(f"“{name}” is not in the gallery yet.")
        expect(page.get_by_label("Name")).to_have_value(name)
        expect(page.get_by_label("Name")).to_be_focused()
    expect(page.locator("[data-chosen]")).to_be_empty()  # nor does it say to press Add
    check_page(page, "enrol-similar-name")
    assert parts.changes.latest(9) == []
    page.get_by_role("button", name="Add “Ben Klain” as a new person").click()
    expect(page.locator("#rows .photo-added")).to_contain_text("Ben Klain")
    expect(page.get_by_role("alert")).to_be_hidden()
    # Only then does the form take more photos.
    expect(page.locator("[data-progress]")).to_have_text("1 of 1 photos added")
    assert parts.known.current().names == {*BEFORE, "Ben Klain"}
    page.get_by_label("Name").fill("Ada Lang")
    page.get_by_label("Photos").set_input_files([{**photos[0], "buffer": painted_photo("blue")}])
    page.get_by_role("button", name="Add", exact=True).click()
    page.get_by_role("button", name="This is Ada Long").click()
    expect(page.locator("#rows .photo-added")).to_contain_text("Ada Long")
    assert parts.known.current().names == {*BEFORE, "Ben Klain"}


def test_the_answers_to_a_question_are_not_behind_the_line_at_the_foot(
    page: Page, url: str
) -> None:
    page.set_viewport_size({"width": 360, "height": 740})
    page.goto(f"{url}/enrol")
    for name, colour in (("Rosa", "red"), ("Ben Klien", "blue")):
        page.get_by_label("Name").fill(name)
        drop(page, "#enrol-form", {"1.png": painted_photo(colour)})
        page.get_by_role("button", name="Add", exact=True).click()
        expect(page.get_by_label("Name")).to_have_value("" if name == "Rosa" else name)
    expect(page.get_by_role("alert")).to_contain_text("Do you mean “Ben Klein”?")
    line = page.locator("#foot").bounding_box()
    answer = page.get_by_role("button", name="Add “Ben Klien” as a new person").bounding_box()
    assert line
    assert answer
    assert answer["y"] + answer["height"] <= line["y"]
    expect(page.get_by_label("Name")).to_be_in_viewport(ratio=1)


def test_a_folder_with_a_misspelt_name_is_added_with_a_hint(
    page: Page, url: str, parts: WebParts, tmp_path: Path
) -> None:
    put_file(tmp_path / "people" / "Ben Klien" / "1.png", painted_photo("red"))
    page.goto(f"{url}/enrol")
    page.get_by_label("Or folders").set_input_files(tmp_path / "people")
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page.locator("#rows .photo-added")).to_contain_text("similar to Ben Klein")
    assert parts.known.current().names == {*BEFORE, "Ben Klien"}


def test_a_dropped_folder_of_folders_is_a_person_each(
    page: Page, url: str, parts: WebParts, tmp_path: Path
) -> None:
    people = tmp_path / "people"
    for name, colour in (("Rosa", "red"), ("Gina", "green")):
        put_file(people / name / "1.png", painted_photo(colour))
        put_file(people / name / "notes.txt", b"not a picture")
        put_file(people / name / "._1.png", b"what macOS leaves on other disks")
    put_file(people / ".trash" / "1.png", painted_photo("blue"))
    page.goto(f"{url}/enrol")
    drop_paths(page, "#enrol-form", people)
    expect(page.get_by_role("button", name="Add", exact=True)).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("[data-progress]")).to_have_text("2 of 2 photos added")
    assert {"Rosa", "Gina"} == parts.known.current().names - BEFORE


def test_dropped_folders_and_photos_are_told_apart(
    page: Page, url: str, parts: WebParts, tmp_path: Path
) -> None:
    put_file(tmp_path / "Rosa" / "1.png", painted_photo("red"))
    put_file(tmp_path / "loose.png", painted_photo("blue"))
    page.goto(f"{url}/enrol")
    drop_paths(page, "#enrol-form", tmp_path / "Rosa", tmp_path / "loose.png")
    chosen = page.locator("[data-chosen]")
    name = "loose.png: type the name, then press Add."
    expect(chosen).to_have_text(f"Press Add for Rosa (1 photo). {name}")
    page.keyboard.type("Bo")
    page.keyboard.press("Enter")
    expect(page.locator("[data-progress]")).to_have_text("2 of 2 photos added")
    assert parts.known.current().names - BEFORE == {"Rosa", "Bo"}


def test_no_folder_within_the_folder_of_a_person_becomes_a_person(
    page: Page, url: str, parts: WebParts, tmp_path: Path
) -> None:
    put_file(tmp_path / "people" / "Rosa" / "1.png", painted_photo("red"))
    put_file(tmp_path / "people" / "Rosa" / "2020" / "1.png", painted_photo("red"))
    put_file(tmp_path / "Gina" / "1.png", painted_photo("green"))
    put_file(tmp_path / "Gina" / "old" / "1.png", painted_photo("green"))
    page.goto(f"{url}/enrol")
    drop_paths(page, "#enrol-form", tmp_path / "people", tmp_path / "Gina")
    chosen = page.locator("[data-chosen]")
    expect(chosen).to_contain_text("Press Add for Rosa (1 photo). “Gina” is left out")
    expect(chosen).to_contain_text("1 photo is left out")
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page.locator("[data-progress]")).to_have_text("1 of 1 photos added")
    assert parts.known.current().names - BEFORE == {"Rosa"}


def test_a_drop_with_too_many_photos_is_refused_as_a_whole(
    page: Page, url: str, parts: WebParts, tmp_path: Path
) -> None:
    for number in range(2001):
        put_file(tmp_path / "Rosa" / f"{number}.png", b"")
    page.goto(f"{url}/enrol")
    drop_paths(page, "#enrol-form", tmp_path / "Rosa")
    expect(page.locator("[data-chosen]")).to_contain_text("nothing was added")
    expect(page.locator("#rows tr")).to_have_count(0)


def test_photos_can_be_added_after_the_server_did_not_answer(
    page: Page, url: str, parts: WebParts
) -> None:
    page.goto(f"{url}/enrol")
    page.get_by_label("Name").fill("Rosa")
    page.route("**/enrol/finish", lambda route: route.abort())
    drop(page, "#enrol-form", {"one.png": painted_photo("red")})
    expect(page.locator("[data-chosen]")).to_have_text("Press Add for Rosa (1 photo).")
    page.keyboard.press("Enter")
    expect(page.locator("[data-progress]")).to_have_text("1 of 1 photos added")
    page.get_by_label("Name").fill("Rosa")
    drop(page, "#enrol-form", {"two.png": painted_photo()})
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page.locator("[data-progress]")).to_have_text("0 of 1 photos added")


def test_somebody_who_is_signed_out_learns_why_photos_are_not_added(
    page: Page, parts: WebParts, tmp_path: Path
) -> None:
    users = UserFile(tmp_path / "users")
    users.put("ada", "editor", "three quiet words")
    settings = replace(parts.settings, web_users=str(users.path))
    with serve_pages(replace(parts, settings=settings)) as url:
        page.goto(f"{url}/enrol")
        page.get_by_label("Name").fill("ada")
        page.get_by_label("Password").fill("three quiet words")
        page.keyboard.press("Enter")
        page.get_by_role("heading", name="Add people").wait_for()
        page.wait_for_load_state("domcontentloaded")  # the script that asks for names runs last
        page.context.clear_cookies()
        with page.expect_response("**/people/names*") as names:
            page.get_by_label("Name").press_sequentially("Ros")
        assert names.value.status == 401
        drop(page, "#enrol-form", {"one.png": painted_photo("red")})
        page.get_by_role("button", name="Add", exact=True).click()
        expect(page.locator("#rows")).to_contain_text("You are signed out.")


def test_a_person_is_forgotten(page: Page, url: str, parts: WebParts) -> None:
    page.goto(f"{url}/people/by-name/Ben%20Klein")
    page.get_by_role("button", name="Forget everywhere").click()
    expect(page.get_by_text("1 entry of the gallery")).to_be_visible()
    check_page(page, "forget")
    page.get_by_label("Type the name Ben Klein").fill("Ben Kline")
    page.get_by_role("button", name="Forget everywhere").click()
    typed = page.get_by_label("Type the name Ben Klein")
    expect(typed).to_have_value("Ben Kline")
    expect(typed).to_be_focused()
    expect(page.get_by_role("alert")).to_contain_text("so nothing was removed. Type Ben Klein.")
    check_page(page, "forget-wrong-name")
    typed.fill("Ben Klein")
    page.get_by_role("button", name="Forget everywhere").click()
    expect(page.get_by_role("heading", name="The person is forgotten")).to_be_visible()
    assert "Ben Klein" not in parts.known.current().names
