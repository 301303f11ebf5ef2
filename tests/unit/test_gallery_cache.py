"""The gallery as the pages read it."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from rollcall.core.errors import StoreUnavailable
from rollcall.core.gallery import Gallery
from rollcall.core.verdicts import FaceSource, Verdict
from rollcall.gallery.gallery_formats import render_gallery
from rollcall.gallery.gallery_locations import GalleryFile, GalleryObject
from rollcall.stores.memory import MemoryStore
from rollcall.web.gallery_cache import MAX_AGE_S, GalleryCache, KnownGallery


def gallery(people: int, each: int, seed: int = 1) -> Gallery:
    rng = np.random.default_rng(seed)
    names = [f"Person {number % people}" for number in range(people * each)]
    return Gallery(names, rng.normal(0, 0.09, (people * each, 128)))


def brute_force(known: Gallery, encodings: np.ndarray, limit: int) -> list[tuple[str, float]]:
    found = [
        (name, min(np.linalg.norm(a - b) for a in known.encodings_of(name) for b in encodings))
        for name in known.people
    ]
    return sorted(found, key=lambda pair: pair[1])[:limit]


def test_the_nearest_people_are_those_of_a_search_of_all_pairs() -> None:
    known = gallery(30, 4)
    rng = np.random.default_rng(2)
    groups = [rng.normal(0, 0.09, (count, 128)) for count in (1, 3, 0, 2)]
    found = KnownGallery(known).nearest_to_each(groups, 5)
    for encodings, near in zip(groups, found, strict=True):
        expected = brute_force(known, encodings, 5) if len(encodings) else []
        assert [each.name for each in near] == [name for name, _ in expected]
        assert np.allclose([each.distance for each in near], [each for _, each in expected])


def test_a_person_is_not_near_to_themselves() -> None:
    known = KnownGallery(gallery(3, 2))
    encodings = known.gallery.encodings_of("Person 1")
    near = known.nearest(encodings, 9, leave_out="Person 1")
    assert {each.name for each in near} == {"Person 0", "Person 2"}
    assert near[0].distance == pytest.approx(known.distance("Person 1", near[0].name))
    assert known.distance("Person 1", "Nobody") is None
    assert KnownGallery(gallery(0, 0)).nearest(encodings, 9) == []


def test_an_equal_face_has_the_distance_0() -> None:
    known = KnownGallery(gallery(3, 2))
    (nearest,) = known.nearest(known.gallery.encodings[3:4], 1)
    assert nearest.distance == 0


def test_a_face_that_was_given_to_somebody_else_is_near_only_to_them() -> None:
    known, face = gallery(3, 2), np.full(128, 0.3)
    for number, name in enumerate(["Kim", "Person 1"]):
        known = known.with_verdict(Verdict(f"v{number}", "is", name, face[None], (FaceSource(),)))
    near = KnownGallery(known).nearest(face[None], 9)
    assert [each.name for each in near][:1] == ["Person 1"]
    assert {each.name for each in near} == {"Person 0", "Person 1", "Person 2"}


def test_a_changed_gallery_is_read_once_for_each_version(tmp_path: Path) -> None:
    location = GalleryFile(tmp_path / "gallery.npz")
    now = [0.0]
    cache = GalleryCache(location, lambda: now[0])
    assert cache.current().names == frozenset()
    location.save(render_gallery(gallery(2, 1)))
    assert cache.current().names == frozenset(), "looked at a moment ago"
    now[0] += MAX_AGE_S
    first = cache.current()
    assert first.names == {"Person 0", "Person 1"}
    now[0] += MAX_AGE_S
    assert cache.current() is first
    location.save(render_gallery(gallery(3, 1)))
    cache.changed()
    assert len(cache.current().names) == 3


def test_the_last_gallery_is_used_while_the_store_does_not_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    location = GalleryObject(MemoryStore(), "galleries", "gallery.npz")
    location.save(render_gallery(gallery(2, 1)))
    cache = GalleryCache(location, itertools.count(step=MAX_AGE_S).__next__)
    known = cache.current()

    def fail(*_: object) -> None:
        raise StoreUnavailable("the store does not answer")

    monkeypatch.setattr(location.store, "head", fail)
    assert cache.current() is known
    with pytest.raises(StoreUnavailable):
        GalleryCache(location).current()


def test_a_page_does_not_check_again_after_it_has_waited_for_a_slow_check(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    location = GalleryObject(MemoryStore(), "galleries", "gallery.npz")
    location.save(render_gallery(gallery(2, 1)))
    now, stamps = [0.0], list[float]()
    cache = GalleryCache(location, lambda: now[0])
    known = cache.current()

    def fail_slowly() -> str:
        stamps.append(now[0])
        now[0] += 10 * MAX_AGE_S
        raise StoreUnavailable("the store does not answer")

    monkeypatch.setattr(GalleryObject, "stamp", lambda _: fail_slowly())
    now[0] += MAX_AGE_S
    assert [cache.current(), cache.current()] == [known, known]
    assert len(stamps) == 1
