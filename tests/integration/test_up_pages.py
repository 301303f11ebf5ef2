"""`rollcall up` starts the pages, which show a video while it is uploaded and recognised."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from support.databases import open_file
from support.needs import REPOSITORY
from support.videos import paint_video

from devstack.openfaas_stack import DATABASE_FILE
from rollcall.core.gallery import empty_gallery
from rollcall.core.types import VideoRef
from rollcall.gallery.gallery_formats import render_gallery
from rollcall.queues.sql_queue import SqlQueue


@pytest.fixture
def said(tmp_path: Path) -> Iterator[list[str]]:
    """What `rollcall up` has printed when it is ready, in a folder where an earlier one was killed.

    Stops it afterwards.
    """
    database = tmp_path / "up" / DATABASE_FILE
    with closing(open_file(database)) as opened:
        SqlQueue(opened).add([VideoRef("input-bucket-video", "gone.mp4", "", "etag", event_id="1")])
    gallery = tmp_path / "mine.npz"
    gallery.write_bytes(render_gallery(empty_gallery()))
    argv = [sys.executable, "-m", "rollcall", "up", "--folder", str(tmp_path / "up")]
    env = {**os.environ, "KEEP_FACES": "pictures"}
    with subprocess.Popen(
        [*argv, "--encodings", str(gallery)],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as stack:
        assert stack.stdout
        lines = []
        for line in stack.stdout:
            lines.append(line.strip())
            if line.startswith("The trigger's own status"):
                break
        yield lines
        stack.terminate()
        rest = stack.stdout.read()
        assert stack.wait(180) == 0, rest
        assert rest.split("\n")[-3:] == ["stopping ...", "stopped", ""]
    assert not list(database.parent.glob(DATABASE_FILE)), "the store is gone, its index is not"


def test_the_first_page_shows_a_video_without_a_reload(
    page: Page, said: list[str], tmp_path: Path
) -> None:
    url = next(line for line in said if line.startswith("Pages: ")).removeprefix("Pages: ")
    assert not [line for line in said if "KEEP_FACES is none" in line]
    page.goto(url)
    expect(page.get_by_text("No video has arrived yet.")).to_be_visible()

    videos = tmp_path / "videos"
    videos.mkdir()
    paint_video(videos / "lecture.mp4", ["red"])
    script = f". '{tmp_path / 'up' / 'env.sh'}' && '{sys.executable}' workload.py '{videos}'"
    subprocess.run(["bash", "-ec", script], cwd=REPOSITORY, check=True)
    row = page.locator("[data-row]")
    expect(row).to_contain_text("done", timeout=180_000)
    expect(row).to_contain_text("lecture.mp4")
    expect(page.get_by_text("All is well.")).to_be_visible()
