"""`rollcall enrol` and the log of changes."""

from __future__ import annotations

import getpass
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image
from support.databases import open_file

from rollcall.cli import enrol as command
from rollcall.cli.main import main
from rollcall.core.web_protocols import Change
from rollcall.faces.painted_faces import PaintedFaces
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
