"""Loading a gallery and matching a face, against the number of encodings; and the reference's way.

The encodings are made: as long as real ones, in a direction of chance, three for each person.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks import markdown
from benchmarks.bench import Bench
from benchmarks.measure import measure
from benchmarks.theirs import face_recognition
from rollcall.core.encoding_space import DLIB
from rollcall.core.gallery import Gallery
from rollcall.core.types import Encodings
from rollcall.gallery.enrolment import save
from rollcall.gallery.gallery_places import CachedGallery, FilePlace

TITLE = "Size of the gallery"
SEED = 128
LENGTH = 1.4
"""Of dlib's encodings, about."""

PER_PERSON = 3


def run(bench: Bench) -> list[dict[str, float]]:
    """Wall ms for each size: loading once (`CachedGallery`), matching one face, and what the
    reference does for each video: it reads its pickle and compares."""
    return [_size(bench, count) for count in bench.sizes.galleries]


def _size(bench: Bench, count: int) -> dict[str, float]:
    names, encodings = _people(count)
    native, course = bench.folder / f"{count}.npz", bench.folder / f"{count}.pickle"
    save(Gallery(names, encodings), FilePlace(native))
    course.write_bytes(pickle.dumps({"name": names, "encoding": list(encodings)}))
    face = encodings[count // 2] + 0.01
    repeats = bench.sizes.repeats
    gallery = CachedGallery(FilePlace(native), refresh_s=3600).current()
    found = {
        "encodings": count,
        "load_ms": _median_ms(lambda: CachedGallery(FilePlace(native), 3600).current(), repeats),
        "match_ms": _median_ms(lambda: gallery.nearest(face[None]), repeats),
        "reference_ms": _median_ms(lambda: _reference(course, face), repeats),
    }
    native.unlink()
    course.unlink()
    return found


def _people(count: int) -> tuple[list[str], Encodings]:
    encodings = np.random.default_rng(SEED).normal(size=(count, DLIB.size))
    encodings *= LENGTH / np.linalg.norm(encodings, axis=1, keepdims=True)
    return [f"person_{n // PER_PERSON}" for n in range(count)], encodings


def _reference(gallery: Path, face: Encodings) -> Any:
    with open(gallery, "rb") as file:
        known = pickle.load(file)  # noqa: S301 - ours, and what the reference does
    return face_recognition.compare_faces(known["encoding"], face)


def _median_ms(call: Callable[[], Any], repeats: int) -> float:
    return round(median(measure(call)[0].wall_ms for _ in range(repeats)), 4)


def table(found: list[dict[str, Any]]) -> str:
    head = ("encodings", "load once, ms", "match a face, ms", "reference, ms for each video")
    names = ("load_ms", "match_ms", "reference_ms")
    rows = [
        (f"{each['encodings']:,}", *(markdown.number(each[name]) for name in names))
        for each in found
    ]
    return markdown.table(head, rows)
