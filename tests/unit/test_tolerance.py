"""The tolerance that follows from the people of a gallery."""

from __future__ import annotations

import gc
from dataclasses import replace

import numpy as np
import pytest

from rollcall.core import tolerance
from rollcall.core.encoding_space import DLIB
from rollcall.core.gallery import Gallery, empty_gallery
from rollcall.core.tolerance import decision_for, gallery_tolerance
from rollcall.core.types import Encodings

INDEPENDENT_NUMBERS = 40
"""The distances between real encodings vary as if an encoding had this many independent numbers."""


def encodings(count: int, alike: float = 1.0, seed: int = 1) -> Encodings:
    """Encodings of people. Their distances are `alike` times the usual distances."""
    made = np.zeros((count, DLIB.size))
    random = np.random.default_rng(seed)
    made[:, :INDEPENDENT_NUMBERS] = random.normal(
        0, alike * 0.85 / np.sqrt(2 * INDEPENDENT_NUMBERS), (count, INDEPENDENT_NUMBERS)
    )
    return made


def gallery(count: int, alike: float = 1.0, photos: int = 1) -> Gallery:
    people = encodings(count, alike)
    random = np.random.default_rng(2)
    faces = np.repeat(people, photos, axis=0) + random.normal(0, 0.005, (count * photos, DLIB.size))
    return Gallery([f"p{i // photos}" for i in range(count * photos)], faces)


def test_more_people_make_the_tolerance_stricter() -> None:
    chosen = [gallery_tolerance(gallery(count), DLIB) for count in (1, 5, 20, 100, 1000)]
    tolerances = [each.tolerance for each in chosen]
    assert tolerances[0] == DLIB.tolerance
    assert tolerances == sorted(tolerances, reverse=True)
    assert 0.4 < tolerances[-1] < 0.55 < tolerances[1]
    assert all(each.false_name_rate <= 0.01 for each in chosen)
    missed = [each.missed_rate for each in chosen]
    assert missed == sorted(missed)


@pytest.mark.parametrize("count", [5, 20, 100])
def test_people_who_look_alike_make_the_tolerance_stricter(count: int) -> None:
    alike = gallery_tolerance(gallery(count, alike=0.8), DLIB).tolerance
    assert alike < gallery_tolerance(gallery(count), DLIB).tolerance - 0.03


@pytest.mark.parametrize("count", [20, 300])
def test_strangers_are_named_at_most_once_in_a_hundred_faces(count: int) -> None:
    known = gallery(count)
    decision = decision_for(known, None, DLIB)
    matches = known.nearest(encodings(4000, seed=3))
    named = [m for m in matches if m and m.distance <= decision.tolerance and m.margin >= 0.02]
    assert len(named) <= 60  # 40 are expected on average over many galleries


def test_several_photos_of_a_person_are_taken_into_account() -> None:
    one, four = (gallery_tolerance(gallery(20, photos=n), DLIB) for n in (1, 4))
    assert four.tolerance <= one.tolerance + 0.01
    assert four.missed_rate < one.missed_rate


def test_one_person_with_two_names_hardly_changes_the_tolerance() -> None:
    known = gallery(20)
    doubled = known.with_encoding("twin", known.encodings[0] + 0.01)
    changed = gallery_tolerance(doubled, DLIB).tolerance
    assert changed == pytest.approx(gallery_tolerance(known, DLIB).tolerance, abs=0.03)


def test_a_fixed_tolerance_is_kept() -> None:
    fixed = Gallery(["ada"] * 2, encodings(2), fixed_tolerance=0.6)
    assert gallery_tolerance(fixed, DLIB).tolerance == 0.6
    assert decision_for(fixed, None, DLIB).tolerance == 0.6
    crowd = gallery(300)
    pickled = Gallery(crowd.names, crowd.encodings, fixed_tolerance=0.6)
    assert gallery_tolerance(pickled, DLIB).tolerance == 0.6
    assert gallery_tolerance(pickled, DLIB).false_name_rate > 0.05


def test_the_users_tolerance_wins_and_has_its_own_rates() -> None:
    known = gallery(100)
    assert decision_for(known, 0.42, DLIB).tolerance == 0.42
    loose, tight = (gallery_tolerance(known, DLIB, chosen) for chosen in (0.6, 0.42))
    assert (loose.tolerance, tight.tolerance) == (0.6, 0.42)
    assert loose.false_name_rate > 0.02 > 0.001 > tight.false_name_rate
    assert loose.missed_rate < tight.missed_rate


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_a_tiny_gallery_has_nearly_the_tolerance_of_its_space(count: int) -> None:
    known = gallery(count) if count else empty_gallery()
    assert 0.55 < gallery_tolerance(known, DLIB).tolerance <= 0.6


def test_equal_encodings_of_different_people_do_not_divide_by_zero() -> None:
    same = Gallery(["ada", "bob", "carol", "dan"], np.zeros((4, DLIB.size)))
    assert 0 <= gallery_tolerance(same, DLIB).tolerance <= 0.6


def test_another_space_has_tolerances_of_its_own() -> None:
    """dlib's known distances are scaled by the ratio of the tolerances."""
    other = replace(DLIB, name="other", tolerance=1.2, strangers=None, same_person=None)
    twice = Gallery(gallery(20).names, 2 * gallery(20).encodings, "other")
    ours = gallery_tolerance(gallery(20), DLIB)
    theirs = gallery_tolerance(twice, replace(other, same_face_distance=0.9, min_margin=0.04))
    assert theirs.tolerance == pytest.approx(2 * ours.tolerance, abs=0.005)
    assert theirs.missed_rate == pytest.approx(ours.missed_rate, abs=0.01)


def test_the_tolerance_is_computed_once_and_cached_with_the_gallery(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known = gallery(20)
    first = gallery_tolerance(known, DLIB)
    monkeypatch.setattr(tolerance, "_compute", None)
    assert gallery_tolerance(known, DLIB) is first
    assert known in tolerance._cache
    kept = len(tolerance._cache)
    del known
    gc.collect()
    assert len(tolerance._cache) < kept


def test_a_sample_of_a_large_gallery_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = gallery_tolerance(gallery(1000), DLIB).tolerance
    monkeypatch.setattr(tolerance, "MAX_ENCODINGS", 500)
    compared = tolerance._sample(gallery(1000), np.random.default_rng(0))
    assert 400 < len(compared[0]) <= 500
    assert gallery_tolerance(gallery(1000), DLIB).tolerance == pytest.approx(whole, abs=0.06)


def test_the_sentence_names_both_rates() -> None:
    text = str(tolerance.GalleryTolerance(0.548, 0.0098, 0.101))
    assert text.startswith("tolerance 0.55: with these photos, 1 in 100 strangers will get")
    assert text.endswith("a known face will be missed in 10 in 100 looks")


def test_one_person_with_two_names_does_not_make_a_small_gallery_stricter() -> None:
    """This holds even if few or no pairs of people are left."""
    three = np.eye(3, DLIB.size) * 0.6
    plain = gallery_tolerance(Gallery(list("abc"), three), DLIB)
    twice = Gallery(list("abcd"), np.vstack([three, three[:1]]))
    assert gallery_tolerance(twice, DLIB).tolerance >= plain.tolerance - 0.02
    alike = Gallery(list("abcde"), np.repeat(three[:1], 5, axis=0))
    assert gallery_tolerance(alike, DLIB).tolerance > 0.5


def test_a_sample_with_one_person_is_too_small_for_a_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tolerance, "MAX_ENCODINGS", 100)
    encodings = np.random.default_rng(1).normal(0, 0.08, (900, DLIB.size))
    names = [name for name in "abc" for _ in range(300)]
    assert 0.4 < gallery_tolerance(Gallery(names, encodings), DLIB).tolerance <= 0.6


def test_a_tolerance_above_that_of_the_space_has_its_own_rate() -> None:
    people = Gallery(list("abcdefgh"), np.random.default_rng(2).normal(0, 0.06, (8, DLIB.size)))
    rates = [gallery_tolerance(people, DLIB, each).false_name_rate for each in (0.6, 0.8)]
    assert rates[1] > 2 * rates[0]
