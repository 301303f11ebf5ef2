"""CenterFace beside dlib's detectors: how many faces each finds, by size, and for how much CPU.

Pictures: scikit-image's astronaut and pictures without people, and the folder `groups` beside the
data, whose `faces.json` says how many faces each picture has.
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
from rollcall.faces.centerface import CenterFace, scale_of
from rollcall.faces.dlib_weights import model_path
from rollcall.gallery.photos import read_photo

TITLE = "Detector"

THINGS = ("chelsea", "coffee", "rocket", "brick", "grass", "gravel", "page", "coins")
PACKAGED = {"astronaut": 1, **dict.fromkeys(THINGS, 0)}
"""Pictures of scikit-image and their faces."""

CNN_WIDTH_PX = 960
FRAME_PX = (1280, 720)
SIZES_PX = (20, 24, 28, 32, 36, 48, 64)
SCALES = (1 / 3, 1 / 2, 1.0)

Count = Callable[[Pixels], int]


class Picture(NamedTuple):
    pixels: Pixels
    faces: int


def run(bench: Bench) -> dict[str, Any]:
    """Faces that each detector finds, and the share that ours finds of faces of each size."""
    pictures = list(_pictures(bench.data.resolve().parent / "groups"))
    ours = CenterFace(Path(bench.model_cache))
    scales: dict[str, Count] = {
        f"{scale:.2f} of the width": partial(_at_scale, ours, scale=scale) for scale in SCALES
    }
    counts = {"Rollcall": lambda pixels: len(ours.detect(pixels)), **_theirs()}
    with_people = [picture for picture in pictures if picture.faces]
    return {
        "detectors": {name: _row(count, pictures) for name, count in counts.items()},
        "sizes": {
            name: _by_size(count, ours, with_people)
            for name, count in {"as it is": counts["Rollcall"], **scales}.items()
        },
    }


def _pictures(groups: Path) -> list[Picture]:
    known = json.loads((groups / "faces.json").read_text()) if groups.is_dir() else {}
    return [
        *(Picture(_rgb(getattr(data, name)()), faces) for name, faces in PACKAGED.items()),
        *(Picture(read_photo(groups / name), faces) for name, faces in known.items()),
    ]


def _rgb(picture: Any) -> Pixels:
    pixels = np.asarray(picture, dtype=np.uint8)
    return pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2)


def _theirs() -> dict[str, Count]:
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


def _row(count: Count, pictures: list[Picture]) -> dict[str, float]:
    """A face beyond the known number of a picture is counted as a false one."""
    measured = [(measure(partial(count, each.pixels)), each.faces) for each in pictures]
    return {
        "found": sum(min(found, faces) for (_, found), faces in measured),
        "faces": sum(faces for _, faces in measured),
        "false": sum(max(0, found - faces) for (_, found), faces in measured),
        "cpu_ms": round(mean(cost.cpu_ms for (cost, _), _ in measured), 1),
    }


def _at_scale(detector: CenterFace, pixels: Pixels, scale: float) -> int:
    return len(detector.detect_at(pixels, scale_of(pixels, scale)))


def _by_size(count: Count, ours: CenterFace, pictures: list[Picture]) -> dict[str, Any]:
    """Per cent found of faces so many pixels wide in frames of 720p, and the CPU for a frame."""
    found, spent = {}, []
    for size_px in SIZES_PX:
        measured = []
        for picture in pictures:
            frame = _frame(picture.pixels, ours, size_px)
            cost, number = measure(partial(count, frame))
            spent.append(cost.cpu_ms)
            measured.append((min(number, picture.faces), picture.faces))
        share = sum(number for number, _ in measured) / sum(faces for _, faces in measured)
        found[str(size_px)] = round(100 * share)
    return {"found": found, "cpu_ms": round(median(spent), 1)}


def _frame(pixels: Pixels, ours: CenterFace, size_px: int) -> Pixels:
    """The picture on a grey frame, shrunk until its median face is that wide."""
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
        (name, *(f"{share} %" for share in row["found"].values()), f"{row['cpu_ms']:.0f}")
        for name, row in result["sizes"].items()
    ]
    widths = next(iter(result["sizes"].values()))["found"]
    return "\n\n".join(
        [
            markdown.table(("detector", "faces", "false", "CPU ms a picture"), detectors),
            "Faces found in 720p, by their width:",
            markdown.table(("look", *(f"{w} px" for w in widths), "CPU ms a frame"), sizes),
        ]
    )
