"""Stored faces: what is kept, what can be asked of them, and which bytes are refused."""

from __future__ import annotations

import io
import json
import tracemalloc
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from rollcall.core.decision import DecisionRule
from rollcall.core.encoding_space import DLIB
from rollcall.core.errors import GalleryError
from rollcall.core.gallery import Gallery, empty_gallery
from rollcall.core.types import Box, Encodings, Face, FaceQuality, Recognition, Sighting
from rollcall.recognition.deciding import SearchFacts, decide
from rollcall.recognition.rematch import rematched
from rollcall.recognition.stored_faces import (
    FacesUnreadable,
    StoredFaces,
    parse_faces,
    render_faces,
    stored_faces,
)

JPEG = b"\xff\xd8\xff picture"
SHARP, SOFT = FaceQuality(120, 0.2, 0.1, 0.99), FaceQuality(60, 0.02, 0.3, 0.8)


def vector(place: int, extra: float = 0.0) -> Encodings:
    """An encoding; two of different places are far apart."""
    encoding = np.zeros(DLIB.size)
    encoding[place], encoding[place + 64] = 1.0, np.float32(extra)
    return encoding


GALLERY = Gallery(["alice", "bob"], np.array([vector(0), vector(1)]))
RULE = DecisionRule(DLIB, 0.6)


def face(encoding: Encodings | None, quality: FaceQuality = SHARP, left: int = 0) -> Face:
    problem = "blurred" if encoding is None else ""
    return Face(Box(10, left + 50, 60, left), np.zeros((5, 2)), quality, encoding, problem)


def recognised(
    faces: Sequence[tuple[float, Face]],
    followed: Sequence[int] = (),
    pictured: Sequence[int] = (),
) -> Recognition:
    """Recognise faces at these times, as a search does. One look at 9 s shows nobody."""
    matches = {
        id(each.encoding): GALLERY.nearest(each.encoding[None])[0]
        for _, each in faces
        if each.encoding is not None
    }
    sightings = tuple(
        Sighting(time_s, each, matches.get(id(each.encoding)), number in followed)
        for number, (time_s, each) in enumerate(faces)
    )
    looks_s = tuple(sorted({time_s for time_s, _ in faces} | {9.0}))
    facts = SearchFacts(looks_s, (2.04,), 10.5, len(looks_s), 1, 2, 2, None)
    recognition = decide(sightings, RULE, facts)
    return replace(recognition, pictures={number: JPEG + b"%d" % number for number in pictured})


def some_faces() -> Recognition:
    """Alice twice in one track, once followed; Bob; a stranger; a face that is too blurred."""
    alice = face(vector(0, 0.1))
    return recognised(
        [
            (1.0, face(vector(0, 0.2), SOFT)),
            (1.0, face(vector(5), left=200)),
            (2.0, alice),
            (2.0, face(None, left=300)),
            (3.0, replace(alice, box=Box(11, 51, 61, 1))),
            (3.0, face(vector(1), left=400)),
        ],
        followed=[4],
        pictured=[0, 1, 2, 5],
    )


def again(recognition: Recognition) -> StoredFaces:
    return parse_faces(render_faces(stored_faces(recognition, "etag", DLIB)))


def without_landmarks(recognition: Recognition) -> list[Any]:
    """Everything about the sightings that can be compared with `==`."""
    return [
        (s.time_s, s.face.box, s.face.quality, s.face.problem, s.match, s.followed)
        for s in recognition.sightings
    ]


def test_the_same_gallery_gives_exactly_the_same_recognition() -> None:
    recognition = some_faces()
    back = rematched(again(recognition), GALLERY, 0.6)
    assert back.people == recognition.people
    assert [person.name for person in back.people] == ["alice", "bob", ""]
    assert without_landmarks(back) == without_landmarks(recognition)
    assert (back.persons, back.tracks) == (recognition.persons, recognition.tracks)
    for name in ("coverage", "frames", "duration_s", "looks_s", "cuts_s", "status"):
        assert getattr(back, name) == getattr(recognition, name), name


def test_each_sighting_knows_its_person_and_its_track() -> None:
    recognition = some_faces()
    assert recognition.persons == (0, 2, 0, None, 0, 1)
    assert recognition.tracks == (0, 1, 0, None, 0, 2)


def test_encodings_are_kept_once_and_without_a_loss() -> None:
    stored = again(some_faces())
    assert stored.encodings.shape == (4, DLIB.size)  # the followed face has that of another look
    assert stored.rows.tolist() == [0, 1, 2, -1, 2, 3]
    assert stored.encodings[0].astype(float).tolist() == vector(0, 0.2).tolist()
    assert (stored.etag, stored.space) == ("etag", DLIB)


def test_another_gallery_gives_other_people() -> None:
    carol = Gallery(["carol"], np.array([vector(5)]))
    back = rematched(again(some_faces()), carol, 0.6)
    assert sorted(person.name for person in back.people) == ["", "", "carol"]
    assert not any(
        person.name for person in rematched(again(some_faces()), empty_gallery(), None).people
    )


def test_a_gallery_of_another_model_is_refused() -> None:
    other = Gallery(["carol"], np.ones((1, 4)), "other-model")
    with pytest.raises(GalleryError, match=r"encoded by dlib-resnet-1.*other-model.*again"):
        rematched(again(some_faces()), other, None)


def test_the_best_look_of_each_track_stands_for_a_person() -> None:
    stored = again(some_faces())
    encodings, times_s = stored.appearance_encodings(0)
    assert times_s == [2.0]  # the look at 1 s is softer
    assert encodings.tolist() == [vector(0, 0.1).tolist()]
    assert stored.appearance_encodings(99)[0].shape == (0, DLIB.size)


def test_at_most_five_encodings_of_one_person_are_used() -> None:
    # Seven tracks of one person: far from each other, all nearest to Alice.
    faces = [(float(n), face(vector(0) + 0.4 * vector(n + 10))) for n in range(7)]
    stored = again(recognised(faces))
    assert (stored.names, len(set(stored.tracks.tolist()))) == (("alice",), 7)
    assert stored.appearance_encodings(0)[0].shape == (5, DLIB.size)


def test_a_verdict_is_about_several_looks_at_a_face() -> None:
    looks = [(float(n), face(vector(0) + 0.04 * n * vector(9))) for n in range(8)]
    copies = [(n + 20.0, face(vector(0) + 0.04 * vector(9))) for n in range(3)]
    stored = again(recognised(looks + copies))
    assert len(set(stored.tracks.tolist())) == 1
    for count, expected in ((1, 1), (2, 2), (5, 5)):
        encodings, times_s = stored.verdict_encodings(0, count)
        assert encodings.shape == (expected, DLIB.size)
        assert len({encoding.tobytes() for encoding in encodings}) == expected
        assert times_s == sorted(times_s)
    encodings, _ = again(recognised(copies)).verdict_encodings(0, 5)
    assert len(encodings) == 1
    assert stored.verdict_encodings(99, 5)[0].shape == (0, DLIB.size)


def test_a_search_needs_a_small_part_of_the_faces() -> None:
    unknown = [(float(n), face(vector(7))) for n in range(50)]
    tracks = [(60.0 + n, face(vector(0) + 0.4 * vector(n + 10))) for n in range(7)]
    for stored in (again(recognised(unknown + tracks)), again(some_faces()), again(recognised([]))):
        part = stored.for_search()
        assert len(part) <= 8
        assert (part.names, part.jpegs) == (stored.names, ())
        for number in range(len(stored.names)):
            encodings, times_s = stored.appearance_encodings(number)
            found, found_s = part.appearance_encodings(number)
            assert found_s == times_s
            assert found.tolist() == encodings.tolist()
        assert not_of_unknown(part) == not_of_unknown(stored)


def not_of_unknown(stored: StoredFaces) -> set[bytes]:
    """The encodings of all faces that show no unknown person."""
    people = zip(stored.persons.tolist(), stored.rows.tolist(), strict=True)
    rows = {row for person, row in people if row >= 0 and (person < 0 or stored.names[person])}
    return {stored.encodings[row].tobytes() for row in rows}


def test_pictures_are_found_by_person_and_time() -> None:
    stored = again(some_faces())
    assert stored.picture_of(0) == JPEG + b"2"  # the sharpest
    assert stored.picture_of(0, near_s=0.5) == JPEG + b"0"
    assert stored.picture_of(1) == JPEG + b"5"
    assert [(each.sighting, each.time_s, each.person) for each in stored.pictures()] == [
        (0, 1.0, 0),
        (1, 1.0, 2),
        (2, 2.0, 0),
        (5, 3.0, 1),
    ]
    assert again(recognised([])).picture_of(0) is None


def test_a_new_decision_renumbers_the_people() -> None:
    stored = again(some_faces())
    carol = Gallery(["carol"], np.array([vector(5)]))
    changed = stored.with_people_of(rematched(stored, carol, 0.6))
    carol_number = changed.names.index("carol")
    assert changed.persons.tolist()[1] == carol_number
    assert parse_faces(render_faces(changed)).names == changed.names


def test_a_forgotten_person_leaves_no_encoding_and_no_picture() -> None:
    stored, count = again(some_faces()).without("alice")
    back = parse_faces(render_faces(stored))
    assert count == 3
    assert back.names == ("bob", "")
    assert back.persons.tolist() == [1, -1, 0]
    assert back.encodings.tolist() == [vector(5).tolist(), vector(1).tolist()]
    assert [picture.jpeg for picture in back.pictures()] == [JPEG + b"1", JPEG + b"5"]
    assert [person.name for person in rematched(back, GALLERY, 0.6).people] == ["bob", ""]


def test_nobody_is_removed_by_another_name_or_as_unknown() -> None:
    stored = again(some_faces())
    for name in ("carol", ""):
        assert stored.without(name) == (stored, 0)


def test_a_video_without_faces_has_stored_faces_too() -> None:
    stored = again(recognised([]))
    assert (len(stored), stored.names, list(stored.pictures())) == (0, (), [])
    assert rematched(stored, GALLERY, None).status == "no_face"


# --- bytes from somebody else


def changed_arrays(**changes: Any) -> bytes:
    """The file with other arrays; None leaves one out."""
    with np.load(io.BytesIO(render_faces(stored_faces(some_faces(), "etag", DLIB)))) as file:
        arrays = {**file, **changes}
    out = io.BytesIO()
    np.savez(out, **{name: array for name, array in arrays.items() if array is not None})
    return out.getvalue()


def changed_facts(**changes: Any) -> bytes:
    with np.load(io.BytesIO(render_faces(stored_faces(some_faces(), "etag", DLIB)))) as file:
        document = {**json.loads(file["facts"].tobytes()), **changes}
    return changed_arrays(facts=np.frombuffer(json.dumps(document).encode(), np.uint8))


def compressed() -> bytes:
    out = io.BytesIO()
    np.savez_compressed(out, zeros=np.zeros(1 << 20))
    return out.getvalue()


def with_wrong_header() -> bytes:
    """The header of one array claims a terabyte. Its checksum is right."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(changed_arrays())) as source, zipfile.ZipFile(out, "w") as copy:
        for item in source.infolist():
            content = source.read(item)
            claimed = b"'shape': (33333333333, 4), }"
            if item.filename == "qualities.npy":
                content = content.replace(b"'shape': (6, 4), }" + b" " * 10, claimed)
                assert claimed in content
            copy.writestr(item.filename, content)
    return out.getvalue()


REFUSED: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "not a ZIP": lambda: b"PK" + bytes(1000),
    "cut off": lambda: render_faces(stored_faces(some_faces(), "etag", DLIB))[:-100],
    "compressed": compressed,
    "wrong header": with_wrong_header,
    "an array too few": lambda: changed_arrays(rows=None),
    "an array too many": lambda: changed_arrays(more=np.zeros(3)),
    "a pickle": lambda: changed_arrays(rows=np.array([{}] * 6)),
    "too few rows": lambda: changed_arrays(rows=np.zeros(5, np.int32)),
    "row out of range": lambda: changed_arrays(rows=np.array([0, 1, 2, -1, 9, 3], np.int32)),
    "unjudged face with a row": lambda: changed_arrays(rows=np.array([0, 1, 2, 3, 2, 3], np.int32)),
    "person out of range": lambda: changed_arrays(persons=np.full(6, 3, np.int32)),
    "NaN": lambda: changed_arrays(encodings=np.full((4, DLIB.size), np.nan, np.float32)),
    "huge numbers": lambda: changed_arrays(encodings=np.full((4, DLIB.size), 1e9, np.float32)),
    "double precision": lambda: changed_arrays(encodings=np.zeros((4, DLIB.size))),
    "time without a look": lambda: changed_arrays(times_s=np.full(6, 1.5)),
    "times out of order": lambda: changed_arrays(times_s=np.array([3, 3, 2, 2, 1, 1.0])),
    "looks out of order": lambda: changed_arrays(looks_s=np.array([9, 3, 2, 1.0])),
    "picture sizes": lambda: changed_arrays(jpeg_bytes=np.full(4, 99, np.int32)),
    "negative picture size": lambda: changed_arrays(jpeg_bytes=np.array([-11, 33, 11, 11], "<i4")),
    "not a JPEG": lambda: changed_arrays(
        jpegs=np.frombuffer(b"<script>..." * 4, np.uint8), jpeg_bytes=np.full(4, 11, np.int32)
    ),
    "picture of no face": lambda: changed_arrays(pictured=np.array([0, 1, 2, 6], np.int32)),
    "no JSON": lambda: changed_arrays(facts=np.frombuffer(b"{", np.uint8)),
    "deep JSON": lambda: changed_arrays(facts=np.frombuffer(b"[" * 100_000, np.uint8)),
    "other format": lambda: changed_facts(format="rollcall-faces-9"),
    "negative duration": lambda: changed_facts(duration_s=-1),
    "frames as text": lambda: changed_facts(frames="3"),
    "names as numbers": lambda: changed_facts(names=[1, 2, 3]),
    "unknown space field": lambda: changed_facts(space={"name": "x", "colour": 1}),
    "tolerance as text": lambda: changed_facts(space={**DLIB_FIELDS, "tolerance": "0.6"}),
    "spread of infinity": lambda: changed_facts(
        space={**DLIB_FIELDS, "strangers": [float("inf"), 0.1]}
    ),
    "tolerance of infinity": lambda: changed_facts(
        space={**json.loads(json.dumps(DLIB_FIELDS)), "tolerance": float("inf")}
    ),
}
DLIB_FIELDS = {
    "name": "dlib-resnet-1",
    "size": 128,
    "tolerance": 0.6,
    "same_face_distance": 0.45,
    "clear_margin": 0.1,
    "min_margin": 0.02,
    "strangers": None,
    "same_person": None,
}


@pytest.mark.parametrize("name", REFUSED)
def test_other_bytes_are_refused(name: str) -> None:
    with pytest.raises(FacesUnreadable, match="not stored faces in Rollcall's format: "):
        parse_faces(REFUSED[name]())


def test_pictures_that_share_bytes_take_no_memory() -> None:
    large = 1 << 20
    sizes = [large - 1, 1 - large] * 100 + [large]
    jpegs = np.frombuffer(b"\xff\xd8\xff" + bytes(large - 3), np.uint8)
    body = changed_arrays(jpegs=jpegs, jpeg_bytes=np.array(sizes, np.int32))
    tracemalloc.start()
    try:
        with pytest.raises(FacesUnreadable):
            parse_faces(body)
        assert tracemalloc.get_traced_memory()[1] < 10 * large
    finally:
        tracemalloc.stop()


def test_the_changed_files_are_refused_for_their_change_alone() -> None:
    assert len(parse_faces(changed_arrays())) == 6
    assert parse_faces(changed_facts(space=DLIB_FIELDS)).space.strangers is None


def test_the_file_has_no_compressed_member_and_no_pickle() -> None:
    body = render_faces(stored_faces(some_faces(), "etag", DLIB))
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        assert {item.compress_type for item in archive.infolist()} == {zipfile.ZIP_STORED}
    with np.load(io.BytesIO(body), allow_pickle=False) as file:
        assert not any(array.dtype.hasobject for array in file.values())


@pytest.mark.parametrize("seed", range(200))
def test_values_that_are_accepted_can_be_used(seed: int) -> None:
    """One column gets random values. The file is refused, or everything can be asked of it."""
    chance = np.random.default_rng(seed)
    with np.load(io.BytesIO(render_faces(stored_faces(some_faces(), "etag", DLIB)))) as file:
        arrays = dict(file)
    name = str(chance.choice(sorted(arrays.keys() - {"facts", "jpegs"})))
    column = arrays[name].copy()
    places = chance.random(column.shape) < 0.4
    values = chance.choice([-2, -1, 0, 1, 2, 3, 5, 9, 1e5], column.shape)
    with np.errstate(invalid="ignore"):
        column[places] = values[places].astype(column.dtype)
    try:
        stored = parse_faces(changed_arrays(**{name: column}))
    except FacesUnreadable:
        return
    recognition = rematched(stored, GALLERY, None)
    assert len(stored.with_people_of(recognition).persons) == len(recognition.sightings)
    for number in range(len(stored.names)):
        stored.appearance_encodings(number)
        stored.picture_of(number, near_s=1.0)
    rest, _ = stored.without("alice")
    rematched(parse_faces(render_faces(rest)), GALLERY, None)
