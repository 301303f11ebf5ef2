"""dlib's CNN detector on one frame of 640x360: in onnxruntime, and in dlib."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any, TypeAlias

import cv2
import dlib
import numpy as np

from benchmarks import markdown
from benchmarks.bench import Bench
from benchmarks.frames import rgb_frames
from benchmarks.measure import measure
from rollcall.adapters.faces.cnn_detector import CnnDetector
from rollcall.adapters.faces.dlib_weights import model_path
from rollcall.adapters.faces.onnx_models import DETECTOR
from rollcall.core.types import Box, Pixels

TITLE = "CNN detector"
SIZE_PX = (640, 360)

Found: TypeAlias = list[tuple[Box, float]]


def run(bench: Bench) -> dict[str, Any]:
    """CPU ms for the first frame of each clip, in turns, and how far the boxes are apart."""
    ours = CnnDetector(Path(bench.model_cache))
    theirs = dlib.cnn_face_detection_model_v1(str(model_path(DETECTOR)))
    spent: dict[str, list[float]] = {"rollcall": [], "dlib": []}
    faces, largest_px, largest_score = 0, 0, 0.0
    frames = list(_frames(bench))
    ours.detect(frames[0])
    for frame in frames:
        cost, found = measure(lambda frame=frame: ours.detect(frame))  # type: ignore[misc]
        spent["rollcall"].append(cost.cpu_ms)
        cost, expected = measure(lambda frame=frame: _dlibs(theirs, frame))  # type: ignore[misc]
        spent["dlib"].append(cost.cpu_ms)
        if len(found) != len(expected):
            raise RuntimeError(f"{len(found)} faces, where dlib finds {len(expected)}")
        faces += len(found)
        for (box, score), (other, other_score) in zip(found, expected, strict=True):
            largest_px = max(largest_px, *(abs(a - b) for a, b in zip(box, other, strict=True)))
            largest_score = max(largest_score, abs(score - other_score))
    return {
        "frames": len(frames),
        "faces": faces,
        "cpu_ms": {name: round(median(each), 1) for name, each in spent.items()},
        "largest_px": largest_px,
        "largest_score": largest_score,
    }


def _frames(bench: Bench) -> Iterator[Pixels]:
    for video in bench.videos:
        small = cv2.resize(next(rgb_frames(video)), SIZE_PX, interpolation=cv2.INTER_AREA)
        yield np.asarray(small, dtype=np.uint8)


def _dlibs(detector: Any, pixels: Pixels) -> Found:
    found = [(each.rect, each.confidence) for each in detector(pixels, 0)]
    boxes = [(Box(r.top(), r.right() + 1, r.bottom() + 1, r.left()), score) for r, score in found]
    return sorted(boxes, key=lambda each: -each[1])


def table(result: dict[str, Any]) -> str:
    ours, theirs = result["cpu_ms"]["rollcall"], result["cpu_ms"]["dlib"]
    row = (
        *(result["frames"], result["faces"]),
        *(f"{theirs:.0f}", f"{ours:.1f}", f"{theirs / ours:.1f}"),
        *(f"{result['largest_px']} px", f"{result['largest_score']:.1e}"),
    )
    head = ("frames", "faces", "dlib, CPU ms", "Rollcall, CPU ms", "ratio")
    return markdown.table((*head, "largest shift of a side", "of a score"), [row])
