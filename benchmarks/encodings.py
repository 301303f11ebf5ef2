"""How far our encodings are from those of `face_recognition` for the same boxes."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.bench import Bench
from benchmarks.frames import rgb_frames
from benchmarks.theirs import face_recognition
from rollcall.core.types import Box, Pixels
from rollcall.tools.demo import sample_folder
from rollcall.wiring import build_engine

TITLE = "Encodings"


def run(bench: Bench) -> dict[str, Any]:
    """Over the faces of all frames, in the clips and in the demo's sample; but not those at an
    edge, whose boxes are told without what lies outside: a reference would cut out others."""
    engine = build_engine(bench.settings)
    clips = [*bench.videos, *sorted((sample_folder(bench.folder) / "videos").iterdir())]
    differences = []
    for clip in clips:
        for rgb in rgb_frames(clip, bench.sizes.encodings_step):
            for face in engine.faces(rgb):
                if _at_edge(face.box, rgb):
                    continue
                (theirs,) = face_recognition.face_encodings(rgb, [tuple(face.box)])
                differences.append(float(np.linalg.norm(theirs - face.encoding)))
    return {"clips": len(clips), "faces": len(differences), "largest_l2": max(differences)}


def _at_edge(box: Box, rgb: Pixels) -> bool:
    height, width = rgb.shape[:2]
    return min(box.left, box.top) <= 0 or box.right >= width or box.bottom >= height


def table(result: dict[str, Any]) -> str:
    return (
        f"Largest difference of an encoding from `face_recognition`'s (L2), of {result['faces']}"
        f" faces in {result['clips']} clips, the demo's sample among them:"
        f" {result['largest_l2']:.1e}."
    )
