"""Measures loading a gallery and matching a face, in ms of wall time, by the number of encodings.

For each video, the reference reads its pickle again and compares the face with every row. The
encodings are made up: random vectors with the length of real encodings, three for each person.

Run alone: `make bench ONLY=gallery`.
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
from rollcall.gallery.gallery_locations import CachedGallery, GalleryFile

TITLE = "Size of the gallery"
SEED = 128
LENGTH = 1.4
"""The approximate Euclidean length of dlib's encodings."""

PER_PERSON = 3


def run(bench: Bench) -> list[dict[str, float]]:
    """Return, for each size, the ms for loading the gallery, for matching a face, and for the
    reference's work per video."""
    return [_size(bench, count) for count in bench.sizes.galleries]


def _size(bench: Bench, count: int) -> dict[str, float]:
    names, encodings = _people(count)
    native, course = bench.folder / f"{count}.npz", bench.folder / f"{count}.pickle"
    save(Gallery(names, encodings), GalleryFile(native))
    course.write_bytes(pickle.dumps({"name": names, "encoding": list(encodings)}))
    face = encodings[count // 2] + 0.01  # near one person, as a real face would be
    repeats = bench.sizes.repeats
    gallery = CachedGallery(GalleryFile(native), refresh_s=3600).current()
    costs = {
        "encodings": count,
        "load_ms": _median_ms(lambda: CachedGallery(GalleryFile(native), 3600).current(), repeats),
        "match_ms": _median_ms(lambda: gallery.nearest(face[None]), repeats),
        "reference_ms": _median_ms(lambda: _reference(course, face), repeats),
    }
    native.unlink()
    course.unlink()
    return costs


def _people(count: int) -> tuple[list[str], Encodings]:
    encodings = np.random.default_rng(SEED).normal(size=(count, DLIB.size))
    encodings *= LENGTH / np.linalg.norm(encodings, axis=1, keepdims=True)
    return [f"person_{n // PER_PERSON}" for n in range(count)], encodings


def _reference(gallery: Path, face: Encodings) -> Any:
    with open(gallery, "rb") as file:
        known = pickle.load(file)  # noqa: S301 - written above, and the reference reads pickles
    return face_recognition.compare_faces(known["encoding"], face)


def _median_ms(call: Callable[[], Any], repeats: int) -> float:
    return round(median(measure(call)[0].wall_ms for _ in range(repeats)), 4)


def table(results: list[dict[str, Any]]) -> str:
    head = ("encodings", "load once, ms", "match a face, ms", "reference, ms per video")
    names = ("load_ms", "match_ms", "reference_ms")
    rows = [
        (f"{each['encodings']:,}", *(markdown.number(each[name]) for name in names))
        for each in results
    ]
    return markdown.table(head, rows)
