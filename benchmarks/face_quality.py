"""How far an encoding moves when its face is small, blurred, noisy, enlarged or turned.

`python -m benchmarks.face_quality PICTURE_OR_CLIP...` prints the tables from which the limits of
`rollcall.core.face_quality` were chosen. Distances are to the encoding of the same face as the
picture shows it, so a person's distance to another photo comes on top.
"""

from __future__ import annotations

import argparse
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
from benchmarks.people import Seen, look
from rollcall.core.protocols import FaceEngine
from rollcall.core.types import Box, DetectedFace, Encodings, Landmarks, Pixels
from rollcall.faces.engine import default_engine
from rollcall.gallery.photos import read_photo

MIN_SOURCE_PX = 80
"""Smaller faces are bad already, so they are not made worse."""

SIZES_PX = (16, 20, 24, 28, 32, 36, 40, 44, 50, 56, 64, 80, 96, 128)
BLURS = (0.0, 0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.06)
"""Standard deviation of the blur, in widths of the face."""

ENLARGED_TO_PX = 200
TURNS_DEGREES = (0, 10, 20, 30, 40, 50, 60)
NOISE = 8.0
"""Standard deviation of 255."""

HALF_WIDTH, HALF_DEPTH, HALF_HEIGHT = 1.2, 1.5, 1.8
NOSE, NOSE_WIDTH = 0.3, 0.25
"""A head as an ellipsoid with a nose, in distances between the eyes (63 mm in adults; heads are
150 mm wide and 190 mm long)."""

Look = Callable[[Pixels, Box], Seen | None]


class Sample(NamedTuple):
    """A face with the picture around it."""

    pixels: Pixels
    face: DetectedFace
    encoding: Encodings


class Row(NamedTuple):
    """One line of a table: how far encodings moved, and what was measured."""

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


HEAD = ("", "faces", "distance, median", "of nine in ten", "sharpness, least/median/most", "turn")


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
    """A small picture that somebody made larger: its pixels are many, its detail is not."""
    for size_px in (16, 24, 32, 40, 50, 64):
        label = f"{size_px} px, enlarged to {ENLARGED_TO_PX}"
        yield _row(label, found, partial(_enlarged, size_px=size_px), look_at)


def by_turn(found: Sequence[Sample], look_at: Look) -> Iterator[Row]:
    for degrees in TURNS_DEGREES:
        yield _row(f"{degrees} degrees", found, partial(_turned, degrees=degrees), look_at)


def _row(
    label: str, found: Sequence[Sample], change: Callable[[Sample], Sample], look_at: Look
) -> Row:
    """Faces that are not found any more are left out."""
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
    """The head turned on a model: no substitute for photos of people who turn their heads, which
    are not at hand, but the landmarks and the encoding see a turned face."""
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
        # Where the far side of the nose is hidden, the nearer part covers it.
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
    """Depth of each pixel in pixels, the head's middle column, the distance between the eyes."""
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
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("paths", nargs="+", type=Path, help="pictures, clips (.mp4), folders")
    given: list[Path] = parser.parse_args().paths
    files = [
        each for path in given for each in (sorted(path.iterdir()) if path.is_dir() else [path])
    ]
    wanted = [path for path in files if path.suffix in (".mp4", ".jpg", ".png")]
    engine = default_engine(Path.home() / ".cache" / "rollcall")
    print(report(list(samples(wanted, engine)), partial(look, engine)))


if __name__ == "__main__":
    main()
