"""Measures how far an encoding moves when its face is small, blurred, noisy, enlarged or turned.

    python -m benchmarks.face_quality PICTURE_OR_CLIP_OR_FOLDER...

The limits of `rollcall.core.face_quality` were chosen from the tables that this script prints.
Distances are Euclidean, between the encoding of a face in the original picture and the encoding of
the same face after a change for the worse. The distance to another photo of the same person comes
on top.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks import markdown
from benchmarks.frames import rgb_frames
from benchmarks.people import Seen, chosen_pictures, look
from rollcall.core.protocols import FaceEngine
from rollcall.core.types import Box, DetectedFace, Encodings, Landmarks, Pixels
from rollcall.faces.engine import default_engine
from rollcall.gallery.photos import read_photo

MIN_SOURCE_PX = 80
"""Smaller faces are left out, because their quality is already low."""

SIZES_PX = (16, 20, 24, 28, 32, 36, 40, 44, 50, 56, 64, 80, 96, 128)
"""Widths to which faces are scaled."""

BLURS = (0.0, 0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.06)
"""Standard deviations of the blur, as fractions of the face's width."""

ENLARGED_TO_PX = 200
TURNS_DEGREES = (0, 10, 20, 30, 40, 50, 60)
NOISE = 8.0
"""Standard deviation of the noise, on a scale of 0 to 255."""

HALF_WIDTH, HALF_DEPTH, HALF_HEIGHT = 1.2, 1.5, 1.8
NOSE, NOSE_WIDTH = 0.3, 0.25
"""The model of a head: an ellipsoid with a nose. The unit is the distance between the eyes. In
adults it is 63 mm, and the head is 150 mm wide and 190 mm long."""

Look = Callable[[Pixels, Box], Seen | None]
"""Looks at the face in a box of a picture."""


class Sample(NamedTuple):
    """A face, the picture that it is in, and its encoding."""

    pixels: Pixels
    face: DetectedFace
    encoding: Encodings


class Row(NamedTuple):
    """One line of a table: how far each encoding moved, and the measured quality of each face."""

    label: str
    distances: list[float]
    sharpness: list[float]
    turns: list[float]

    def cells(self) -> list[str]:
        if not self.distances:
            return [self.label, "0", *"----"]
        near, far = np.quantile(self.distances, [0.5, 0.9])
        spread = (min(self.sharpness), float(np.median(self.sharpness)), max(self.sharpness))
        return [
            *(self.label, str(len(self.distances)), f"{near:.2f}", f"{far:.2f}"),
            " / ".join(f"{value:.3f}" for value in spread),
            f"{np.median(self.turns):.2f}",
        ]


HEAD = ("", "faces", "median distance", "90th percentile", "sharpness, min/median/max", "turn")


def samples(paths: Sequence[Path], engine: FaceEngine) -> Iterator[Sample]:
    for path in paths:
        pixels = next(rgb_frames(path)) if path.suffix == ".mp4" else read_photo(path)
        for face in engine.detect(pixels):
            if min(face.box.right - face.box.left, face.box.bottom - face.box.top) >= MIN_SOURCE_PX:
                yield Sample(pixels, face, engine.encode(pixels, [face])[0])


def by_size(found: Sequence[Sample], look_at: Look) -> Iterator[Row]:
    for size_px in SIZES_PX:
        larger = [each for each in found if _width(each) >= 1.2 * size_px]
        yield _row(f"{size_px} px", larger, partial(_scaled, size_px=size_px), look_at)


def by_blur(found: Sequence[Sample], look_at: Look, noise: float = 0.0) -> Iterator[Row]:
    for blur in BLURS:
        label = f"{blur:g} of the width"
        yield _row(label, found, partial(_blurred, blur=blur, noise=noise), look_at)


def enlarged(found: Sequence[Sample], look_at: Look) -> Iterator[Row]:
    """Measure faces that were shrunk and then enlarged: they have many pixels but little detail."""
    for size_px in (16, 24, 32, 40, 50, 64):
        label = f"{size_px} px, enlarged to {ENLARGED_TO_PX}"
        yield _row(label, found, partial(_enlarged, size_px=size_px), look_at)


def by_turn(found: Sequence[Sample], look_at: Look) -> Iterator[Row]:
    for degrees in TURNS_DEGREES:
        yield _row(f"{degrees} degrees", found, partial(_turned, degrees=degrees), look_at)


def _row(
    label: str, found: Sequence[Sample], change: Callable[[Sample], Sample], look_at: Look
) -> Row:
    """Measure all samples after the change. Faces that are no longer found are left out."""
    row = Row(label, [], [], [])
    for each in found:
        changed = change(each)
        if seen := look_at(changed.pixels, changed.face.box):
            row.distances.append(float(np.linalg.norm(seen.encoding - each.encoding)))
            row.sharpness.append(seen.quality.sharpness)
            row.turns.append(seen.quality.turn)
    return row


def _width(sample: Sample) -> int:
    return sample.face.box.right - sample.face.box.left


def _scaled(sample: Sample, size_px: float) -> Sample:
    factor = size_px / _width(sample)
    method = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    pixels = cv2.resize(sample.pixels, None, fx=factor, fy=factor, interpolation=method)
    box = Box(*(round(side * factor) for side in sample.face.box))
    return sample._replace(
        pixels=np.asarray(pixels, dtype=np.uint8), face=replace(sample.face, box=box)
    )


def _enlarged(sample: Sample, size_px: int) -> Sample:
    return _scaled(_scaled(sample, size_px), ENLARGED_TO_PX)


def _blurred(sample: Sample, blur: float, noise: float) -> Sample:
    pixels = sample.pixels.astype(np.float64)
    if blur:
        pixels = cv2.GaussianBlur(pixels, (0, 0), blur * _width(sample)).astype(np.float64)
    if noise:
        pixels = pixels + np.random.default_rng(1).normal(0, noise, pixels.shape)
    return sample._replace(pixels=np.clip(pixels, 0, 255).astype(np.uint8))


def _turned(sample: Sample, degrees: float) -> Sample:
    """Turn the head by projecting the picture onto a model of a head.

    Photos of people who turn their heads would be better, but are not available. The landmarks and
    the encoding do change as for a turned face.
    """
    landmarks = sample.face.landmarks
    if not degrees:
        return sample
    height, width = sample.pixels.shape[:2]
    depth, centre, eyes_px = _relief(landmarks, height, width)
    angle = np.deg2rad(degrees)
    columns = np.arange(width, dtype=np.float64)
    moved = (columns - centre) * np.cos(angle) + depth * np.sin(angle) + centre
    inside = depth > 0
    source = np.tile(columns, (height, 1))
    for row in np.flatnonzero(inside.any(axis=1)):
        where = np.flatnonzero(inside[row])
        # The far side of the nose is hidden, so the nearer part covers it.
        visible = np.maximum.accumulate(moved[row, where])
        onto = (columns >= visible[0]) & (columns <= visible[-1])
        source[row, onto] = np.interp(columns[onto], visible, columns[where])
    rows = np.tile(np.arange(height, dtype=np.float32)[:, None], (1, width))
    pixels = cv2.remap(sample.pixels, source.astype(np.float32), rows, cv2.INTER_LINEAR)
    shift = round(float(np.sin(angle)) * 0.5 * eyes_px)
    box = sample.face.box
    box = box._replace(left=box.left + shift, right=box.right + shift)
    return sample._replace(
        pixels=np.asarray(pixels, dtype=np.uint8), face=replace(sample.face, box=box)
    )


def _relief(
    landmarks: Landmarks, height: int, width: int
) -> tuple[NDArray[np.float64], float, float]:
    """Return each pixel's depth, the head's middle column and the eyes' distance, all in pixels."""
    first, second = landmarks[0], landmarks[1]
    eyes_px = float(np.linalg.norm(second - first))
    x, y = (first + second) / 2
    columns = (np.arange(width) - x) / eyes_px
    rows = ((np.arange(height) - y) / eyes_px - 0.5)[:, None]
    inside = 1 - (columns / HALF_WIDTH) ** 2 - (rows / HALF_HEIGHT) ** 2
    nose = (landmarks[2] - (x, y)) / eyes_px - (0, 0.5)
    bump = NOSE * np.exp(-((columns - nose[0]) ** 2 + (rows - nose[1]) ** 2) / (2 * NOSE_WIDTH**2))
    depth = np.where(inside > 0, HALF_DEPTH * np.sqrt(np.maximum(inside, 0)) + bump, 0.0)
    return depth * eyes_px, float(x), eyes_px


def report(found: Sequence[Sample], look_at: Look) -> str:
    parts = {
        "Size": by_size(found, look_at),
        "Blur": by_blur(found, look_at),
        "Blur and noise": by_blur(found, look_at, NOISE),
        "Enlarged": enlarged(found, look_at),
        "Turn": by_turn(found, look_at),
    }
    tables = (
        f"## {title}\n\n{markdown.table(HEAD, (row.cells() for row in rows))}"
        for title, rows in parts.items()
    )
    return "\n\n".join(tables)


def main() -> None:
    pictures = chosen_pictures(__doc__)
    engine = default_engine(Path.home() / ".cache" / "rollcall")
    print(report(list(samples(pictures, engine)), partial(look, engine)))


if __name__ == "__main__":
    main()
