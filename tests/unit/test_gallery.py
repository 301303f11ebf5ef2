"""The search for the person nearest to a face."""

from __future__ import annotations

import re
import tokenize
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import rollcall.core
from rollcall.core.encoding_space import DLIB, EncodingSpace
from rollcall.core.errors import GalleryError, NameRefused
from rollcall.core.gallery import Gallery, empty_gallery
from rollcall.core.names import MAX_NAME_CHARS, UNKNOWN, checked_name
from rollcall.core.types import Match


def at(*coordinates: float) -> np.ndarray:
    """An encoding that begins with these numbers; the others are 0."""
    point = np.zeros(DLIB.size)
    point[: len(coordinates)] = coordinates
    return point


def gallery(*people: tuple[str, np.ndarray]) -> Gallery:
    return Gallery([name for name, _ in people], np.array([point for _, point in people]))


def nearest(found: Gallery, point: np.ndarray) -> Match:
    (match,) = found.nearest(point[None])
    assert match is not None
    return match


def test_nearest_person_distance_and_margin() -> None:
    match = nearest(gallery(("bob", at(1.0)), ("alice", at(0.0, 0.3))), at())
    assert match.name == "alice"
    assert match.distance == pytest.approx(0.3)
    assert match.margin == pytest.approx(0.7)


def test_person_is_as_near_as_the_nearest_of_their_encodings() -> None:
    found = gallery(("bob", at(0.5)), ("alice", at(3.0)), ("bob", at(2.0)), ("alice", at(0.2)))
    match = nearest(found, at())
    assert match == Match("alice", pytest.approx(0.2), pytest.approx(0.3))


def test_margin_is_to_another_person_not_to_another_encoding() -> None:
    match = nearest(gallery(("alice", at(0.1)), ("alice", at(0.2)), ("bob", at(0.9))), at())
    assert match.margin == pytest.approx(0.8)


@pytest.mark.parametrize("count", [1, 3])
def test_a_single_person_has_infinite_margin(count: int) -> None:
    assert nearest(gallery(*[("alice", at(0.1))] * count), at()).margin == float("inf")


def test_empty_gallery_matches_nobody() -> None:
    found = empty_gallery()
    assert len(found) == 0
    assert found.people == ()
    assert found.nearest(np.zeros((2, DLIB.size))) == [None, None]


def test_without_faces_there_are_no_matches() -> None:
    empty = np.empty((0, DLIB.size))
    assert gallery(("alice", at())).nearest(empty) == []
    assert empty_gallery().nearest(empty) == []


def test_one_match_for_each_face_in_order() -> None:
    found = gallery(("alice", at(0.0)), ("bob", at(1.0)))
    matches = found.nearest(np.array([at(0.9), at(0.1), at(1.0)]))
    assert [match.name for match in matches if match] == ["bob", "alice", "bob"]


def test_an_encoding_of_the_gallery_is_at_distance_0() -> None:
    points = np.random.default_rng(1).normal(0, 0.12, (50, DLIB.size))
    found = Gallery([f"p{index}" for index in range(50)], points)
    for index, match in enumerate(found.nearest(points)):
        assert match is not None
        assert match.name == f"p{index}"
        assert match.distance == pytest.approx(0, abs=1e-6)


def brute_force(names: Sequence[str], points: np.ndarray, face: np.ndarray) -> Match:
    distances = np.sqrt(((points - face) ** 2).sum(axis=1))
    best = {
        name: min(d for n, d in zip(names, distances, strict=True) if n == name) for name in names
    }
    name = min(best, key=lambda each: best[each])
    others = [distance for other, distance in best.items() if other != name]
    return Match(name, best[name], min(others, default=np.inf) - best[name])


@given(
    st.lists(st.sampled_from(["zoe", "alice", "Bob", "é", "a b"]), min_size=1, max_size=12),
    st.integers(0, 2**32),
)
def test_agrees_with_brute_force(names: list[str], seed: int) -> None:
    random = np.random.default_rng(seed)
    points = random.normal(0, 0.12, (len(names), DLIB.size))
    faces = random.normal(0, 0.12, (4, DLIB.size))
    for face, match in zip(faces, Gallery(names, points).nearest(faces), strict=True):
        expected = brute_force(names, points, face)
        assert match is not None
        assert match.name == expected.name
        assert match.distance == pytest.approx(expected.distance)
        assert match.margin == pytest.approx(expected.margin)


# --- names and encodings that a gallery refuses

BAD_NAMES = ["", "  ", "\t", "a\nb", "a\x00", "\ud800", "\u202ealice", UNKNOWN, "x" * 257]


@pytest.mark.parametrize("name", BAD_NAMES, ids=ascii)
def test_bad_names_are_refused(name: str) -> None:
    with pytest.raises(GalleryError):
        checked_name(name)
    with pytest.raises(GalleryError):
        gallery(("alice", at()), (name, at()))


@pytest.mark.parametrize("name", [None, 7, b"alice", ["alice"], ("alice",)])
def test_a_name_that_is_not_text_is_refused(name: object) -> None:
    with pytest.raises(GalleryError, match="name 1 of the gallery") as caught:
        Gallery([name], at()[None])  # type: ignore[list-item]
    assert "text" in str(caught.value.__cause__)


def test_a_nested_list_as_a_name_is_not_printed() -> None:
    name: list[object] = []
    for _ in range(100):
        name = [name, name]
    with pytest.raises(GalleryError, match="list"):
        checked_name(name)


@pytest.mark.parametrize("name", ["é", "王小明", "O'Neil, Bob", "x" * MAX_NAME_CHARS, "Unknown"])
def test_good_names_are_accepted(name: str) -> None:
    assert gallery((name, at())).people == (name,)


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_numbers_have_to_be_finite(number: float) -> None:
    with pytest.raises(GalleryError, match="finite"):
        gallery(("alice", at(0.1)), ("bob", at(0.1, number)))


@pytest.mark.parametrize(
    "shape", [(2, 128), (0, 128), (1, 127), (1, 129), (128,), (1, 128, 1), (1, 0), ()]
)
def test_each_name_needs_one_row_of_128_numbers(shape: tuple[int, ...]) -> None:
    with pytest.raises(GalleryError, match="shape"):
        Gallery(["alice"], np.zeros(shape))


@pytest.mark.parametrize("dtype", ["i8", "u1", "?", "c16", "U1", "O", "M8[s]"])
def test_encodings_have_to_be_floats(dtype: str) -> None:
    with pytest.raises(GalleryError):
        Gallery(["alice"], np.zeros((1, DLIB.size)).astype(dtype))


def test_float32_becomes_float64() -> None:
    found = Gallery(["alice"], at(0.5)[None].astype("f4"))  # type: ignore[arg-type]
    assert found.encodings.dtype == np.float64
    assert np.array_equal(found.encodings, at(0.5)[None])


def test_encodings_cannot_be_changed_afterwards() -> None:
    with pytest.raises(ValueError, match="read-only"):
        gallery(("alice", at())).encodings[0, 0] = 1.0


# --- version, and one more encoding


def test_the_version_depends_on_the_content() -> None:
    first = gallery(("alice", at(0.1)), ("bob", at(0.2)))
    assert first.version == gallery(("alice", at(0.1)), ("bob", at(0.2))).version
    others = [
        gallery(("alice", at(0.1)), ("bob", at(0.3))),
        gallery(("alice", at(0.1)), ("Bob", at(0.2))),
        gallery(("alice", at(0.2)), ("bob", at(0.1))),
        gallery(("alice", at(0.1))),
        empty_gallery(),
    ]
    assert len({first.version, *(other.version for other in others)}) == 6


OTHER = EncodingSpace("other-1", 3, 1.0, 0.7, 0.1, 0.02)


def test_a_gallery_keeps_its_encoding_space() -> None:
    grown = empty_gallery(OTHER).with_encoding("ada", np.ones(3)).with_encoding("bob", np.zeros(3))
    assert (grown.space, grown.without("ada").space) == (OTHER.name, OTHER.name)
    assert nearest(grown, np.full(3, 0.1)).name == "bob"
    assert gallery(("ada", at())).space == DLIB.name


@pytest.mark.parametrize("space", ["", "a b", "x" * 65, "\u202e"])
def test_a_bad_name_of_a_space_is_refused(space: str) -> None:
    with pytest.raises(GalleryError, match="encoding space"):
        Gallery(["ada"], np.zeros((1, 3)), space)


@pytest.mark.parametrize("shape", [(1, 0), (1, 4097), (2, 3), (3,), ()])
def test_encodings_of_another_space_with_a_bad_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(GalleryError, match="shape"):
        Gallery(["ada"], np.zeros(shape), OTHER.name)


def test_with_encoding_does_not_change_the_old_gallery() -> None:
    old = gallery(("alice", at(0.1)))
    new = old.with_encoding("bob", at(0.2)).with_encoding("alice", at(0.3))
    assert (len(old), len(new)) == (1, 3)
    assert new.people == ("alice", "bob")
    assert nearest(new, at(0.21)).name == "bob"
    assert nearest(empty_gallery().with_encoding("alice", at(0.1)), at()).name == "alice"


def test_a_gallery_does_not_change_with_the_callers_array() -> None:
    encodings = np.zeros((1, 128))
    gallery = Gallery(["ada"], encodings)
    encodings[0, 0] = 9
    assert gallery.encodings[0, 0] == 0


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e200, -101.0])
def test_an_encoding_with_unusable_numbers_is_refused(value: float) -> None:
    """Distances to such an encoding would be NaN or infinite, so nobody could be found."""
    with pytest.raises(GalleryError, match="enrol the person again"):
        Gallery(["ada"], np.full((1, 128), value))


@pytest.mark.parametrize("scale", [1e-6, 1.0, 99.0])
@pytest.mark.parametrize("spread", [0.0, 1e-8, 1e-3, 1.0])
def test_the_nearest_person_is_computed_in_double_precision(scale: float, spread: float) -> None:
    """Some of these distances differ only in double precision."""
    random = np.random.default_rng(7)
    middle = random.normal(size=DLIB.size) / 12
    points = np.clip(scale * (middle + spread * random.normal(size=(300, DLIB.size))), -99, 99)
    names = [f"person {index // 3}" for index in range(300)]
    found = Gallery(names, points)
    for point in (points[5], scale * middle, points[7] + scale * spread * 0.1):
        distances = np.linalg.norm(points - point, axis=1)
        by_person = {name: min(distances[np.array(names) == name]) for name in set(names)}
        first, second = sorted(by_person.values())[:2]
        match = nearest(found, point)
        assert match.distance == first == by_person[match.name]
        assert match.margin == second - first


def test_an_error_about_a_name_does_not_contain_the_name() -> None:
    """The error may be logged. Commands also print its cause, which contains the name."""
    with pytest.raises(GalleryError) as caught:
        Gallery(["Ada\u202e"], at()[None])
    assert "Ada" not in str(caught.value)
    assert isinstance(caught.value.__cause__, NameRefused)


def test_dlibs_numbers_are_in_one_module_of_the_core() -> None:
    """Only `encoding_space.py` contains the size of an encoding."""
    core = Path(rollcall.core.__file__).parent
    others = [path for path in sorted(core.glob("*.py")) if path.name != "encoding_space.py"]
    assert len(others) > 20
    assert [path.name for path in others if re.search(r"\b128\b", _code(path))] == []


def _code(path: Path) -> str:
    """The source of a module without strings and comments."""
    with path.open("rb") as file:
        tokens = list(tokenize.tokenize(file.readline))
    kept = (tokenize.NAME, tokenize.NUMBER, tokenize.OP)
    return " ".join(token.string for token in tokens if token.type in kept)
