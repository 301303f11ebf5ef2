"""Everybody in rendered still scenes gets the right name, and hardly any stranger gets a name."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import pytest
from support.scene_runs import enrol, named, recognise
from support.scenes import (
    FULL_HD,
    HD,
    KNOWN,
    SMALLEST_PX,
    STRANGERS,
    TIGHT,
    Appearance,
    Portrait,
    Scene,
    crowd,
    small_beside_large,
    tiles,
)

TOO_SMALL_PX = SMALLEST_PX // 2

SIZES = {"720p": HD, "1080p": FULL_HD}
STYLES = {
    "with surroundings": partial(tiles),
    "cut tightly": partial(tiles, surroundings=TIGHT),
    "cut tightly on noise": partial(tiles, surroundings=TIGHT, noisy=True),
}
SCENES = {
    **{
        f"{count}x{count} tiles {style}, {size}": partial(made, count, SIZES[size], turn=count)
        for count in (2, 3, 4, 5)
        for style, made in STYLES.items()
        for size in SIZES
    },
    **{
        f"{count} people {size}": partial(crowd, count, SIZES[size], turn=count)
        for count in (2, 3, 5, 8, 12)
        for size in SIZES
    },
    **{
        f"small beside large, {count}x{count}": partial(small_beside_large, count)
        for count in (1, 2, 3, 5)
    },
}


@pytest.mark.parametrize("name", SCENES)
def test_everybody_is_named_correctly(name: str, known_people: Path, tmp_path: Path) -> None:
    scene = SCENES[name]()
    document = recognise(scene, tmp_path, known_people)
    assert sorted(named(document)) == sorted(scene.people)


def test_faces_that_are_too_small_are_counted_and_reported(
    known_people: Path, tmp_path: Path
) -> None:
    far = [
        Appearance(name, portraits[1], TOO_SMALL_PX, 200 + 100 * number, 360)
        for number, (name, portraits) in enumerate(KNOWN.items())
    ]
    document = recognise(Scene(far), tmp_path, known_people)
    assert document["coverage"]["not_judged"]["too small"] >= 1
    assert any("smaller than" in limit for limit in document["limits"])


def test_identify_stops_at_the_first_clear_frame(known_people: Path, tmp_path: Path) -> None:
    first = [
        Appearance("obama", KNOWN["obama"][1], 150, 340, 360),
        Appearance("eileen", KNOWN["eileen"][1], 150, 900, 360),
    ]
    late = Appearance("trump", KNOWN["trump"][1], 100, 620, 360, (1, 3))
    scene = Scene([*first, late], length_s=3)
    document = recognise(scene, tmp_path, known_people, "--scan", "identify")
    assert sorted(named(document)) == ["eileen", "obama"]
    assert document["coverage"]["looks"] == 1
    assert "stopped after the first clear frame at 0 s" in document["limits"]


def test_identify_continues_after_a_frame_without_people(
    known_people: Path, tmp_path: Path
) -> None:
    late = Appearance("trump", KNOWN["trump"][1], 100, 620, 360, (1, 3))
    document = recognise(Scene([late], length_s=3), tmp_path, known_people, "--scan", "identify")
    assert list(named(document)) == ["trump"]
    assert not any("at 0 s" in limit for limit in document["limits"])


GALLERIES: Mapping[str, tuple[Mapping[str, Portrait], list[Portrait]]] = {
    "the known people": ({name: shown[0] for name, shown in KNOWN.items()}, list(STRANGERS)),
    "a group": (
        {f"person_{number}": portrait for number, portrait in enumerate(STRANGERS[12:18])},
        [portrait for shown in KNOWN.values() for portrait in shown],
    ),
}


@pytest.mark.parametrize("enrolled", GALLERIES)
def test_at_most_one_stranger_in_a_hundred_is_named(enrolled: str, tmp_path: Path) -> None:
    people, strangers = GALLERIES[enrolled]
    gallery = enrol(tmp_path, people)
    faces = wrong = 0
    for face_px in (SMALLEST_PX, 64, 110):
        for start in range(0, len(strangers), 12):
            part = strangers[start : start + 12]
            shown = [
                Appearance("", portrait, face_px, 160 + 320 * (n % 4), 120 + 240 * (n // 4))
                for n, portrait in enumerate(part)
            ]
            document = recognise(Scene(shown), tmp_path, gallery)
            faces, wrong = faces + len(part), wrong + len(named(document))
    assert wrong <= faces // 100
