"""Photos that are enrolled, photos that are refused, and the message for each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from support.gallery_commands import LARGE_FACE
from support.pictures import astronaut, cat, resized

from rollcall.core.encoding_space import DLIB
from rollcall.core.errors import GalleryError, PhotoError
from rollcall.core.gallery import Gallery, empty_gallery
from rollcall.core.types import DetectedFace, Encodings, Pixels
from rollcall.core.verdicts import FaceSource, Verdict
from rollcall.faces.engine import Engine, default_engine
from rollcall.gallery.enrolment import Enrolment, enrol

TOLERANCE = 0.6


@pytest.fixture(scope="module")
def engine() -> Engine:
    return default_engine(Path.home() / ".cache" / "rollcall")


def portrait() -> Pixels:
    """Return a picture that is 280 pixels high, with a face that is 95 pixels wide."""
    return np.ascontiguousarray(astronaut()[:280, 80:380])


def enrolled(engine: Engine, **pictures: Pixels) -> Enrolment:
    photos = {Path(f"{name}.png"): pixels for name, pixels in pictures.items()}
    return enrol(empty_gallery(), "eileen", photos, engine, photos.__getitem__, TOLERANCE)


def distance(done: Enrolment, engine: Engine) -> float:
    (whole,) = engine.encode(portrait(), engine.detect(portrait()))
    return float(np.linalg.norm(done.gallery.encodings[0] - whole))


@pytest.mark.parametrize("width", [40, 70, 110, 140])
def test_a_small_face_is_refused(engine: Engine, width: int) -> None:
    pixels = portrait()
    done = enrolled(
        engine, small=resized(pixels, width, width * pixels.shape[0] // pixels.shape[1])
    )
    assert done.added == 0
    (reason,) = done.refused
    assert "'small.png'" in reason
    assert "pixels wide, and 50 are needed" in reason or "no face was found" in reason


def test_a_face_of_seventy_pixels_is_enrolled(engine: Engine) -> None:
    done = enrolled(engine, fair=resized(portrait(), 220, 205))
    assert (done.added, done.refused) == (1, [])
    assert distance(done, engine) < 0.2


@pytest.mark.parametrize("noise", [0.0, 8.0])
def test_a_blurred_face_is_refused(engine: Engine, noise: float) -> None:
    soft = cv2.GaussianBlur(portrait().astype(float), (0, 0), 3)
    soft = soft + np.random.default_rng(1).normal(0, noise, soft.shape)
    done = enrolled(engine, soft=np.clip(soft, 0, 255).astype(np.uint8))
    assert done.added == 0
    (reason,) = done.refused
    assert "'soft.png' cannot be enrolled: the face is blurred" in reason


@pytest.mark.parametrize("shade", [0.15, 1.0])
@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_photo_that_is_not_upright_is_turned(engine: Engine, quarters: int, shade: float) -> None:
    turned = np.ascontiguousarray(np.rot90((portrait() * shade).astype(np.uint8), quarters))
    done = enrolled(engine, turned=turned)
    assert (done.added, done.refused) == (1, [])
    assert done.notes == ["'turned.png': it was sideways or upside down, and was turned upright"]
    assert done.outcomes[0].kind == "turned upright"
    assert distance(done, engine) < 0.35


def test_good_photos_are_enrolled_and_each_bad_one_gets_a_reason(engine: Engine) -> None:
    two = np.hstack([portrait()] * 2)
    done = enrolled(engine, cat=cat(), good=portrait(), two=two, tiny=resized(portrait(), 60, 56))
    assert (done.added, done.gallery.people) == (1, ("eileen",))
    assert ["cat.png" in done.refused[0], "two.png" in done.refused[1]] == [True, True]
    assert ("no face was found" in done.refused[0], "2 faces" in done.refused[1]) == (True, True)
    assert "tiny.png" in done.refused[2]


def test_the_same_picture_counts_once(engine: Engine) -> None:
    photos = {Path("a.png"): portrait(), Path("copy.png"): portrait()}
    given = [Path("a.png"), Path("copy.png"), Path("a.png")]
    done = enrol(empty_gallery(), "eileen", given, engine, photos.__getitem__, TOLERANCE)
    assert (done.added, done.refused, done.warnings) == (1, [], [])
    assert "'copy.png': it is a picture that eileen already has" in done.notes[0]
    assert "'a.png': it was given twice" in done.notes[1]
    assert [each.kind for each in done.outcomes] == ["enrolled", "duplicate", "duplicate"]
    again = enrol(done.gallery, "eileen", given, engine, photos.__getitem__, TOLERANCE)
    assert (again.added, len(again.gallery), again.refused) == (0, 1, [])


# --- whose face is in a photo: the encodings are given, so no real picture is needed


def at(*coordinates: float) -> Encodings:
    point = np.zeros(DLIB.size)
    point[: len(coordinates)] = coordinates
    return point


class Points:
    """FaceEngine that knows the encoding of each photo. All faces are large and sharp."""

    name = "points"
    space = DLIB

    def __init__(self, points: Mapping[str, Encodings]) -> None:
        self.points = dict(points)
        board = np.kron(np.indices((8, 8)).sum(axis=0) % 2, np.ones((10, 10))) * 255
        self._picture = np.repeat(board[:, :, None], 3, axis=2).astype(np.uint8)

    def read(self, photo: Path) -> Pixels:
        if str(photo) not in self.points:
            raise PhotoError(f"{str(photo)!r} is not a picture")
        pixels = self._picture.copy()
        pixels[0, 0, 0] = list(self.points).index(str(photo))
        return pixels

    def detect(self, pixels: Pixels) -> tuple[DetectedFace, ...]:
        return (LARGE_FACE,)

    def encode(self, pixels: Pixels, faces: Sequence[DetectedFace]) -> Encodings:
        return np.array([list(self.points.values())[pixels[0, 0, 0]] for _ in faces])


BOB = Gallery(["bob", "carol"], np.array([at(1.0), at(0.0, 5.0)]))


def decided(known: Gallery, name: str = "ada", **points: Encodings) -> Enrolment:
    engine = Points(points)
    return enrol(known, name, map(Path, points), engine, engine.read, TOLERANCE)


def test_a_photo_of_somebody_else_in_the_gallery_is_refused() -> None:
    done = decided(BOB, a=at(), b=at(0.1), wrong=at(1.1), c=at(0.2))
    assert done.refused == [
        "'wrong' cannot be enrolled: it shows bob (distance 0.10) rather than ada (distance 0.90)"
    ]
    assert done.added == 3
    assert len(done.gallery.encodings_of("bob")) == 1


def test_enrolled_photos_outweigh_new_ones() -> None:
    known = Gallery(["ada", "ada", "bob"], np.array([at(), at(0.1), at(1.0)]))
    done = decided(known, x=at(1.05), y=at(1.1))
    assert (done.added, len(done.refused), done.gallery) == (0, 2, known)


def test_a_photo_far_from_the_others_gets_a_warning_with_its_distance() -> None:
    done = decided(empty_gallery(), a=at(), odd=at(0.0, 0.0, 0.9), b=at(0.1))
    assert done.added == 3
    (warning,) = done.warnings
    assert "'odd': far from the other photos of ada (distance 0.90); make sure" in warning


def test_a_chain_of_photos_is_one_person() -> None:
    """The two ends of the chain are too far apart to be recognised as one person."""
    done = decided(empty_gallery(), young=at(), middle=at(0.5), old=at(1.0))
    assert (done.added, done.warnings) == (3, [])


def test_the_warning_about_a_lookalike_names_photo_and_distance() -> None:
    done = decided(BOB, photo=at(0.5))
    (warning,) = done.warnings
    alike = "ada and bob look alike (distance 0.50) and may be confused; add more photos of both"
    expected = f"'photo': {alike}"
    assert (done.added, warning) == (1, expected)


def test_twins_are_enrolled_with_a_warning() -> None:
    done = decided(BOB, photo=at(0.98))
    assert (done.added, done.outcomes[0].kind) == (1, "two names")
    assert "ada and bob look like one person (distance 0.02" in done.warnings[0]


def test_a_face_that_got_another_name_later_refuses_no_photo() -> None:
    """Somebody said "is ben" about a face of ada, and then "is ada"."""
    known, face = Gallery(["ada", "ben"], np.array([at(0), at(0, 5)])), at(0.9)
    for name in ("ben", "ada"):
        known = known.with_verdict(Verdict(name, "is", name, face[None], (FaceSource(),)))
    done = decided(known, photo=at(0.95))
    assert (done.added, done.refused, done.warnings) == (1, [], [])
    done = decided(known, "ben", photo=at(0.95))
    assert (done.added, len(done.refused)) == (0, 1)


def test_a_picture_of_somebody_else_is_refused() -> None:
    done = decided(BOB, photo=at(1.0))
    assert (done.added, done.outcomes[0].kind) == (0, "two names")
    assert done.refused == [
        "'photo' cannot be enrolled: it is a picture of bob; one face cannot have two names; if"
        " that is wrong, remove it there first"
    ]


def test_a_good_photo_far_from_everybody_gets_no_warning() -> None:
    done = decided(BOB, photo=at(0.0, 0.0, 2.0))
    assert (done.added, done.warnings, done.notes, done.refused) == (1, [], [], [])


def test_both_spellings_of_a_name_are_one_person() -> None:
    known = Gallery(["Zo\u00eb"], at()[None])
    done = decided(known, "Zoe\u0308", photo=at(0.3))
    assert (done.gallery.people, done.warnings) == (("Zo\u00eb",), [])


@pytest.mark.parametrize("name", ["", "unknown", "a\u202eb"])
def test_a_name_that_nobody_can_have_is_refused_before_photos_are_read(name: str) -> None:
    def unread(photo: Path) -> Pixels:
        raise AssertionError(photo)

    with pytest.raises(GalleryError):
        enrol(BOB, name, [Path("a")], Points({}), unread, TOLERANCE)


def test_an_unreadable_photo_does_not_prevent_the_others() -> None:
    engine: Points = Points({"a": at()})
    photos: Callable[[Path], Pixels] = engine.read
    done = enrol(BOB, "ada", [Path("missing"), Path("a")], engine, photos, TOLERANCE)
    assert (done.added, done.refused) == (1, ["'missing' is not a picture"])
