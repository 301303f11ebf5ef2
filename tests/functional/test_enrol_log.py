"""`rollcall enrol`, the log of changes, and the results of earlier videos."""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image
from support.databases import open_file
from support.filmed import Filmed, open_filmed

from rollcall.cli import correcting
from rollcall.cli import enrol as command
from rollcall.cli.main import main
from rollcall.core.errors import InboxUnavailable, StoreUnavailable
from rollcall.core.gallery import Gallery
from rollcall.core.web_protocols import Change
from rollcall.corrections.gallery_writer import GalleryWriter
from rollcall.faces.painted_faces import PaintedFaces
from rollcall.gallery.gallery_formats import render_gallery
from rollcall.gallery.gallery_locations import GalleryFile, read_gallery
from rollcall.index.change_log import SqlChangeLog


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command, "build_engine", lambda _: PaintedFaces())
    monkeypatch.setattr(getpass, "getuser", lambda: "olga")
    monkeypatch.setenv("ENCODINGS", "gallery.npz")
    monkeypatch.setenv("DATABASE_URL", "sqlite:///inbox.sqlite3")


def photo(path: str, paint: str) -> str:
    """A photo of a painted face, with stripes so that it is not blurred."""
    pixels = np.full((200, 200, 3), 40, np.uint8)
    stripes = np.where(np.arange(100) // 8 % 2, 1.0, 0.55)
    pixels[50:150, 50:150] = np.array(PaintedFaces.COLOURS[paint]) * stripes[None, :, None]
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def enrol(*args: str) -> Result:
    return CliRunner().invoke(main, ["enrol", *args])


def lines() -> list[Change]:
    with closing(open_file(Path("inbox.sqlite3"))) as database:
        return SqlChangeLog(database).latest(10)


def test_each_person_has_a_line_that_can_be_undone() -> None:
    open_file(Path("inbox.sqlite3")).close()
    photo("people/Ada/1.png", "red")
    photo("people/Ben/1.png", "blue")
    done = enrol("--folder", "people")
    assert done.exit_code == 0, done.output
    assert [(line.who, line.action, line.name, line.details) for line in lines()] == [
        ("olga (command line)", "enrol", "Ben", {"photos": 1}),
        ("olga (command line)", "enrol", "Ada", {"photos": 1}),
    ]
    assert all(line.can_undo for line in lines())
    enrol("--folder", "people")
    assert len(lines()) == 2, "nothing was added, so there is nothing to undo"


def test_a_name_close_to_a_known_one_gets_a_hint() -> None:
    hint = "hint: the name 'Vin Diesl' is new, and similar to 'Vin Diesel'; if this is the same"
    done = enrol("Vin Diesel", photo("people/Vin Diesel/1.png", "red"))
    assert "hint" not in done.stderr
    done = enrol("Vin Diesl", photo("people/Vin Diesl/1.png", "blue"), "--encodings", "other.npz")
    assert "hint" not in done.stderr
    done = enrol("--folder", "people")
    assert done.exit_code == 0, done.output
    assert [line for line in done.stderr.splitlines() if line.startswith("hint")] == [
        f"{hint} person, run `rollcall gallery merge`"
    ]
    done = enrol("--folder", "people", "--json")
    assert "hint" not in done.stderr
    done = enrol("Vin Deisel", photo("green.png", "green"))
    assert done.exit_code == 0, done.output
    assert "similar to 'Vin Diesel'" in done.stderr


def test_another_gallery_is_not_in_the_log() -> None:
    open_file(Path("inbox.sqlite3")).close()
    done = enrol("Ada", photo("ada.png", "red"), "--encodings", "other.npz")
    assert done.exit_code == 0, done.output
    assert lines() == []


def test_without_a_database_none_is_made() -> None:
    done = enrol("Ada", photo("ada.png", "red"))
    assert done.exit_code == 0, done.output
    assert "warning" not in done.stderr
    assert not Path("inbox.sqlite3").exists()


def test_a_database_that_cannot_be_used_is_only_a_warning() -> None:
    Path("inbox.sqlite3").write_bytes(b"not a database" * 100)
    done = enrol("Ada", photo("ada.png", "red"))
    assert done.exit_code == 0, done.output
    assert "warning: the log will have no line about this change: " in done.stderr
    assert read_gallery(GalleryFile(Path("gallery.npz"))).people == ("Ada",)


@pytest.fixture(params=["sqlite", "postgresql"])
def filmed(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Filmed]:
    """The gallery knows Ben, who is blue. The commands use these videos."""
    monkeypatch.setenv("REPORT_BUCKET", "rollcall-reports")
    with open_filmed(request, tmp_path) as filmed:
        is_postgresql = request.param == "postgresql"
        url = request.getfixturevalue("postgres_url") if is_postgresql else "sqlite:///log.sqlite3"
        monkeypatch.setenv("DATABASE_URL", url)
        monkeypatch.setattr(correcting, "S3Store", lambda client: filmed.store)
        monkeypatch.setattr(correcting, "DynamoStudents", lambda client, table: filmed.students)
        filmed.faces = {colour: PaintedFaces.encoding(colour) for colour in PaintedFaces.COLOURS}
        filmed.enrol(Ben=filmed.faces["blue"])
        filmed.film("1.mp4", {"red": [0, 1], "blue": [5]})
        filmed.film("2.mp4", {"blue": [0, 1]})
        filmed.film("3.mp4", {"green": [0, 1]}, kept="none")
        yield filmed


def test_the_results_of_earlier_videos_are_corrected(filmed: Filmed) -> None:
    done = enrol("Ada", photo("ada.png", "red"))
    assert done.exit_code == 0, done.output
    assert done.stderr.endswith("results changed: 1, unchanged: 1\n")
    assert filmed.names("1.mp4") == ["Ada", "Ben"]
    for _ in range(2):
        filmed.rematcher.notice_changes()
    assert filmed.corrections.pending() == 0, "nothing is left for `rollcall web`"
    done = enrol("Ada", "ada.png")
    assert done.exit_code == 0, done.output
    assert "results changed" not in done.stderr, "the photo was in the gallery"


def test_results_of_another_gallery_keep_their_names(
    filmed: Filmed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ENCODINGS of a shell may name a gallery for a test."""
    monkeypatch.setenv("ENCODINGS", "other.npz")
    other = Gallery(["Zoe"], PaintedFaces.encoding("cyan")[None])
    GalleryFile(Path("other.npz")).save(render_gallery(other))
    done = enrol("Ada", photo("ada.png", "red"))
    assert done.exit_code == 0, done.output
    assert "they were made with another gallery; to correct them" in done.stderr
    assert filmed.corrections.pending() == 0
    assert filmed.names("1.mp4") == ["unknown", "Ben"]


def test_without_results_nothing_is_said_about_another_gallery() -> None:
    """The first person is enrolled before the first video is uploaded."""
    open_file(Path("inbox.sqlite3")).close()
    done = enrol("Ada", photo("ada.png", "red"))
    assert done.exit_code == 0, done.output
    assert "another gallery" not in done.stderr
    assert "results changed" not in done.stderr


def test_somebody_who_enrols_many_people_does_not_wait_for_all_videos(
    filmed: Filmed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rollcall.cli.enrol_log.CORRECTING_S", 0.0)
    monkeypatch.setattr("rollcall.corrections.rematch_queue.BATCH", 1)
    done = enrol("Ada", photo("ada.png", "red"))
    assert done.exit_code == 0, done.output
    assert "left for later: 1; `rollcall web` corrects them" in done.stderr
    assert filmed.corrections.pending() == 1
    filmed.rematcher.run_due()
    assert filmed.names("1.mp4") == ["Ada", "Ben"]


def test_after_a_folder_the_results_are_corrected_once(filmed: Filmed) -> None:
    filmed.film("4.mp4", {"cyan": [0]})
    photo("people/Ada/1.png", "red")
    photo("people/Cid/1.png", "cyan")
    Path("people/Ada/2.png").write_bytes(b"not a photo")
    done = enrol("--folder", "people", "--json")
    assert done.exit_code == 1, "a photo was refused"
    assert [line for line in done.stderr.splitlines() if "results changed" in line] == [
        "results changed: 2, unchanged: 1"
    ]
    assert (filmed.names("1.mp4"), filmed.names("4.mp4")) == (["Ada", "Ben"], ["Cid"])


def test_without_the_store_the_videos_wait(filmed: Filmed, monkeypatch: pytest.MonkeyPatch) -> None:
    def down(*values: object) -> bytes:
        raise StoreUnavailable("the store does not answer")

    with monkeypatch.context() as patch:
        patch.setattr(filmed.store, "read_with_etag", down)
        patch.setattr(filmed.store, "read", down)
        done = enrol("Ada", photo("ada.png", "red"))
    assert done.exit_code == 0, done.output
    assert (
        "left for later: 2; `rollcall web` corrects them, and so does `rollcall index rematch`"
        in done.stderr
    )
    assert filmed.corrections.pending() == 2


def test_a_database_that_fails_after_the_enrolment_is_only_a_warning(
    filmed: Filmed, monkeypatch: pytest.MonkeyPatch
) -> None:
    def down(*values: object) -> None:
        raise InboxUnavailable("the database does not answer")

    monkeypatch.setattr(GalleryWriter, "compare_with", down)
    done = enrol("Ada", photo("ada.png", "red"))
    assert done.exit_code == 0, done.output
    assert done.stderr.endswith(
        "warning: the results of earlier videos are not corrected yet: the database does not"
        " answer; `rollcall web` corrects them, and so does `rollcall index rematch`\n"
    )


def test_another_gallery_changes_no_result(filmed: Filmed) -> None:
    done = enrol("Ada", photo("ada.png", "red"), "--encodings", "other.npz")
    assert done.exit_code == 0, done.output
    assert "results" not in done.stderr
    assert filmed.names("1.mp4") == ["unknown", "Ben"]
