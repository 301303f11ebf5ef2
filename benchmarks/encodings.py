"""How far our encodings are from those of `face_recognition` for the same boxes."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from benchmarks.bench import Bench
from benchmarks.theirs import face_recognition
from rollcall.wiring import build_engine

TITLE = "Encodings"


def run(bench: Bench) -> dict[str, Any]:
    """Over the faces of all first frames."""
    engine = build_engine(bench.settings)
    differences = []
    for video in bench.videos:
        _, bgr = cv2.VideoCapture(str(video)).read()
        rgb = np.ascontiguousarray(bgr[..., ::-1], dtype=np.uint8)
        for face in engine.faces(rgb):
            (theirs,) = face_recognition.face_encodings(rgb, [tuple(face.box)])
            differences.append(float(np.linalg.norm(theirs - face.encoding)))
    return {"faces": len(differences), "largest_l2": max(differences)}


def table(result: dict[str, Any]) -> str:
    return (
        f"Largest difference of an encoding from `face_recognition`'s (L2), of {result['faces']}"
        f" faces: {result['largest_l2']:.1e}."
    )
