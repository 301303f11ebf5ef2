"""The rule that turns looks at a face into a name."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from rollcall.core.decision import DecisionRule, Look
from rollcall.core.encoding_space import DLIB
from rollcall.core.types import FaceQuality, Match

GOOD = FaceQuality(200, 0.3, 0.05, 0.9)
SMALL = replace(GOOD, size_px=32)
RULE = DecisionRule(DLIB, 0.6)


def look(
    distance: float, margin: float = 0.2, name: str = "ada", quality: FaceQuality = GOOD
) -> Look:
    return Look(Match(name, distance, margin), quality)


NOBODY = Look(None, GOOD)


@pytest.mark.parametrize(
    ("seen", "named"),
    [
        (look(0.6), True),
        (look(0.601), False),
        (look(0.3, margin=0.02), True),
        (look(0.3, margin=0.019), False),
        (look(0.3, margin=math.inf), True),
        (NOBODY, False),
    ],
)
def test_one_look_names_the_nearest_person_unless_two_are_equally_near(
    seen: Look, named: bool
) -> None:
    assert RULE.accepts(seen) is named
    assert bool(RULE.decide([seen])[0]) is named


@pytest.mark.parametrize(
    "worse",
    [
        {"size_px": 32},
        {"sharpness": 0.005},
        {"turn": 0.55},
        {"score": 0.55},
    ],
)
def test_a_face_that_is_hard_to_judge_has_to_be_nearer(worse: dict[str, float]) -> None:
    accepted = RULE.accepted_distance(replace(GOOD, **worse))
    assert 0.55 < accepted < 0.58
    assert RULE.accepted_distance(GOOD) == 0.6


def test_a_strict_gallery_is_not_made_stricter_for_faces_that_are_hard_to_judge() -> None:
    largest = RULE.accepted_distance(SMALL)
    assert largest < DLIB.tolerance
    assert DecisionRule(DLIB, 0.5).accepted_distance(SMALL) == 0.5 < largest
    assert DecisionRule(DLIB, 0.59).accepted_distance(SMALL) == largest
    assert DecisionRule(DLIB, 0.9).accepted_distance(SMALL) == pytest.approx(1.5 * largest)


@pytest.mark.parametrize("distance", [0.566, 0.58, 0.597])
def test_one_look_at_a_small_face_names_nobody_at_a_large_distance(distance: float) -> None:
    assert RULE.decide([look(distance, quality=SMALL)])[:2] == ("", "")


def test_several_agreeing_looks_at_a_small_face_name_a_person_at_a_large_distance() -> None:
    distances = (0.57, 0.58, 0.59, 0.57)
    looks = [look(distance, quality=SMALL) for distance in distances]
    assert RULE.decide(looks)[:2] == ("ada", "doubtful")
    assert RULE.decide(looks[:1])[:2] == ("", "")
    others = [look(distance, 0.2, "bob", SMALL) for distance in distances]
    assert RULE.decide([*looks, *others, NOBODY])[:2] == ("", "")


@pytest.mark.parametrize(
    ("looks", "expected"),
    [
        ([look(0.4)], ("ada", "clear")),
        ([look(0.4, margin=0.09)], ("ada", "likely")),
        ([look(0.58)], ("ada", "likely")),
        ([look(0.4), look(0.5, name="bob"), look(0.45)], ("ada", "likely")),
        ([look(0.4), NOBODY, NOBODY], ("ada", "doubtful")),
        ([look(0.58), NOBODY, NOBODY], ("", "")),
        ([look(0.58), look(0.8), look(0.9)], ("", "")),
        ([NOBODY], ("", "")),
        ([], ("", "")),
    ],
)
def test_the_name_and_its_certainty(looks: list[Look], expected: tuple[str, str]) -> None:
    assert RULE.decide(looks)[:2] == expected


def test_if_two_names_have_equal_votes_the_nearer_wins() -> None:
    assert RULE.decide([look(0.5, name="bob"), look(0.4)])[0] == "ada"
    assert RULE.decide([look(0.4), look(0.5, name="bob")])[0] == "ada"


def test_a_clear_look_is_near_one_person_and_far_from_everybody_else() -> None:
    assert RULE.is_clear(look(0.574, margin=0.1))
    assert not RULE.is_clear(look(0.576, margin=0.1))
    assert not RULE.is_clear(look(0.3, margin=0.099))
    assert not RULE.is_clear(look(0.54, quality=SMALL))
    assert not RULE.is_clear(NOBODY)


def ignored_look(distance: float) -> Look:
    return Look(Match("", distance, 0.2, ignored=True), GOOD)


def test_looks_vote_for_an_ignored_face_as_for_a_person() -> None:
    assert RULE.decide([ignored_look(0.3)]) == ("", "clear", True)
    assert RULE.decide([ignored_look(0.3), ignored_look(0.3), look(0.3)]) == ("", "likely", True)
    assert RULE.decide([ignored_look(0.3), look(0.3), look(0.3)]) == ("ada", "likely", False)
    assert RULE.decide([ignored_look(0.7)]) == ("", "", False)


def test_looks_that_somebody_has_named_decide_alone() -> None:
    named = look(0.0, margin=0.1, name="bob")
    assert RULE.decide([look(0.1), look(0.1), named]) == ("bob", "clear", False)
    assert RULE.decide([look(0.1), ignored_look(1e-7)]) == ("", "clear", True)
    assert RULE.decide([look(0.1), look(0.1), look(2e-5, name="bob")])[0] == "ada"
