"""`rollcall enrol --folder`: a folder with a folder of photos for each person."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result
from support.databases import open_file
from support.gallery_commands import NumberedFaces, photo
from support.pictures import astronaut, cat
from support.settings import embedded_settings

from rollcall.cli import enrol as enrol_cli
from rollcall.cli.main import main
from rollcall.core.errors import (
    GalleryError,
    NameRefused,
    StoreMisconfigured,
    StoreUnavailable,
)
from rollcall.core.gallery import Gallery
from rollcall.core.protocols import GalleryLocation
from rollcall.core.types import Box, ObjectInfo, Pixels
from rollcall.faces.face_jpeg import face_jpeg
from rollcall.gallery import enrolment, people_folder
from rollcall.gallery.enrolled_pictures import (
    read_picture,
    stored_pictures,
    write_pictures,
)
from rollcall.gallery.enrolment import enrol_photos
from rollcall.gallery.forgetting import PersonRemoval
from rollcall.gallery.gallery_formats import parse_gallery, render_gallery
from rollcall.gallery.gallery_locations import GalleryFile, GalleryObject, read_gallery
from rollcall.gallery.people_folder import read_people_folder
from rollcall.gallery.photo_outcomes import PhotoOutcome
from rollcall.index.change_log import SqlChangeLog
from rollcall.stores.boto import s3_client
from rollcall.stores.memory import MemoryStore
from rollcall.stores.s3 import S3Store

TOLERANCE = 0.6


@pytest.fixture
def people(tmp_path: Path) -> Path:
    folder = tmp_path / "people"
    folder.mkdir()
    return folder


@pytest.fixture
def gallery(tmp_path: Path) -> GalleryFile:
    return GalleryFile(tmp_path / "gallery.npz")


@pytest.fixture
def quick_faces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(enrol_cli, "build_engine", lambda settings: NumberedFaces())


def person(folder: Path, name: str, *numbers: int) -> Path:
    (folder / name).mkdir()
    for number in numbers:
        photo(folder / name, number)
    return folder / name


def enrol(folder: Path, gallery: GalleryFile, *options: str, **env: str) -> Result:
    argv = ["enrol", "--folder", str(folder), "--encodings", str(gallery.path), *options]
    return CliRunner().invoke(main, argv, env=env)


def kinds(result: Result) -> dict[tuple[str, str], str]:
    documents = [json.loads(line) for line in result.stdout.splitlines()]
    return {(each["person"], Path(each["photo"]).name): each["kind"] for each in documents}


def write(path: Path, pixels: Pixels) -> None:
    path.parent.mkdir(exist_ok=True)
    cv2.imwrite(str(path), pixels[..., ::-1])


def test_every_kind_of_photo_is_told_from_the_others(people: Path, gallery: GalleryFile) -> None:
    """With the real engine, as a user would see it."""
    portrait = np.ascontiguousarray(astronaut()[:280, 80:380])
    soft = cv2.GaussianBlur(portrait, (0, 0), 3)
    for name, pixels in {
        "good.png": portrait,
        "two.png": np.hstack([portrait] * 2),
        "cat.png": cat(),
        "blurred.png": np.asarray(soft, np.uint8),
        "sideways.png": np.ascontiguousarray(np.rot90(astronaut()[:320, 60:400])),
        "good again.png": portrait,
    }.items():
        write(people / "eileen" / name, pixels)
    write(people / "collins" / "same picture.png", portrait)
    write(people / "collins" / "other picture.png", portrait[:, ::-1])
    (people / "eileen" / "notes.txt").write_text("no picture")
    (people / "eileen" / "broken.jpg").write_text("no picture")
    result = enrol(people, gallery, "--json")
    assert result.exit_code == 1
    assert kinds(result) == {
        ("collins", "other picture.png"): "enrolled",
        ("collins", "same picture.png"): "enrolled",
        ("eileen", "good.png"): "two names",
        ("eileen", "good again.png"): "two names",
        ("eileen", "two.png"): "several faces",
        ("eileen", "cat.png"): "no face",
        ("eileen", "blurred.png"): "blurred",
        ("eileen", "sideways.png"): "two names",
        ("eileen", "broken.jpg"): "unreadable",
    }
    assert "notes.txt' was skipped, because it is not a photo" in result.stderr
    gallery.path.unlink()
    (people / "collins").rename(people.parent / "collins")
    result = enrol(people, gallery)
    assert result.exit_code == 1
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert "✓ eileen good again.png enrolled" in lines
    assert any(line.startswith("✓ eileen good.png it is a picture that eileen") for line in lines)
    assert any(line.startswith("✓ eileen sideways.png it was sideways") for line in lines)
    assert any(line.startswith("✗ eileen two.png 2 faces were found") for line in lines)
    assert any(line.startswith("✗ eileen blurred.png the face is blurred") for line in lines)
    assert "enrolled 1" in result.stdout
    assert "7 photos of 1 person: 3 are in the gallery, 4 were refused" in result.stdout
    known = read_gallery(gallery)
    assert [each.source.photo for each in known.examples] == ["good again.png", "sideways.png"]
    assert all(each.quality and each.quality.size_px > 50 for each in known.examples)
    assert all(each.added_s > 1.7e9 and each.id for each in known.examples)


def test_what_systems_add_to_folders_is_skipped(
    people: Path, gallery: GalleryFile, quick_faces: None
) -> None:
    ada = person(people, "ada", 1)
    for dropping in (".DS_Store", "._1.png", "Thumbs.db", "desktop.ini", "Icon\r"):
        (ada / dropping).touch()
    (people / ".DS_Store").touch()
    (people / "__MACOSX").mkdir()
    photo(people / "__MACOSX", 9)
    (ada / "older").mkdir()
    os.mkfifo(ada / "pipe.png")
    (people / "stray.png").touch()
    (people / "ben").mkdir()
    result = enrol(people, gallery, "--json")
    assert (result.exit_code, kinds(result)) == (0, {("ada", "1.png"): "enrolled"})
    assert "stray.png' was skipped; put it into a folder with the person's name" in result.stderr
    assert "older' was skipped, because it is a folder" in result.stderr
    assert "pipe.png' was skipped, because it is not a photo" in result.stderr
    assert "ben' has no photos" in result.stderr
    assert "MACOSX" not in result.output


def test_one_bad_name_does_not_stop_the_others(
    people: Path, gallery: GalleryFile, quick_faces: None
) -> None:
    for number, name in enumerate(("ada", "Ada", "unknown", "cleo")):
        person(people, name, number)
    result = enrol(people, gallery, "--json")
    assert result.exit_code == 1
    documents = [json.loads(line) for line in result.stdout.splitlines()]
    assert {each["person"]: each["kind"] for each in documents} == {
        "Ada": "enrolled",
        "ada": "bad name",
        "unknown": "bad name",
        "cleo": "enrolled",
    }
    assert read_gallery(gallery).people == ("Ada", "cleo")


def test_a_second_run_adds_only_what_is_new(
    people: Path, gallery: GalleryFile, quick_faces: None
) -> None:
    ada = person(people, "ada", 1)
    assert enrol(people, gallery).exit_code == 0
    before = gallery.path.stat().st_mtime_ns
    assert enrol(people, gallery).exit_code == 0
    assert gallery.path.stat().st_mtime_ns == before
    photo(ada, 2)
    assert set(kinds(enrol(people, gallery, "--json")).values()) == {"duplicate", "far"}
    assert read_gallery(gallery).names == ("ada", "ada")


def test_the_log_has_a_line_for_each_person_that_can_be_undone(
    people: Path, gallery: GalleryFile, quick_faces: None, tmp_path: Path
) -> None:
    person(people, "ada", 1)
    person(people, "ben", 2)
    env = {"DATABASE_URL": f"sqlite:///{tmp_path}/log.sqlite3", "ENCODINGS": str(gallery.path)}
    with closing(open_file(tmp_path / "log.sqlite3")) as database:
        done = CliRunner().invoke(main, ["enrol", "--folder", str(people)], env=env)
        assert done.exit_code == 0, done.output
        ben, ada = SqlChangeLog(database).latest(10)
        assert (ada.action, ada.name, ben.name) == ("enrol", "ada", "ben")
        undo = CliRunner().invoke(main, ["gallery", "undo", str(ada.id)], env=env)
        assert undo.exit_code == 0, undo.output
        assert read_gallery(gallery).people == ("ben",)
        # The gallery of this command is not the one that an undo changes.
        assert enrol(people, gallery, **env).exit_code == 0
        assert SqlChangeLog(database).latest(1)[0].action == "undo"


def test_without_a_database_nothing_is_logged(
    people: Path, gallery: GalleryFile, quick_faces: None, tmp_path: Path
) -> None:
    person(people, "ada", 1)
    env = {"DATABASE_URL": f"sqlite:///{tmp_path}/log.sqlite3", "ENCODINGS": str(gallery.path)}
    done = CliRunner().invoke(main, ["enrol", "--folder", str(people)], env=env)
    assert (done.exit_code, "warning" in done.stderr) == (0, False), done.output
    assert not (tmp_path / "log.sqlite3").exists()


def test_people_are_stored_while_others_are_still_read(
    people: Path, gallery: GalleryFile, quick_faces: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(enrolment, "PEOPLE_AT_ONCE", 2)
    for number in range(5):
        person(people, f"p{number}", number)
    monkeypatch.setattr(NumberedFaces, "detect", stopped_at_the_fifth())
    assert isinstance(enrol(people, gallery).exception, KeyboardInterrupt | SystemExit)
    assert read_gallery(gallery).people == ("p0", "p1", "p2", "p3")


def stopped_at_the_fifth() -> Any:
    """A `detect` that is interrupted in the fifth person's photo."""
    real = NumberedFaces.detect

    def detect(self: NumberedFaces, pixels: Pixels) -> Any:
        if pixels[0, 0, 0] == 4:
            raise KeyboardInterrupt
        return real(self, pixels)

    return detect


@pytest.mark.parametrize(
    "argv",
    [
        ["enrol"],
        ["enrol", "ada"],
        ["enrol", "ada", "a.png", "--folder", "."],
        ["enrol", "--folder", "missing"],
    ],
)
def test_wrong_arguments_are_a_usage_error(argv: list[str]) -> None:
    assert CliRunner().invoke(main, argv).exit_code == 2


def test_an_empty_folder_says_what_is_expected(people: Path, gallery: GalleryFile) -> None:
    result = enrol(people, gallery)
    assert result.exit_code == 1
    assert "put the photos of each person into a folder of their own" in result.stderr


def test_folders_beyond_the_limits_are_refused(
    people: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        person(people, f"p{number}", number, number + 10)
    monkeypatch.setattr(people_folder, "MAX_PEOPLE", 2)
    with pytest.raises(GalleryError, match="more than 2 people"):
        read_people_folder(people)
    monkeypatch.setattr(people_folder, "MAX_PHOTOS", 1)
    with pytest.raises(GalleryError, match="2 photos, and at most 1"):
        read_people_folder(people)
    with pytest.raises(GalleryError, match="cannot be read"):
        read_people_folder(people / "missing")


# --- uploaded photos


def upload(tmp_path: Path, number: int) -> tuple[str, bytes]:
    return f"{number}.png", photo(tmp_path, number).read_bytes()


def test_uploaded_photos_are_enrolled(tmp_path: Path, gallery: GalleryFile) -> None:
    photos = [upload(tmp_path, 1), ("a.heic", b"\0\0\0\x18ftypheic"), upload(tmp_path, 2)]
    done = enrol_photos(gallery, "ada", photos, NumberedFaces(), TOLERANCE, who="eve")
    assert [each.ok for each in done.outcomes] == [True, False, True]
    assert done.outcomes[1] == PhotoOutcome(
        "a.heic", False, "unreadable", "is HEIC, which cannot be read; export the photo as JPEG"
    )
    known = read_gallery(gallery)
    assert [(each.source.photo, each.added_by) for each in known.examples] == [
        ("1.png", "eve"),
        ("2.png", "eve"),
    ]
    assert [each.example_id for each in done.outcomes] == [
        known.examples[0].id,
        "",
        known.examples[1].id,
    ]


def test_an_uploaded_photo_has_a_limit(
    gallery: GalleryFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rollcall.gallery.photos.MAX_PHOTO_BYTES", 10)
    done = enrol_photos(gallery, "ada", [("a.png", bytes(11))], NumberedFaces(), TOLERANCE)
    assert "has more than" in done.outcomes[0].sentence
    assert not gallery.path.exists()


def test_odd_file_names_are_stored_as_printable_text(tmp_path: Path, gallery: GalleryFile) -> None:
    name, data = upload(tmp_path, 1)
    odd = os.fsdecode(b"\xff\x1b[2J" + b"x" * 3000 + name.encode())
    enrol_photos(gallery, "ada", [(odd, data)], NumberedFaces(), TOLERANCE)
    (example,) = read_gallery(gallery).examples
    assert example.source.photo.isprintable()
    assert example.source.photo.endswith("1.png")


def test_a_name_that_is_refused_is_an_error(tmp_path: Path, gallery: GalleryFile) -> None:
    enrol_photos(gallery, "Ada", [upload(tmp_path, 1)], NumberedFaces(), TOLERANCE)
    with pytest.raises(NameRefused, match="looks like"):
        enrol_photos(gallery, "ada", [upload(tmp_path, 2)], NumberedFaces(), TOLERANCE)


# --- pictures of enrolled faces


@pytest.fixture(params=["file", "memory", "versions"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[GalleryLocation]:
    if request.param == "file":
        yield GalleryFile(tmp_path / "gallery.npz")
    elif request.param == "memory":
        yield GalleryObject(MemoryStore(), "g", "gallery.npz")
    else:
        client = s3_client(embedded_settings(request.getfixturevalue("moto_url")))
        bucket, store = f"galleries-{uuid.uuid4().hex[:8]}", S3Store(client)
        store.create_bucket(bucket)
        client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        yield GalleryObject(store, bucket, "gallery.npz")


def keep(location: GalleryLocation, name: str, *photos: tuple[str, bytes]) -> list[str]:
    done = enrol_photos(location, name, photos, NumberedFaces(), TOLERANCE, cut_out=face_jpeg)
    return [each.example_id for each in done.outcomes]


def test_pictures_are_kept_and_removed_with_the_person(
    location: GalleryLocation, tmp_path: Path
) -> None:
    ada = keep(location, "ada", upload(tmp_path, 1), upload(tmp_path, 2))
    (ben,) = keep(location, "ben", upload(tmp_path, 3))
    assert stored_pictures(location) == {*ada, ben}
    jpeg = read_picture(location, ada[0])
    assert jpeg is not None
    decoded = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None
    assert max(decoded.shape[:2]) <= 96
    for dry_run in (True, False):
        mentions = list(PersonRemoval("ada", dry_run=dry_run).remove_from_gallery(location))
        pictures = [each for each in mentions if each.kind == "picture"]
        assert [(each.where, each.count) for each in pictures] == [(f"{location}.faces", 2)]
    assert stored_pictures(location) == {ben}
    assert read_picture(location, ada[0]) is None
    assert read_picture(location, ben) is not None


def test_only_the_owner_can_read_the_pictures(gallery: GalleryFile, tmp_path: Path) -> None:
    keep(gallery, "ada", upload(tmp_path, 1))
    folder = gallery.path.with_name("gallery.npz.faces")
    (picture,) = folder.iterdir()
    assert (folder.stat().st_mode & 0o777, picture.stat().st_mode & 0o777) == (0o700, 0o600)
    list(PersonRemoval("ada", dry_run=False).remove_from_gallery(gallery))
    assert not folder.exists()


def test_no_pictures_are_kept_of_refused_photos(location: GalleryLocation, tmp_path: Path) -> None:
    kept = keep(location, "ada", upload(tmp_path, 1), ("copy.png", upload(tmp_path, 1)[1]))
    assert stored_pictures(location) == {kept[0]}


def test_without_cut_out_no_pictures_are_kept(location: GalleryLocation, tmp_path: Path) -> None:
    enrol_photos(location, "ada", [upload(tmp_path, 1)], NumberedFaces(), TOLERANCE)
    assert stored_pictures(location) == set()


def test_pictures_of_a_failed_enrolment_are_deleted(tmp_path: Path) -> None:
    class FailsToWrite(MemoryStore):
        def write_if(self, bucket: str, key: str, *args: Any, **kwargs: Any) -> None:
            if key == "gallery.npz":
                raise StoreUnavailable("down")
            super().write_if(bucket, key, *args, **kwargs)

    location = GalleryObject(FailsToWrite(), "g", "gallery.npz")
    with pytest.raises(StoreUnavailable):
        keep(location, "ada", upload(tmp_path, 1))
    assert stored_pictures(location) == set()


def test_forgetting_deletes_pictures_without_an_example(
    location: GalleryLocation, tmp_path: Path
) -> None:
    """They may be of the person: a killed command left them, or the photo was removed before."""
    (ada,) = keep(location, "ada", upload(tmp_path, 1))
    write_pictures(location, {"a1": b"\xff\xd8"})
    list(PersonRemoval("ben", dry_run=True).remove_from_gallery(location))
    assert stored_pictures(location) == {"a1", ada}
    list(PersonRemoval("ben", dry_run=False).remove_from_gallery(location))
    assert stored_pictures(location) == {ada}


class MayNotDelete(MemoryStore):
    def delete(self, bucket: str, key: str, version_id: str = "") -> None:
        raise StoreMisconfigured("deleting: refused with AccessDenied")


def test_pictures_that_may_not_be_deleted_do_not_count_as_deleted(tmp_path: Path) -> None:
    location = GalleryObject(MayNotDelete(), "g", "gallery.npz")
    (ada,) = keep(location, "ada", upload(tmp_path, 1))
    with pytest.raises(StoreMisconfigured):
        list(PersonRemoval("ada", dry_run=False).remove_from_gallery(location))
    assert stored_pictures(location) == {ada}
    assert parse_gallery(location.load()).examples_of("ada")  # so the removal can be repeated


class MayNotList(MemoryStore):
    def list_objects(self, bucket: str, prefix: str = "") -> Iterator[ObjectInfo]:
        raise StoreMisconfigured("listing: refused with AccessDenied")


def test_an_enrolment_lists_no_pictures_if_all_are_in_the_gallery(tmp_path: Path) -> None:
    """The list may have thousands of pictures, and the enrolment has succeeded already."""
    location = GalleryObject(MayNotList(), "g", "gallery.npz")
    kept = keep(location, "ada", upload(tmp_path, 1), ("copy.png", upload(tmp_path, 1)[1]))
    assert (bool(kept[0]), kept[1]) == (True, "")


def test_an_id_from_a_url_cannot_name_another_file(gallery: GalleryFile) -> None:
    gallery.save(render_gallery(Gallery(["ada"], np.zeros((1, 128)))))
    assert read_picture(gallery, "../gallery.npz") is None
    assert read_picture(gallery, "") is None


def test_a_folder_that_cannot_be_written_is_an_error_with_the_way_out(
    gallery: GalleryFile, tmp_path: Path
) -> None:
    gallery.path.with_name("gallery.npz.faces").write_text("in the way")
    with pytest.raises(GalleryError, match="KEEP_FACES=encodings"):
        keep(gallery, "ada", upload(tmp_path, 1))
    assert not gallery.path.exists()


def test_the_command_keeps_pictures_if_the_setting_asks_for_it(
    people: Path, gallery: GalleryFile, quick_faces: None
) -> None:
    person(people, "ada", 1)
    assert enrol(people, gallery, KEEP_FACES="none").exit_code == 0
    assert stored_pictures(gallery) == set()
    person(people, "ben", 2)
    assert enrol(people, gallery, KEEP_FACES="pictures", REPORT_BUCKET="reports").exit_code == 0
    assert len(stored_pictures(gallery)) == 1


def test_the_box_of_the_picture_is_that_of_the_upright_face(tmp_path: Path) -> None:
    boxes: list[Box] = []

    def cut(pixels: Pixels, box: Box) -> bytes:
        boxes.append(box)
        return face_jpeg(pixels, box)

    location = GalleryFile(tmp_path / "gallery.npz")
    photos = [upload(tmp_path, 1)]
    enrol_photos(location, "ada", photos, NumberedFaces(), TOLERANCE, cut_out=cut)
    assert boxes == [Box(0, 80, 80, 0)]
