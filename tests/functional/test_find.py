"""`rollcall find`, with painted faces and with a real one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from skimage import io
from support.databases import open_file
from support.index_samples import T0, appearance, indexed
from support.pictures import astronaut, cat

from rollcall.cli import find as command
from rollcall.cli.main import main
from rollcall.cli.shown_times import moment_text
from rollcall.core.encoding_space import DLIB
from rollcall.core.protocols import FaceEngine
from rollcall.core.types import Encodings, Pixels
from rollcall.database.database import Database
from rollcall.faces.engine import default_engine
from rollcall.faces.painted_faces import PaintedFaces
from rollcall.index import find_faces
from rollcall.index.face_search import SqlFaceSearch
from rollcall.index.find_faces import faces_of_photo, find_by_photo, likeness
from rollcall.index.sql_index import SqlIndex

MODELS = Path.home() / ".cache" / "rollcall"
ENCODING = PaintedFaces.encoding


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with closing(open_file(tmp_path / "index.sqlite3")) as opened:
        yield opened


@pytest.fixture
def painted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "build_engine", lambda _: PaintedFaces())


def patches(*colours: str, size: int = 60) -> Pixels:
    """A picture with a patch of each colour, each smaller than the one before."""
    pixels = np.full((120, 100 * len(colours), 3), 40, np.uint8)
    for place, colour in enumerate(colours):
        side = size - 10 * place
        part = pixels[20 : 20 + side, 100 * place + 20 : 100 * place + 20 + side]
        stripes = np.where(np.arange(side) // 5 % 2, 1.0, 0.55)
        part[:] = np.array(PaintedFaces.COLOURS[colour]) * stripes[None, :, None]
    return pixels


def near(encoding: Encodings, distance: float) -> Encodings:
    moved = encoding.copy()
    moved[100] += distance
    return moved


def store(database: Database) -> None:
    """Two videos with Ada, who is red; the later one also shows unknown people."""
    index, search = SqlIndex(database), SqlFaceSearch(database)
    times = ((65.0, 70.0), (200.0, 200.0), (300.0, 310.0), (3700.0, 3800.0))
    index.put(
        [
            indexed("old.mp4", appearance(0, "Ada", *times), uploaded_s=T0),
            indexed(
                "new.mp4",
                *(appearance(0, "", (1.0, 2.0)), appearance(1, "Ben")),
                uploaded_s=T0 + 3600,
            ),
        ]
    )
    old, new = (
        index.id_of("input-bucket-video", "old.mp4"),
        index.id_of("input-bucket-video", "new.mp4"),
    )
    assert old
    assert new
    search.put(old, DLIB.name, [0, 0], np.array([near(ENCODING("red"), d) for d in (0.4, 0.3)]))
    search.put(new, DLIB.name, [0, 1], np.array([near(ENCODING("red"), 0.53), ENCODING("blue")]))


def run(tmp_path: Path, pixels: Pixels, *options: str, **env: str) -> Result:
    photo = tmp_path / "photo.png"
    io.imsave(photo, pixels, check_contrast=False)
    values = {"DATABASE_URL": f"sqlite:///{tmp_path}/index.sqlite3", "MODEL_CACHE": str(MODELS)}
    return CliRunner().invoke(main, ["find", str(photo), *options], env=values | env)


@pytest.mark.usefixtures("painted")
def test_the_nearest_faces_come_first(database: Database, tmp_path: Path) -> None:
    store(database)
    result = run(tmp_path, patches("red"))
    assert result.exit_code == 0, result.output
    local = [moment_text(at_s) for at_s in (T0, T0 + 3600)]
    assert result.stdout.splitlines() == [
        f"{local[0]}  old.mp4: Ada (clear, distance 0.30): 1:05 to 1:10, 3:20, 5:00 to 5:10,"
        " 1 more interval",
        f"{local[1]}  new.mp4: unknown (likely, distance 0.53): 0:01 to 0:02",
    ]
    assert "compared with 4 faces in earlier videos" in result.stderr


@pytest.mark.usefixtures("painted")
def test_newest_first_and_a_limit(database: Database, tmp_path: Path) -> None:
    store(database)
    result = run(tmp_path, patches("red"), "--newest", "--limit", "1", "--json")
    document = json.loads(result.stdout)
    assert result.exit_code == 0, result.output
    assert [found["key"] for found in document["found"]] == ["new.mp4"]
    assert document["more"] is True
    assert document["stored"] == 4
    assert document["found"][0] == {
        "bucket": "input-bucket-video",
        "key": "new.mp4",
        "uploaded_s": T0 + 3600,
        "name": "unknown",
        "distance": pytest.approx(0.53, abs=0.001),
        "certainty": "likely",
        "intervals": [[1.0, 2.0]],
    }


@pytest.mark.usefixtures("painted")
def test_of_several_faces_one_is_chosen(database: Database, tmp_path: Path) -> None:
    store(database)
    photo = patches("green", "blue")
    result = run(tmp_path, photo)
    assert result.exit_code == 1
    assert "the photo shows 2 faces; searching for face 1 (60 pixels wide around 50, 50)" in (
        result.stderr
    )
    assert "--face 2: 50 pixels wide around 145, 45" in result.stderr
    assert "nobody in the stored faces looks like this face" in result.stderr
    result = run(tmp_path, photo, "--face", "2", "--json")
    assert [found["name"] for found in json.loads(result.stdout)["found"]] == ["Ben"]
    result = run(tmp_path, photo, "--face", "3")
    assert result.exit_code == 1
    assert "photo.png' shows 2 faces, so there is no face 3" in result.stderr


@pytest.mark.usefixtures("painted")
@pytest.mark.parametrize(
    ("pixels", "sentence"),
    [
        (cat(), "shows no face"),
        (patches("red", size=20), "shows a face of only 20 pixels; use a larger picture"),
    ],
)
def test_photos_that_cannot_be_compared(
    database: Database, tmp_path: Path, pixels: Pixels, sentence: str
) -> None:
    store(database)
    grey = np.repeat(pixels.mean(axis=2, keepdims=True), 3, axis=2).astype(np.uint8)
    result = run(tmp_path, grey if "no face" in sentence else pixels)
    assert result.exit_code == 1
    assert sentence in result.stderr


@pytest.mark.usefixtures("painted")
def test_what_is_missing_is_said(database: Database, tmp_path: Path) -> None:
    result = run(tmp_path, patches("red"))
    assert result.exit_code == 1
    assert "KEEP_FACES is none; set KEEP_FACES=encodings" in result.stderr
    result = run(tmp_path, patches("red"), KEEP_FACES="encodings", REPORT_BUCKET="reports")
    assert "rollcall index rebuild" in result.stderr
    SqlFaceSearch(database).put(1, "another-space", [0], np.ones((1, 5)))
    result = run(tmp_path, patches("red"))
    assert "the stored faces are of another-space" in result.stderr


def test_the_largest_number_of_newest_faces_is_not_taken_for_all(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(database)
    monkeypatch.setattr(find_faces, "MAX_FOUND", 1)
    engine, search = PaintedFaces(), SqlFaceSearch(database)
    photo = faces_of_photo(patches("red"), engine)
    found = find_by_photo(photo, engine, search, database, limit=9, newest=True)
    assert ([each.seen.seen.key for each in found.like], found.more) == (["new.mp4"], True)


def test_a_sideways_photo_of_a_real_face(database: Database) -> None:
    engine: FaceEngine = default_engine(MODELS)
    upright = faces_of_photo(astronaut(), engine)
    assert len(upright.faces) == 1
    encodings = engine.encode(upright.pixels, [upright.faces[0].detected])
    SqlIndex(database).put([indexed("a.mp4", appearance(0, ""))])
    SqlFaceSearch(database).put(1, engine.space.name, [0], encodings)
    turned = faces_of_photo(np.ascontiguousarray(np.rot90(astronaut())), engine)
    found = find_by_photo(turned, engine, SqlFaceSearch(database), database)
    assert [(each.seen.seen.key, each.certainty) for each in found.like] == [("a.mp4", "clear")]


def test_words_for_distances() -> None:
    words = [likeness(distance, DLIB) for distance in (0.3, 0.49, 0.51, 0.54, 0.56, 0.6)]
    assert words == ["clear", "clear", "likely", "likely", "doubtful", "doubtful"]
