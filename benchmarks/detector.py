"""Measures how many faces CenterFace and dlib's detectors find, and how many ms of CPU they need.

The first table compares detectors; those that typical scripts use are the reference. The second
table shows the percentage of faces that Rollcall finds, by the width of the face (in pixels, in
720p frames). The pictures come from scikit-image (an astronaut, and things without faces) and from
the folder `groups` beside the data, where `faces.json` says how many faces each picture shows.

Run alone: `make bench ONLY=detector`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import mean, median
from typing import Any, NamedTuple

import cv2
import dlib
import numpy as np
from skimage import data

from benchmarks import markdown
from benchmarks.bench import Bench
from benchmarks.measure import measure
from benchmarks.theirs import face_recognition
from rollcall.core.types import Box, Pixels
from rollcall.faces.centerface import CenterFace, choose_scale
from rollcall.faces.dlib_weights import model_path
from rollcall.gallery.photos import read_photo

TITLE = "Detector"

THINGS = ("chelsea", "coffee", "rocket", "brick", "grass", "gravel", "page", "coins")
PACKAGED = {"astronaut": 1, **dict.fromkeys(THINGS, 0)}
"""Pictures from scikit-image, and how many faces they show."""

CNN_WIDTH_PX = 960
FRAME_PX = (1280, 720)
SIZES_PX = (20, 24, 28, 32, 36, 48, 64)
"""Widths of the faces in the second table."""

SCALES = (1 / 3, 1 / 2, 1.0)
"""Fixed scales that the second table compares with Rollcall's own choice."""

CountFaces = Callable[[Pixels], int]
"""Returns how many faces a detector finds in a picture."""


class Picture(NamedTuple):
    pixels: Pixels
    faces: int


def run(bench: Bench) -> dict[str, Any]:
    """Return the results of each detector, and what ours finds at each width of the face."""
    pictures = list(_pictures(bench.data.resolve().parent / "groups"))
    ours = CenterFace(Path(bench.model_cache))
    scales: dict[str, CountFaces] = {
        f"fixed: {scale:.2f} of the width": partial(_at_scale, ours, scale=scale)
        for scale in SCALES
    }
    counts = {"Rollcall": lambda pixels: len(ours.detect(pixels)), **_theirs()}
    with_people = [picture for picture in pictures if picture.faces]
    return {
        "detectors": {name: _row(count, pictures) for name, count in counts.items()},
        "sizes": {
            name: _by_size(count, ours, with_people)
            for name, count in {"Rollcall's own choice": counts["Rollcall"], **scales}.items()
        },
    }


def _pictures(groups: Path) -> list[Picture]:
    # The folder is not part of the project. Without it, only scikit-image's pictures are used.
    known = json.loads((groups / "faces.json").read_text()) if groups.is_dir() else {}
    return [
        *(Picture(_rgb(getattr(data, name)()), faces) for name, faces in PACKAGED.items()),
        *(Picture(read_photo(groups / name), faces) for name, faces in known.items()),
    ]


def _rgb(picture: Any) -> Pixels:
    pixels = np.asarray(picture, dtype=np.uint8)
    return pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2)


def _theirs() -> dict[str, CountFaces]:
    hog = dlib.get_frontal_face_detector()
    cnn = dlib.cnn_face_detection_model_v1(str(model_path("mmod_human_face_detector.dat")))
    return {
        "dlib's HOG": lambda pixels: len(hog(pixels, 0)),
        f"dlib's CNN, {CNN_WIDTH_PX} px wide": lambda pixels: len(cnn(_narrowed(pixels), 0)),
        "face_recognition": lambda pixels: len(face_recognition.face_locations(pixels)),
    }


def _narrowed(pixels: Pixels) -> Pixels:
    height, width = pixels.shape[:2]
    size = (CNN_WIDTH_PX, round(height * CNN_WIDTH_PX / width))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _row(count: CountFaces, pictures: list[Picture]) -> dict[str, float]:
    """Count the faces found. If a picture has fewer faces than were found, the rest are false."""
    measured = [(measure(partial(count, each.pixels)), each.faces) for each in pictures]
    return {
        "found": sum(min(found, faces) for (_, found), faces in measured),
        "faces": sum(faces for _, faces in measured),
        "false": sum(max(0, found - faces) for (_, found), faces in measured),
        "cpu_ms": round(mean(cost.cpu_ms for (cost, _), _ in measured), 1),
    }


def _at_scale(detector: CenterFace, pixels: Pixels, scale: float) -> int:
    return len(detector.detect_at(pixels, choose_scale(pixels, scale)))


def _by_size(count: CountFaces, ours: CenterFace, pictures: list[Picture]) -> dict[str, Any]:
    """Return the percentage found for each width of the face, and the CPU ms per 720p frame."""
    found, spent = {}, []
    for size_px in SIZES_PX:
        measured = []
        for picture in pictures:
            frame = _frame(picture.pixels, ours, size_px)
            cost, number = measure(partial(count, frame))
            spent.append(cost.cpu_ms)
            measured.append((min(number, picture.faces), picture.faces))
        part = sum(number for number, _ in measured) / sum(faces for _, faces in measured)
        found[str(size_px)] = round(100 * part)
    return {"found": found, "cpu_ms": round(median(spent), 1)}


def _frame(pixels: Pixels, ours: CenterFace, size_px: int) -> Pixels:
    """Return a grey frame with the picture on it, scaled so that its median face is this wide."""
    widths = [_width(face.box) for face in ours.detect(pixels)]
    times = size_px / median(widths)
    small = cv2.resize(pixels, None, fx=times, fy=times, interpolation=cv2.INTER_AREA)
    frame = np.full((FRAME_PX[1], FRAME_PX[0], 3), (200, 205, 200), dtype=np.uint8)
    small = small[: FRAME_PX[1] - 40, : FRAME_PX[0] - 40]
    frame[40 : 40 + small.shape[0], 40 : 40 + small.shape[1]] = small
    return frame


def _width(box: Box) -> int:
    return box.right - box.left


def table(result: dict[str, Any]) -> str:
    detectors = [
        (name, f"{row['found']} of {row['faces']}", str(row["false"]), f"{row['cpu_ms']:.0f}")
        for name, row in result["detectors"].items()
    ]
    sizes = [
        (name, *(f"{percent} %" for percent in row["found"].values()), f"{row['cpu_ms']:.0f}")
        for name, row in result["sizes"].items()
    ]
    widths = next(iter(result["sizes"].values()))["found"]
    return "\n\n".join(
        [
            markdown.table(
                ("detector", "faces found", "false faces", "CPU ms per picture"), detectors
            ),
            "Percentage of faces found in 720p frames, by the width of the face:",
            markdown.table(
                ("scale of the search", *(f"{w} px" for w in widths), "CPU ms per frame"), sizes
            ),
        ]
    )
