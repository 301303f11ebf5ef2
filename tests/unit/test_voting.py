"""Turning faces in frames into people of a video."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from rollcall.core.decision import DecisionRule
from rollcall.core.encoding_space import DLIB
from rollcall.core.errors import TooManyFaces
from rollcall.core.types import Box, Face, FaceQuality, Match, Person, Recognition, Sighting
from rollcall.core.voting import MAX_TRACKS, is_clear, people

RULE = DecisionRule(DLIB, 0.6)
SAME_FACE_DISTANCE, CLEAR_MARGIN = DLIB.same_face_distance, DLIB.clear_margin
BOX = Box(0, 200, 200, 0)
GOOD = FaceQuality(200, 0.3, 0.0, 1.0)
FAR = 5.0


def seen(
    time_s: float,
    x: float,
    name: str | None = None,
    distance: float = 0.4,
    margin: float = 0.3,
    y: float = 0.0,
    *,
    followed: bool = False,
) -> Sighting:
    """A good face that is nearest to `name`. Its encoding begins with x and y."""
    encoding = np.zeros(128)
    encoding[:2] = x, y
    match = None if name is None else Match(name, distance, margin)
    return Sighting(time_s, Face(BOX, np.zeros((5, 2)), GOOD, encoding), match, followed)


def not_judged(time_s: float) -> Sighting:
    return Sighting(time_s, Face(BOX, np.zeros((5, 2)), GOOD, None, "blurred"), None)


def stranger(time_s: float, x: float, distance: float = 0.7) -> Sighting:
    return seen(time_s, x, "alice", distance)


def found_in(sightings: Sequence[Sighting], decision: DecisionRule = RULE) -> tuple[Person, ...]:
    """The people in a video with a look at each sighting. The video ends at the last look."""
    looks_s = sorted({sighting.time_s for sighting in sightings})
    return people(sightings, decision, looks_s, looks_s[-1] if looks_s else 0.0).people


def summary(sightings: Sequence[Sighting]) -> list[tuple[str, float, float, int]]:
    return [(p.name, p.first_seen_s, p.last_seen_s, p.frames) for p in found_in(sightings)]


def names(*sightings: Sighting) -> list[str]:
    return [person.name for person in found_in(sightings)]


# --- tolerance


@pytest.mark.parametrize(
    ("distance", "name"),
    [(0.0, "alice"), (0.6, "alice"), (math.nextafter(0.6, 1), ""), (0.7, ""), (math.nan, "")],
)
def test_tolerance_is_the_largest_distance_accepted(distance: float, name: str) -> None:
    assert names(seen(0, 0, "alice", distance)) == [name]


def test_nobody_is_accepted_from_an_empty_gallery() -> None:
    assert found_in([seen(0, 0)]) == (Person("", 0, 0, 1, None, ((0, 0),)),)


# --- one face over time


def test_one_face_is_one_person_from_first_to_last() -> None:
    (person,) = found_in([seen(t, 0.01 * t, "alice", 0.5 - 0.01 * t) for t in range(5)])
    assert person == Person("alice", 0, 4, 5, pytest.approx(0.46), ((0, 4),), "clear")


def test_one_wrong_frame_is_outvoted_however_near_it_is() -> None:
    sightings = [seen(0, 0, "alice"), seen(1, 0, "bob", 0.2), seen(2, 0, "alice")]
    assert summary(sightings) == [("alice", 0, 2, 3)]


def test_frames_beyond_the_tolerance_have_no_vote() -> None:
    sightings = [seen(t, 0, "bob", 0.65) for t in range(3)]
    assert names(*sightings, seen(3, 0, "alice", 0.45)) == ["alice"]


def test_one_frame_just_within_the_tolerance_names_nobody_against_many() -> None:
    sightings = [seen(t, 0, "alice", 0.62) for t in range(3)]
    assert names(*sightings, seen(3, 0, "alice", 0.59)) == [""]
    assert names(seen(0, 0, "alice", 0.62), seen(1, 0, "alice", 0.59)) == ["alice"], (
        "half of the looks are enough"
    )


def test_a_face_between_two_people_has_no_vote() -> None:
    assert names(seen(0, 0, "alice", 0.5, margin=0.001)) == [""]


def test_a_lookalike_beside_a_person_is_somebody_else() -> None:
    assert names(seen(0, 0, "alice", 0.3), seen(0, 2, "alice", 0.58)) == ["alice", ""]


def test_a_person_and_their_picture_on_a_screen_are_one() -> None:
    assert names(seen(0, 0, "alice", 0.3), seen(0, 2, "alice", 0.35)) == ["alice"]


def test_one_stranger_seen_differently_is_one_row() -> None:
    assert names(stranger(0, 0), stranger(1, 0.55)) == [""]


@pytest.mark.parametrize("nearer", ["alice", "bob"])
def test_a_tie_goes_to_the_nearer(nearer: str) -> None:
    distances = {"alice": 0.4, "bob": 0.4} | {nearer: 0.3}
    assert names(*(seen(t, 0, n, d) for t, (n, d) in enumerate(distances.items()))) == [nearer]


def test_the_distance_is_the_one_to_the_winning_name() -> None:
    sightings = [seen(0, 0, "bob", 0.1), seen(1, 0, "alice", 0.5), seen(2, 0, "alice", 0.4)]
    (person,) = found_in(sightings)
    assert (person.name, person.distance) == ("alice", 0.4)


def test_someone_who_comes_back_is_one_person() -> None:
    sightings = [seen(0, 0, "alice"), seen(1, FAR, "bob"), seen(2, 1, "alice", 0.3)]
    alice, bob = found_in(sightings)
    assert (alice.name, alice.intervals) == ("alice", ((0, 0), (2, 2)))
    assert (bob.name, bob.intervals) == ("bob", ((1, 1),))


# --- bad views


def test_a_blurred_view_joins_a_person_within_the_tolerance() -> None:
    blurred = stranger(1, SAME_FACE_DISTANCE + 0.1)
    assert summary([seen(0, 0, "alice"), blurred, seen(2, 0, "alice")]) == [("alice", 0, 2, 3)]


def test_a_view_that_was_said_not_to_be_a_person_does_not_join_the_person() -> None:
    """After a verdict, the person is not the nearest one, or nobody is, however near the views."""
    for name in ("bob", None):
        other = seen(1, SAME_FACE_DISTANCE + 0.1, name, 0.9)
        assert names(seen(0, 0, "alice"), other, seen(2, 0, "alice")) == ["alice", ""]


def test_a_blurred_view_joins_the_nearer_of_two_people() -> None:
    found = found_in([seen(0, 0, "alice"), seen(0, 1.0, "bob"), stranger(1, 0.48)])
    assert [(person.name, person.frames) for person in found] == [("alice", 2), ("bob", 1)]


def test_a_view_beyond_the_tolerance_is_a_stranger() -> None:
    assert names(seen(0, 0, "alice"), stranger(1, 0.61)) == ["alice", ""]


def test_an_unclear_face_beside_a_person_is_somebody_else() -> None:
    """A person next to Alice is not a bad view of Alice."""
    assert names(seen(0, 0, "alice"), stranger(0, 0.5)) == ["alice", ""]


def test_of_two_bad_views_in_a_picture_the_nearer_joins_the_person() -> None:
    sightings = [seen(0, 0, "alice"), stranger(1, 0.55), seen(1, 0, "alice", 0.65, y=-0.5)]
    found = found_in(sightings)
    assert [(person.name, person.frames) for person in found] == [("alice", 2), ("", 1)]
    assert found[1].distance == pytest.approx(0.7)


def test_a_bad_view_beside_one_that_has_joined_is_somebody_else() -> None:
    views = [seen(1, 0.0, "alice", 0.65, y=0.5), stranger(1, 0.5), stranger(2, 0.5)]
    found = found_in([seen(0, 0, "alice"), *views])
    assert sum(person.frames for person in found) == 4
    assert len(found) == 2


# --- strangers


def test_a_stranger_stays_unknown() -> None:
    assert found_in([stranger(t, 0.0, 0.7 + t / 100) for t in range(3)]) == (
        Person("", 0, 2, 3, 0.7, ((0, 2),)),
    )


def test_two_strangers_are_two_rows() -> None:
    assert names(stranger(0, 0), stranger(1, FAR), stranger(2, 0)) == ["", ""]


def test_faces_of_one_picture_are_never_one_track() -> None:
    """This holds however much two strangers look alike."""
    sightings = [stranger(t, x) for t in range(3) for x in (0.0, 0.1)]
    assert [person.frames for person in found_in(sightings)] == [3, 3]


def test_two_known_people_in_every_picture() -> None:
    pairs = [(seen(t, 0, "alice"), seen(t, 0.3, "bob", 0.5)) for t in range(3)]
    assert summary([s for pair in pairs for s in pair]) == [("alice", 0, 2, 3), ("bob", 0, 2, 3)]


def test_same_face_distance_separates_tracks() -> None:
    """Within this distance both sightings are one track, and one vote of two is enough."""
    inside = [seen(0, 0, "bob", 0.59), seen(1, SAME_FACE_DISTANCE - 0.001, "alice", 0.55)]
    outside = [seen(0, 0, "bob", 0.59), seen(1, SAME_FACE_DISTANCE + 0.001, "alice", 0.55)]
    assert (len(names(*inside)), len(names(*outside))) == (1, 2)


# --- order and status


def test_most_frames_first_then_the_nearest() -> None:
    sightings = [
        seen(0, 0, "far", 0.5),
        seen(0, FAR, "near", 0.2),
        seen(1, 2 * FAR, "often", 0.55),
        seen(2, 2 * FAR, "often", 0.55),
        seen(3, 3 * FAR),
    ]
    assert names(*sightings) == ["often", "near", "far", ""]


def test_without_faces_there_are_no_people() -> None:
    assert found_in([]) == ()


@pytest.mark.parametrize(
    ("sightings", "status"),
    [
        ([], "no_face"),
        ([stranger(0, 0)], "unknown"),
        ([stranger(0, 0), seen(0, FAR, "bob")], "recognised"),
    ],
)
def test_the_status_of_a_video(sightings: list[Sighting], status: str) -> None:
    found = found_in(sightings)
    assert Recognition(found, tuple(sightings), 1, 1.0).status == status


# --- whether one frame is enough


@pytest.mark.parametrize(
    ("sightings", "clear"),
    [
        ([], False),
        ([seen(0, 0, "alice", 0.57, CLEAR_MARGIN)], True),
        ([seen(0, 0, "alice", 0.58, CLEAR_MARGIN)], False),
        ([seen(0, 0, "alice", 0.3, math.inf)], True),
        ([seen(0, 0, "alice", 0.61, 0.3)], False),
        ([seen(0, 0, "alice", 0.3, CLEAR_MARGIN - 0.001)], False),
        ([seen(0, 0)], False),
        ([seen(0, 0, "alice"), seen(0, FAR, "bob")], True),
        ([seen(0, 0, "alice"), stranger(0, FAR)], False),
        ([seen(0, 0, "alice"), not_judged(0)], True),
        ([not_judged(0)], False),
    ],
)
def test_one_frame_is_enough_if_all_its_faces_are_clear(
    sightings: list[Sighting], clear: bool
) -> None:
    assert is_clear(sightings, RULE) is clear


def test_the_number_of_different_faces_is_limited() -> None:
    crowd = [seen(0, FAR * n) for n in range(MAX_TRACKS)]
    assert len(found_in(crowd)) == MAX_TRACKS
    with pytest.raises(TooManyFaces, match=str(MAX_TRACKS)):
        found_in([*crowd, seen(0, -FAR)])


# --- evidence


def test_a_face_that_cannot_be_judged_is_left_out() -> None:
    assert found_in([not_judged(0), seen(1, 0, "alice")])[0].frames == 1
    assert found_in([not_judged(0)]) == ()


def test_a_followed_face_extends_the_interval_and_has_no_vote() -> None:
    """The encoding comes from an earlier look, so it must not be counted again."""
    followed = [seen(t, 0, "alice", followed=True) for t in (1, 2, 3)]
    others = [seen(t, 0, "bob", 0.55) for t in (4, 5)]
    (person,) = found_in([seen(0, 0, "alice", 0.5), *followed, *others])
    assert (person.name, person.frames) == ("bob", 6)


def test_a_stricter_tolerance_names_fewer_people() -> None:
    sightings = [seen(0, 0, "alice", 0.55), seen(0, FAR, "bob", 0.45)]
    strict = found_in(sightings, DecisionRule(DLIB, 0.5))
    assert [person.name for person in strict] == ["bob", ""]


# --- ignored people


def ignored(time_s: float, x: float, distance: float = 0.1) -> Sighting:
    """A face that is nearest to one that somebody ignored."""
    sighting = seen(time_s, x)
    return replace(sighting, match=Match("", distance, 0.3, ignored=True))


def test_ignored_people_are_left_out_and_counted() -> None:
    sightings = [seen(0, 0, "alice"), ignored(0, 5), ignored(1, 5), ignored(1, 9)]
    found = people(sightings, RULE, [0, 1], 1)
    assert [person.name for person in found.people] == ["alice"]
    assert found.persons == (0, None, None, None)
    assert found.ignored == 2


def test_a_face_beyond_the_tolerance_of_an_ignored_one_is_unknown() -> None:
    found = people([ignored(0, 0, distance=0.7)], RULE, [0], 0)
    assert [person.name for person in found.people] == [""]
    assert found.ignored == 0


def test_a_bad_look_at_an_ignored_person_is_ignored_too() -> None:
    bad = stranger(1, 0.55)
    found = people([ignored(0, 0), bad], RULE, [0, 1], 1)
    assert found.people == ()
    assert found.ignored == 1


def test_an_ignored_track_never_joins_a_named_one() -> None:
    assert names(seen(0, 0, "alice", 0.5), ignored(1, 0.55)) == ["alice"]
