"""KEEP_FACES: what lies beside a report, and that it gives the same people again."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from support.home import IN, REPORTS, Home, decoders, make_home
from support.scenes import Scene, come_and_go, one_after_another, tiles
from support.videos import paint_video, painted_gallery

from rollcall.core.errors import NotAVideo, ObjectNotFound, StoreUnavailable
from rollcall.core.sampling import SCANS
from rollcall.core.settings import Settings
from rollcall.core.stopwatch import Stopwatch
from rollcall.core.types import VideoLimits, VideoRef
from rollcall.faces.face_jpeg import face_jpeg
from rollcall.gallery.gallery_formats import parse_gallery
from rollcall.recognition import picture_book
from rollcall.recognition.recogniser import Recogniser
from rollcall.recognition.rematch import rematched
from rollcall.recognition.stored_faces import (
    StoredFaces,
    parse_faces,
    render_faces,
    stored_faces,
)
from rollcall.video.video_files import WholeFile
from rollcall.wiring import build_engine

FACES, REPORT = "a.mp4.faces.npz", "a.mp4.json"


def run(home: Home) -> dict[str, Any]:
    return home.pipeline.run(VideoRef(IN, "a.mp4"))


def report_of(home: Home) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(home.store.read(REPORTS, REPORT, 1 << 20))
    return document


def stored_in(home: Home) -> StoredFaces:
    return parse_faces(home.store.read(REPORTS, FACES, 1 << 24))


def keys(home: Home) -> list[str]:
    return [info.key for info in home.store.list_objects(REPORTS)]


# --- the pipeline


def test_by_default_nothing_is_stored_of_faces(home: Home, tmp_path: Path) -> None:
    home.put("a.mp4", paint_video(tmp_path / "a.mp4", ["red"]))
    assert run(home)["kept"] == "none"
    assert report_of(home)["kept"] == "none"
    assert keys(home) == [REPORT]


@pytest.mark.parametrize("keep", ["encodings", "pictures"])
def test_faces_are_stored_beside_the_report(keep: str, tmp_path: Path) -> None:
    home = make_home(KEEP_FACES=keep, SCAN="timeline")
    video = paint_video(tmp_path / "a.mp4", ["red", "green"], ["blue"], frames_each=30)
    etag = home.put("a.mp4", video)
    answer, report, stored = run(home), report_of(home), stored_in(home)
    assert (answer["kept"], report["kept"]) == (keep, keep)
    assert keys(home) == [FACES, REPORT]
    assert stored.etag == etag
    names = [person["name"] for person in report["people"]]
    assert [name or "unknown" for name in stored.names] == names
    assert sorted(names) == ["alice", "bob", "unknown"]
    assert [face["person"] for face in report["faces"]] == stored.persons.tolist()
    assert [face["time_s"] for face in report["faces"]] == [
        round(time_s, 3) for time_s in stored.times_s.tolist()
    ]
    numbers = range(3) if keep == "pictures" else ()
    assert {picture.person for picture in stored.pictures()} == set(numbers)


def test_a_stored_video_gives_the_same_answer_again(tmp_path: Path) -> None:
    home = make_home(KEEP_FACES="encodings", SCAN="timeline")
    scenes = ["red"], ["red", "green"], ["blue", "green"], []
    home.put("a.mp4", paint_video(tmp_path / "a.mp4", *scenes, frames_each=30))
    answer = run(home)
    back = rematched(stored_in(home), home.pipeline.galleries.current(), None)
    people = [
        [person.name or "unknown", person.frames, [list(pair) for pair in person.intervals]]
        for person in back.people
    ]
    assert people == [
        [person["name"], person["frames"], [pytest.approx(pair, abs=0.01) for pair in intervals]]
        for person in answer["people"]
        for intervals in [person["intervals"]]
    ]


def test_a_stranger_gets_a_name_without_decoding(tmp_path: Path) -> None:
    home = make_home(KEEP_FACES="encodings")
    home.put("a.mp4", paint_video(tmp_path / "a.mp4", ["green"]))
    assert run(home)["status"] == "unknown"
    carol = painted_gallery(alice="red", bob="blue", carol="green")
    assert [person.name for person in rematched(stored_in(home), carol, None).people] == ["carol"]


def test_pictures_show_the_face_with_some_surroundings(tmp_path: Path) -> None:
    home = make_home(KEEP_FACES="pictures", SCAN="timeline")
    home.put("a.mp4", paint_video(tmp_path / "a.mp4", ["red", "blue"], frames_each=30))
    run(home)
    stored = stored_in(home)
    for number, name in enumerate(stored.names):
        jpeg = stored.picture_of(number)
        assert jpeg is not None
        pixels = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR_RGB)
        height, width = pixels.shape[:2]
        assert height == width == 64  # 1.6 times the 40 px of the painted face
        channel = {"alice": 0, "bob": 2}[name]
        assert pixels[height // 2, width // 2].argmax() == channel
        assert np.ptp(pixels[-2, width // 2].astype(int)) < 60  # grey surroundings


@pytest.mark.parametrize("fails", [False, True])
def test_faces_of_an_earlier_upload_are_deleted(fails: bool, tmp_path: Path) -> None:
    home = make_home(KEEP_FACES="encodings")
    home.put("a.mp4", paint_video(tmp_path / "a.mp4", ["red"]))
    run(home)
    assert keys(home) == [FACES, REPORT]
    later = make_home()
    later.pipeline = make_home_on(home, KEEP_FACES="none")
    if fails:
        home.put("a.mp4", b"no video")
        with pytest.raises(NotAVideo):
            run(later)
    else:
        run(later)
    assert keys(home) == [REPORT]


def make_home_on(home: Home, **values: str) -> Any:
    """A pipeline with other settings and the stores of this home."""
    other = make_home(**values).pipeline
    return type(other)(other.settings, home.store, home.students, other.recogniser, other.galleries)


def test_a_bucket_without_room_for_faces_fails_no_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    home = make_home(KEEP_FACES="encodings")
    home.put("a.mp4", paint_video(tmp_path / "a.mp4", ["red"]))
    write = home.store.write

    def refuse(bucket: str, key: str, *rest: Any) -> None:
        if key == FACES:
            raise StoreUnavailable("the bucket is full")
        write(bucket, key, *rest)

    monkeypatch.setattr(home.store, "write", refuse)
    with caplog.at_level(logging.ERROR):
        assert run(home)["kept"] == "none"
    assert report_of(home)["kept"] == "none"
    assert "cannot store the faces of 'a.mp4': the bucket is full; make the bucket" in caplog.text


def test_the_report_follows_the_faces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A report that says `encodings` must never lie beside nothing."""
    home = make_home(KEEP_FACES="encodings")
    home.put("a.mp4", paint_video(tmp_path / "a.mp4", ["red"]))
    written: list[str] = []
    write = home.store.write
    monkeypatch.setattr(
        home.store,
        "write",
        lambda bucket, key, *rest: written.append(key) or write(bucket, key, *rest),
    )
    run(home)
    assert written == ["a.csv", FACES, REPORT]


def test_too_many_faces_are_not_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = make_home(KEEP_FACES="encodings")
    home.put("a.mp4", paint_video(tmp_path / "a.mp4", ["red"]))
    monkeypatch.setattr("rollcall.recognition.stored_faces.MAX_FACES_BYTES", 100)
    assert run(home)["kept"] == "none"
    with pytest.raises(ObjectNotFound):
        home.store.head(REPORTS, FACES)


# --- pictures during a search


def test_every_track_has_a_picture_though_few_are_collected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(picture_book, "MAX_COLLECTED", 6)
    monkeypatch.setattr(picture_book, "MAX_PICTURES", 3)
    home = make_home(KEEP_FACES="pictures", SCAN="timeline")
    scenes = [["red"], ["blue"], ["green"], ["red", "green"]]
    # At one second each nothing is followed, because the faces move from scene to scene.
    home.put("a.mp4", paint_video(tmp_path / "a.mp4", *scenes, *scenes, frames_each=15))
    run(home)
    stored = stored_in(home)
    pictured = stored.tracks[stored.pictured].tolist()
    assert sorted(pictured) == sorted(set(stored.tracks.tolist()))


# --- rendered people


def recogniser(scan: str) -> Recogniser:
    limits = VideoLimits(Settings().max_video_s, Settings().max_video_px)
    engine = build_engine(Settings())
    return Recogniser(
        decoders(limits).open,
        engine,
        tolerance=None,
        scan=SCANS[scan],
        max_s=600,
        cut_out=face_jpeg,
    )


def nine_people() -> Scene:
    return tiles(3, (1280, 720))


@pytest.mark.parametrize(
    ("made", "scan"),
    [(come_and_go, "timeline"), (one_after_another, "auto"), (nine_people, "identify")],
)
def test_rendered_people_are_exactly_the_same_again(
    made: Callable[[], Scene], scan: str, known_people: Path, tmp_path: Path
) -> None:
    gallery = parse_gallery(known_people.read_bytes())
    file = WholeFile(made().write(tmp_path / "scene.mp4"))
    first = recogniser(scan)
    recognition = first.recognise(file, gallery, Stopwatch())
    assert [person.name for person in recognition.people if person.name]
    stored = parse_faces(render_faces(stored_faces(recognition, "etag", first.engine.space)))
    again = rematched(stored, gallery, None)
    assert again.people == recognition.people
    assert again.persons == recognition.persons
    assert again.coverage == recognition.coverage
    assert [s.match for s in again.sightings] == [s.match for s in recognition.sightings]
    with_picture = {picture.person for picture in stored.pictures()}
    assert with_picture == set(range(len(recognition.people)))
