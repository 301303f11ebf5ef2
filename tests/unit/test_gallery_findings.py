"""What `gallery check` finds in a gallery, and the picture of its distances."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import replace

import numpy as np
import pytest

from rollcall.core import gallery_findings
from rollcall.core.distance_plot import distance_plot
from rollcall.core.encoding_space import DLIB
from rollcall.core.gallery import Gallery, empty_gallery
from rollcall.core.gallery_findings import Pair, check_gallery, is_poor
from rollcall.core.types import Encodings, FaceQuality
from rollcall.core.verdicts import Example, FaceSource, Verdict

GOOD = FaceQuality(200, 0.3, 0.05, 0.9)


def at(*coordinates: float) -> Encodings:
    """An encoding that begins with these numbers; the others are 0."""
    point = np.zeros(DLIB.size)
    point[: len(coordinates)] = coordinates
    return point


def gallery(*people: tuple[str, Encodings]) -> Gallery:
    return Gallery([name for name, _ in people], np.array([point for _, point in people]))


def test_pairs_are_told_apart_by_their_distance() -> None:
    known = gallery(
        ("ada", at(0)), ("ada", at(0.1)), ("eve", at(0.4)), ("ben", at(0, 5)), ("cleo", at(0, 5.5))
    )
    found = check_gallery(known, DLIB, 0.6)
    assert found.two_names == [Pair("ada", "eve", pytest.approx(0.3))]
    assert found.look_alikes == [Pair("ben", "cleo", pytest.approx(0.5))]
    assert found.one_photo == ["ben", "cleo", "eve"]
    assert found.needs_attention
    assert check_gallery(known, DLIB, 0.45).look_alikes == []


def test_photos_far_from_all_others_of_their_person_are_found() -> None:
    known = gallery(
        ("ada", at(0)), ("ada", at(0.2)), ("ben", at(0, 5)), ("ben", at(0, 5.2))
    ).with_encoding("ada", at(0, 0, 0.9), Example("e1", FaceSource(photo="odd.jpg")))
    found = check_gallery(known, DLIB, 0.6)
    (far,) = found.far_photos
    assert (far.name, far.photo, far.example_id) == ("ada", "odd.jpg", "e1")
    assert far.distance == pytest.approx(0.9)
    assert not found.look_alikes
    assert not found.one_photo


def test_people_with_only_poor_photos_are_found() -> None:
    small = replace(GOOD, size_px=55)
    qualities = {"ada": (small, small), "ben": (small, GOOD), "cleo": (None, small)}
    known = empty_gallery()
    for index, (name, pair) in enumerate(qualities.items()):
        examples = [Example(f"{name}{n}", quality=quality) for n, quality in enumerate(pair)]
        points = np.array([at(0, 3.0 * index), at(0.1, 3.0 * index)])
        known = known.with_encodings(name, points, examples)
    assert check_gallery(known, DLIB).poor_photos == ["ada"]
    # A face of a video is no help once somebody has given it to somebody else.
    face = at(0, 0, 9.0)[None]
    for number, name in enumerate(("ada", "dora")):
        known = known.with_verdict(Verdict(str(number), "is", name, face, (FaceSource(),)))
        expected = ["ada"] * number
        assert check_gallery(known, DLIB).poor_photos == expected


@pytest.mark.parametrize(
    ("changed", "poor"),
    [
        ({}, False),
        ({"size_px": 60}, True),
        ({"sharpness": 0.035}, True),
        ({"turn": 0.3}, True),
    ],
)
def test_a_photo_near_a_limit_of_enrolment_is_poor(changed: dict[str, float], poor: bool) -> None:
    assert is_poor(replace(GOOD, **changed)) is poor


def test_a_gallery_without_problems() -> None:
    points = np.repeat(np.eye(4, DLIB.size) * 3, 2, axis=0)
    points[::2, 9] = 0.2
    found = check_gallery(Gallery(list("aabbccdd"), points), DLIB)
    assert not found.needs_attention
    assert (found.people, found.encodings, found.compared) == (4, 8, 4)


def test_every_pair_is_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    points = np.random.default_rng(1).normal(0, 0.05, (23, DLIB.size))
    names = [f"p{index // 3}" for index in range(23)]
    distances = np.linalg.norm(points[:, None] - points[None], axis=2)
    same = np.equal.outer(np.array(names), np.array(names))
    upper = np.triu(np.ones((23, 23), bool), 1)
    monkeypatch.setattr(gallery_findings, "ROWS_AT_ONCE", 5)
    found = check_gallery(Gallery(names, points), DLIB, 0.75)
    for histogram, chosen in ((found.same_person, same), (found.different_people, ~same)):
        expected, _ = np.histogram(distances[chosen & upper], histogram.edges)
        assert histogram.counts.tolist() == expected.tolist()
    nearest: dict[tuple[str, str], float] = {}
    for row, column in np.argwhere(~same & upper):
        pair = (names[row], names[column])
        nearest[pair] = min(nearest.get(pair, np.inf), distances[row, column])
    expected_pairs = {pair: each for pair, each in nearest.items() if each <= 0.75}
    pairs = [*found.two_names, *found.look_alikes]
    assert {(a, b): pytest.approx(d, abs=1e-5) for a, b, d in pairs} == expected_pairs
    own = np.where(same & ~np.eye(23, dtype=bool), distances, np.inf).min(axis=1)
    assert len(found.far_photos) == int(np.sum(np.isfinite(own) & (own > 0.75)))


def test_a_huge_gallery_is_compared_in_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gallery_findings, "MAX_ENCODINGS", 4)
    monkeypatch.setattr(gallery_findings, "MAX_PAIRS", 2)
    found = check_gallery(Gallery(list("abcdef"), np.zeros((6, DLIB.size))), DLIB)
    assert (found.people, found.compared, len(found.two_names)) == (6, 4, 2)


def test_the_proposal_ignores_a_fixed_tolerance() -> None:
    points = np.random.default_rng(2).normal(0, 0.045, (60, DLIB.size))
    names = [f"p{index}" for index in range(60)]
    found = check_gallery(Gallery(names, points, fixed_tolerance=0.6), DLIB)
    assert found.tolerance.tolerance == 0.6
    assert found.proposed.tolerance < 0.6


def test_the_proposal_leaves_out_faces_that_verdicts_added() -> None:
    """As the tolerance in use does. Otherwise, the proposal would differ after each verdict."""
    points = np.random.default_rng(2).normal(0, 0.045, (60, DLIB.size))
    known = Gallery([f"p{index}" for index in range(60)], points)
    faces = points[:40] + 0.01
    said = Verdict("v", "is", "p0", faces, (FaceSource(),) * 40)
    assert (
        check_gallery(known.with_verdict(said), DLIB).proposed
        == check_gallery(known, DLIB).proposed
    )


def test_a_face_that_was_given_to_somebody_else_is_left_out() -> None:
    known = gallery(("ada", at(0)), ("ben", at(0, 0, 2)))
    before = check_gallery(known, DLIB)
    for number, name in enumerate(["kim", "lee", "ben"]):
        verdict = Verdict(str(number), "is", name, at(0, 3)[None], (FaceSource(key="a.mp4"),))
        known = known.with_verdict(verdict)
    found = check_gallery(known, DLIB)
    assert (found.two_names, found.look_alikes, found.one_photo) == ([], [], ["ada"])
    assert found.tolerance == before.tolerance


# --- the picture


def test_the_plot_is_an_svg_picture_without_scripts_and_names() -> None:
    known = gallery(("ada <b>", at(0)), ("ada <b>", at(0.1)), ("eve", at(0.9)))
    root = ET.fromstring(distance_plot(check_gallery(known, DLIB)))
    kinds = {element.tag.partition("}")[2] for element in root.iter()}
    assert kinds == {"svg", "title", "style", "rect", "path", "text"}
    text = " ".join(root.itertext())
    assert "same person: 1 pair" in text
    assert "different people: 2 pairs" in text
    assert "tolerance 0.60" in text
    assert "ada" not in text


@pytest.mark.parametrize("known", [empty_gallery(), gallery(("ada", at(0)))])
def test_a_gallery_without_pairs_is_drawn_too(known: Gallery) -> None:
    root = ET.fromstring(distance_plot(check_gallery(known, DLIB)))
    assert "same person: 0 pairs" in " ".join(root.itertext())
