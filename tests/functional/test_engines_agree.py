"""The default engine gives the same names as `face_recognition`, and nearly the same distances."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest
from support.pictures import astronaut, first_frames

from rollcall.core.gallery import Gallery
from rollcall.core.protocols import FaceEngine
from rollcall.core.settings import Settings
from rollcall.core.stopwatch import Stopwatch
from rollcall.core.types import DetectedFace, Match, Pixels
from rollcall.gallery.gallery_formats import parse_gallery
from rollcall.video.video_files import WholeFile
from rollcall.wiring import build_engine, build_recogniser

pytest.importorskip("face_recognition")

LARGEST_DIFFERENCE = 0.03


@pytest.fixture(scope="module")
def ours() -> FaceEngine:
    return build_engine(Settings())


@pytest.fixture(scope="module")
def reference() -> FaceEngine:
    return build_engine(Settings(engine="face_recognition"))


def matches(
    engine: FaceEngine, pixels: Pixels, gallery: Gallery
) -> list[tuple[DetectedFace, Match]]:
    found = engine.detect(pixels)
    nearest = gallery.nearest(engine.encode(pixels, found))
    return [(face, match) for face, match in zip(found, nearest, strict=True) if match]


def are_at_one_place(one: DetectedFace, other: DetectedFace) -> bool:
    """Whether the centres of the faces are closer than a third of the larger box."""
    side = max(one.box.right - one.box.left, other.box.right - other.box.left)
    apart = np.linalg.norm(one.landmarks.mean(axis=0) - other.landmarks.mean(axis=0))
    return bool(apart < side / 3)


def differences(
    ours: FaceEngine, reference: FaceEngine, pixels: Pixels, gallery: Gallery
) -> list[float]:
    """For each face that both engines find, return the difference of their distances to the nearest
    person."""
    pairs = product(matches(ours, pixels, gallery), matches(reference, pixels, gallery))
    both = [(one, other) for (a, one), (b, other) in pairs if are_at_one_place(a, b)]
    assert all(one.name == other.name for one, other in both if other.distance < 0.6)
    return [abs(one.distance - other.distance) for one, other in both]


def test_distances_on_real_clips_are_close_to_the_reference(
    ours: FaceEngine, reference: FaceEngine, classroom: Path
) -> None:
    gallery = parse_gallery((classroom / "encoding").read_bytes())
    frames = list(first_frames(classroom / "videos"))
    apart = [differences(ours, reference, frame, gallery) for frame in frames]
    assert all(apart), "the reference finds a face in every first frame, and so do we"
    assert max(max(each) for each in apart) < LARGEST_DIFFERENCE


def test_distances_on_a_picture_are_close_to_the_reference(
    ours: FaceEngine, reference: FaceEngine
) -> None:
    mirrored = np.ascontiguousarray(astronaut()[:, ::-1])
    known = reference.encode(mirrored, reference.detect(mirrored)[:1])
    (apart,) = differences(ours, reference, astronaut(), Gallery(["eileen"], known))
    assert apart < LARGEST_DIFFERENCE


def test_all_clips_get_the_names_of_the_reference(
    ours: FaceEngine, reference: FaceEngine, classroom: Path
) -> None:
    gallery = parse_gallery((classroom / "encoding").read_bytes())
    recognisers = [build_recogniser(Settings(), engine) for engine in (ours, reference)]
    for video in sorted((classroom / "videos").glob("*.mp4")):
        people = [
            each.recognise(WholeFile(video), gallery, Stopwatch()).people for each in recognisers
        ]
        names = [{person.name for person in each if person.name} for each in people]
        assert names[0] == names[1], video.name
