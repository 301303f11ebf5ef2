"""`rollcall recognise --save` and `--html`."""

from __future__ import annotations

import io
import stat
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image
from support.videos import paint_video, painted_gallery

from rollcall.cli import recognise as command
from rollcall.cli import result_pictures
from rollcall.cli.main import main
from rollcall.cli.picture_drawing import (
    FACE_PX,
    MAX_FRAME_PX,
    MAX_SHEET_FACES,
    Mark,
    SheetFace,
    annotated,
    contact_sheet,
    face_cut_out,
    small_frame,
)
from rollcall.cli.result_page import MAX_LISTED, PageVideo, page_html
from rollcall.cli.result_pictures import OURS, PersonPicture, clock, safe_name
from rollcall.core.types import Box, Face, FaceQuality, Frame, Recognition, Sighting
from rollcall.faces.painted_faces import PaintedFaces
from rollcall.gallery.enrolment import save
from rollcall.gallery.gallery_locations import GalleryFile
from rollcall.recognition.frame_book import FrameBook, SmallPicture
from rollcall.recognition.recogniser import Recogniser

HOSTILE = '<img src="http://x/a.png" onerror=1>'


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(command, "build_engine", lambda _: PaintedFaces())
    monkeypatch.chdir(tmp_path)
    save(painted_gallery(**{"Ada <b>": "red", "Ben": "blue"}), GalleryFile(tmp_path / "g.npz"))
    paint_video(tmp_path / "one.mp4", ["red", "green"], ["blue"], frames_each=20)
    paint_video(tmp_path / "nobody.mp4", [])
    return tmp_path


def run(*args: str) -> Result:
    options = ("--encodings", "g.npz", "--scan", "timeline")
    return CliRunner().invoke(main, ["recognise", *args, *options])


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_pictures_of_the_moments_that_matter(folder: Path) -> None:
    result = run("one.mp4", "nobody.mp4", "--save", "out")
    assert result.exit_code == 0, result.output
    found = names(folder / "out")
    frames = [name for name in found if "frame-" in name]
    assert 2 <= len(frames) <= 6
    assert set(found) - set(frames) == {
        "one/contact-sheet.jpg",
        "one/face-Ada-b.jpg",
        "one/face-Ben.jpg",
        "one/face-unknown.jpg",
    }
    assert f"{len(found)} pictures saved in out" in result.stderr
    for name in found:
        path = folder / "out" / name
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        with Image.open(path) as image:
            image.verify()
    with Image.open(folder / "out" / "one" / "face-Ada-b.jpg") as image:
        red, green, blue = np.asarray(image.convert("RGB")).mean(axis=(0, 1))
    assert red > 2 * max(green, blue) - 50


def test_a_second_run_leaves_no_old_pictures_and_no_others_lost(folder: Path) -> None:
    run("one.mp4", "--save", "out")
    before = names(folder / "out")
    ours = (folder / "out/one/face-Ben.jpg").read_bytes()
    (folder / "out/one/face-Somebody.jpg").write_bytes(ours)
    users = ("face-of-mine.jpg", "frame-0001.jpg", "notes.txt")
    for name in users:
        (folder / "out/one" / name).write_bytes(b"a file of the user")
    result = run("one.mp4", "--save", "out")
    assert result.exit_code == 0, result.output
    assert names(folder / "out") == sorted([*before, *(f"one/{name}" for name in users)])


def test_a_file_of_the_user_is_not_replaced(folder: Path) -> None:
    (folder / "one").mkdir()
    (folder / "one" / "contact-sheet.jpg").write_bytes(b"a file of the user")
    result = run("one.mp4", "--save", ".")
    assert result.exit_code == 1
    assert "'one/contact-sheet.jpg' is not a picture of `recognise --save`" in result.stderr
    assert names(folder / "one") == ["contact-sheet.jpg"]
    assert (folder / "one" / "contact-sheet.jpg").read_bytes() == b"a file of the user"


def test_videos_with_the_same_name_get_folders_of_their_own(folder: Path) -> None:
    (folder / "two").mkdir()
    (folder / "two" / "ONE.mp4").write_bytes((folder / "one.mp4").read_bytes())
    run("one.mp4", "two/ONE.mp4", "--save", "out")
    assert {Path(name).parts[0] for name in names(folder / "out")} == {"one", "ONE-2"}


def test_a_folder_that_cannot_be_written_is_named(folder: Path) -> None:
    (folder / "out").mkdir()
    (folder / "out" / "one").write_text("a file")
    result = run("one.mp4", "--save", "out")
    assert result.exit_code == 1
    assert "error: pictures cannot be saved in 'out/one': " in result.stderr


def test_a_page_that_cannot_be_written_is_refused_before_the_videos_are_read(folder: Path) -> None:
    result = run("one.mp4", "--html", "missing/page.html")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "error: 'missing/page.html' cannot be written: create its folder first" in result.stderr


def test_the_page_is_written_after_an_interruption_too(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recognise, calls = Recogniser.recognise, iter([True, False])

    def once(self: Recogniser, *args: Any) -> Recognition:
        if next(calls):
            return recognise(self, *args)
        raise KeyboardInterrupt

    monkeypatch.setattr(Recogniser, "recognise", once)
    result = run("one.mp4", "nobody.mp4", "--html", "page.html")
    assert result.exit_code == 1
    assert "page written to page.html" in result.stderr
    text = (folder / "page.html").read_text()
    assert "1 video, recognised" in text
    assert "one.mp4" in text


class _Links(HTMLParser):
    """Collects what a browser would load or run."""

    def __init__(self) -> None:
        super().__init__()
        self.urls: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.urls += [value or "" for name, value in attrs if name in ("src", "href", "srcset")]
        assert not any(name.startswith("on") or name == "style" for name, _ in attrs)


def test_the_page_is_one_file_without_references(folder: Path) -> None:
    (folder / "broken.mp4").write_text("no video")
    result = run("one.mp4", "nobody.mp4", "broken.mp4", "--html", "page.html")
    assert result.exit_code == 1, result.output
    text = (folder / "page.html").read_text()
    links = _Links()
    links.feed(text)
    assert len(links.urls) == 3
    assert all(url.startswith("data:image/jpeg;base64,") for url in links.urls)
    assert not {"script", "link", "iframe", "object", "form"} & set(links.tags)
    assert links.tags.count("svg") == 3
    assert "default-src 'none'; img-src data:" in text
    assert "Ada &lt;b&gt;" in text
    assert "prefers-color-scheme: dark" in text
    assert "Nobody was recognised." in text
    assert "error: the file is not a video container" in text
    assert stat.S_IMODE((folder / "page.html").stat().st_mode) == 0o600


def test_names_on_the_page_are_escaped_and_lists_are_cut() -> None:
    intervals = [[float(n), n + 0.5] for n in range(MAX_LISTED + 5)]
    document = {"intervals": intervals, "certainty": "likely", "distance": None}
    person = PersonPicture(HOSTILE, HOSTILE, None, "#000000", document)
    coverage = {"looks": 1, "not_judged": {"too small": 2, "blurred": 0}}
    video = {"video": f"a/{HOSTILE[:-1]}", "error": None, "coverage": coverage, "limits": ["a b"]}
    text = page_html([PageVideo(video, 60.0, [person] * 201)], "v1")
    links = _Links()
    links.feed(text)
    assert links.urls == []
    assert links.tags.count("svg") == 200
    assert "1 more people are not shown" in text
    assert "0:00.0 to 0:00.5" in text
    assert "5 more</div>" in text
    assert "1 frame searched." in text
    assert "Faces that could not be judged: 2 too small." in text
    assert "A b." in text


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("lecture 12", "lecture-12"),
        ("../../etc/passwd", "etc-passwd"),
        ("..", "video_"),
        ("", "video_"),
        (".hidden", "hidden"),
        ("con", "con_"),
        ("a\nb\0c", "a-b-c"),
        ("Пример ä", "Пример-ä"),
        ("x" * 300, "x" * 100),
        ("ä" * 300, "ä" * 50),
    ],
)
def test_safe_names(text: str, name: str) -> None:
    assert safe_name(text, []) == name


def test_safe_names_differ_regardless_of_case() -> None:
    assert safe_name("Ada", ["ada", "ADA-2"]) == "Ada-3"
    assert safe_name("Ada", ["face-ada.jpg"], "face-", ".jpg") == "Ada-2"


def test_clock() -> None:
    assert [clock(t) for t in (0, 59.96, 61.5, 3725.04)] == [
        *("0:00.0", "1:00.0", "1:01.5", "1:02:05.0")
    ]
    assert clock(61.5, "-") == "1-01-5"


def test_a_long_name_hides_neither_the_certainty_nor_the_time(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[tuple[str, list[str]]] = []

    def note(picture: SmallPicture, marks: Sequence[Mark], title: str) -> bytes:
        drawn.append((title, [mark.label for mark in marks]))
        return b""

    monkeypatch.setattr(result_pictures, "annotated", note)
    save(painted_gallery(**{"Ada" * 50: "red"}), GalleryFile(folder / "g.npz"))
    (folder / "one.mp4").rename(folder / f"{'long ' * 20}.mp4")
    result = run(f"{'long ' * 20}.mp4", "--save", "out")
    assert result.exit_code == 0, result.output
    title, labels = drawn[0]
    assert title.startswith("0:00.0  long long")
    assert "Ada" * 13 + "… (clear)" in labels


def test_sizes_of_pictures_are_limited() -> None:
    pixels = np.zeros((1000, 4000, 3), np.uint8)
    frame = small_frame(pixels)
    assert Image.open(io.BytesIO(frame.jpeg)).size == (MAX_FRAME_PX, 320)
    assert frame.scale == MAX_FRAME_PX / 4000
    face = Image.open(io.BytesIO(face_cut_out(pixels, Box(0, 900, 900, 0))))
    assert max(face.size) == FACE_PX
    marks = [Mark(Box(-50, 5000, 2000, -50), "x" * 500, "#000000")]
    assert annotated(frame, marks, "y" * 500)
    cells = [SheetFace(None, ("x" * 500, "y"), "#000000")] * (MAX_SHEET_FACES + 50)
    sheet = Image.open(io.BytesIO(contact_sheet(cells, "z" * 5000)))
    assert sheet.width * sheet.height < 20e6


QUALITY = FaceQuality(96, 0.1, 0.0, 1.0)


def sighting(time_s: float, sharpness: float = 0.1) -> Sighting:
    quality = FaceQuality(96, sharpness, 0.0, 1.0)
    face = Face(Box(0, 9, 9, 0), np.zeros((5, 2)), quality, np.zeros(128))
    return Sighting(time_s, face, None)


def test_the_best_and_the_first_frame_of_each_person_are_chosen() -> None:
    book = FrameBook(lambda pixels: SmallPicture(b"", 1.0))
    pixels = np.zeros((9, 9, 3), np.uint8)
    seen = [sighting(float(n), 0.03 if n == 6 else 0.01) for n in range(10)]
    for each in reversed(seen):  # two threads look at different parts of a video
        book.see(Frame(each.time_s, pixels), [each])
    persons = (0,) * 9 + (None,)
    chosen = book.chosen(Recognition((), tuple(seen), 10, 10.0, persons=persons))
    assert [frame.time_s for frame in chosen] == [0.0, 6.0]
    book.clear()
    assert book.chosen(Recognition((), tuple(seen), 10, 10.0, persons=persons)) == []


def test_frames_in_memory_are_limited_and_spread() -> None:
    book = FrameBook(lambda pixels: SmallPicture(b"", 1.0), max_kept=10)
    pixels = np.zeros((9, 9, 3), np.uint8)
    seen = [sighting(float(n)) for n in range(100)]
    for each in seen:
        book.see(Frame(each.time_s, pixels), [each])
    times = [frame.time_s for frame in book._kept]
    assert len(times) <= 10
    assert times[0] < 20
    assert times[-1] > 80


def test_a_frame_without_a_face_that_can_be_judged_is_not_kept() -> None:
    book = FrameBook(lambda pixels: SmallPicture(b"", 1.0))
    face = Face(Box(0, 9, 9, 0), np.zeros((5, 2)), QUALITY, None, "blurred")
    book.see(Frame(0.0, np.zeros((9, 9, 3), np.uint8)), [Sighting(0.0, face, None)])
    assert book._kept == []


def test_every_picture_name_is_one_that_a_later_run_removes() -> None:
    for name in ("frame-1-02-05-0.jpg", "face-Пример.jpg", "contact-sheet.jpg"):
        assert OURS.fullmatch(name)
    assert not OURS.fullmatch("holiday.jpg")
