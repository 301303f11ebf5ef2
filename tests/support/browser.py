"""A headless Chromium for tests of the pages, with checks by axe-core and screenshots.

    def test_something(page: Page, url: str) -> None:
        page.goto(url)

The fixture `page` is in `tests/conftest.py`. It fails the test if a page reports an error on its
console, for example because the content security policy blocked something.
"""

from __future__ import annotations

import base64
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from support.needs import need

THEMES = ("light", "dark")
WIDTHS = (360, 1600)
HEIGHT = 900

WAIT_MS = 60_000.0
"""How long `expect` and actions wait. Playwright's 5 s for `expect` are too short for a busy
machine: some parts of the pages ask for news only every two seconds. A test that passes does not
wait longer."""

SERIOUS = ("serious", "critical")
"""Findings of axe-core with this impact fail a test."""

EXPECTED = (
    "Failed to load resource",
    "Response Status Error Code 503",
    "htmx:sendError",
    "htmx:afterRequest",
)
"""Beginnings of messages on the console that are not errors of the pages. The browser reports
answers such as 404, which tests may want; htmx reports that the server or the database of the test
has ended."""

SCREENSHOTS = "ROLLCALL_SCREENSHOTS"
"""Environment variable with a folder. If it is set, `screenshots` writes its pictures there."""


@contextmanager
def open_browser() -> Iterator[Browser]:
    """Start Debian's Chromium. The test is skipped if it is not installed, and fails in CI."""
    program = shutil.which("chromium")
    need(program is not None, "chromium is not installed")
    # Chromium's sandbox does not work for root, and the shared memory of containers is small.
    arguments = ["--disable-dev-shm-usage", "--no-sandbox"] if os.geteuid() == 0 else []
    expect.set_options(timeout=WAIT_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=arguments)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def open_page(browser: Browser, width: int = 1280, height: int = HEIGHT) -> Iterator[Page]:
    """A page with cookies of its own. Raises AssertionError at the end if scripts had errors."""
    context = browser.new_context(
        viewport={"width": width, "height": height}, locale="en-GB", reduced_motion="reduce"
    )
    page = context.new_page()
    page.set_default_timeout(WAIT_MS)
    errors: list[str] = []

    def note(message: ConsoleMessage) -> None:
        if message.type == "error" and not message.text.startswith(EXPECTED):
            errors.append(message.text)

    page.on("console", note)
    page.on("pageerror", lambda error: errors.append(str(error)))
    try:
        yield page
    finally:
        context.close()
    assert not errors, "\n".join(errors)


def findings(page: Page) -> list[str]:
    """What axe-core reports as serious or critical on the open page, in both themes."""
    found = []
    for theme in THEMES:
        page.emulate_media(color_scheme=theme)
        for each in Axe().run(page).response["violations"]:
            if each["impact"] in SERIOUS:
                nodes = "; ".join(node["html"][:200] for node in each["nodes"][:3])
                found.append(f"{theme}: {each['id']}: {each['help']}: {nodes}")
    return found


def overflow_px(page: Page) -> int:
    """How much wider than the window the page is, in pixels."""
    script = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    return int(page.evaluate(script))


def drop(page: Page, selector: str, files: dict[str, bytes]) -> None:
    """Drop files, as a script can. `drop_paths` drops folders, too."""
    bodies = {name: base64.b64encode(data).decode() for name, data in files.items()}
    transfer = page.evaluate_handle(
        """bodies => {
            const transfer = new DataTransfer();
            for (const [name, body] of Object.entries(bodies)) {
                const bytes = Uint8Array.from(atob(body), (each) => each.charCodeAt(0));
                transfer.items.add(new File([bytes], name, { type: "image/png" }));
            }
            return transfer;
        }""",
        bodies,
    )
    page.dispatch_event(selector, "drop", {"dataTransfer": transfer})


def drop_paths(page: Page, selector: str, *paths: Path) -> None:
    """Drop files and folders on the middle of an element, as from a file manager."""
    box = page.locator(selector).bounding_box()
    assert box is not None, f"{selector} is not visible"
    at = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
    data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
    session = page.context.new_cdp_session(page)
    for kind in ("dragEnter", "dragOver", "drop"):
        session.send("Input.dispatchDragEvent", {"type": kind, **at, "data": data})
    session.detach()


def check_page(page: Page, name: str) -> None:
    """Check the open page in both themes and at both widths, and write screenshots if asked to.

    Fails if axe-core reports a serious finding, or if the page is wider than the window.
    """
    folder = os.environ.get(SCREENSHOTS)
    size = page.viewport_size
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": HEIGHT})
        assert findings(page) == [], f"{name} at {width} px"
        assert overflow_px(page) == 0, f"{name} is wider than {width} px"
        if folder:
            screenshots(page, Path(folder), f"{name}-{width}")
    if size:
        page.set_viewport_size(size)


def screenshots(page: Page, folder: Path, name: str) -> None:
    """Write PNG files of the whole page in both themes into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for theme in THEMES:
        page.emulate_media(color_scheme=theme)
        path = folder / f"{name}-{theme}.png"
        # Hiding the caret would leave style attributes, which the content security policy forbids.
        page.screenshot(path=path, full_page=True, caret="initial")
