"""The intervals of each person are compared with the truth of rendered videos."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from statistics import mean

import pytest
from support.scene_runs import named, recognise
from support.scenes import Scene, come_and_go, long_meeting, one_after_another, overlap


@pytest.mark.parametrize("made", [one_after_another, come_and_go])
def test_intervals_match_the_truth(
    made: Callable[[], Scene], known_people: Path, tmp_path: Path
) -> None:
    scene = made()
    document = recognise(scene, tmp_path, known_people, "--scan", "timeline")
    found = named(document)
    assert sorted(found) == sorted(scene.people)
    overlaps = {name: overlap(found[name]["intervals"], scene.people[name]) for name in found}
    assert mean(overlaps.values()) >= 0.95, overlaps
    assert min(overlaps.values()) >= 0.9, overlaps
    assert {name: len(found[name]["intervals"]) for name in found} == {
        name: len(intervals) for name, intervals in scene.people.items()
    }
    assert document["coverage"]["longest_gap_s"] <= 1.05


def test_auto_misses_nobody_who_is_visible_for_ten_seconds(
    known_people: Path, tmp_path: Path
) -> None:
    scene = long_meeting()
    document = recognise(scene, tmp_path, known_people)
    assert sorted(named(document)) == sorted(scene.people)
    assert document["coverage"]["longest_gap_s"] <= 10.05


def test_overlap_is_intersection_over_union() -> None:
    assert overlap([(0, 2)], [(0, 2)]) == 1
    assert overlap([(0, 1), (1, 2)], [(0, 2)]) == 1
    assert overlap([(0, 1)], [(0, 2)]) == 0.5
    assert overlap([(0, 1)], [(1, 2)]) == 0
    assert overlap([], [(1, 2)]) == 0
    assert overlap([(0, 4), (6, 8)], [(2, 7)]) == pytest.approx(3 / 8)
