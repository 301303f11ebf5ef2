"""Reports and stored faces of made-up videos, as the function writes them into REPORT_BUCKET."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from rollcall.core.encoding_space import DLIB
from rollcall.core.index_types import IndexedVideo
from rollcall.core.keys import faces_key, report_key
from rollcall.core.protocols import ObjectStore
from rollcall.core.types import Encodings
from rollcall.corrections.corrected_reports import people_documents
from rollcall.recognition.deciding import SearchFacts
from rollcall.recognition.face_columns import StoredFaces
from rollcall.recognition.stored_faces import render_faces

REPORTS = "rollcall-reports"
QUALITY = (120.0, 0.2, 0.1, 0.99)


def report_of(video: IndexedVideo) -> dict[str, Any]:
    """The report, or the answer, from which `video` follows."""
    error = {"code": video.error_code, "message": video.error_message}
    return {
        "status": video.status,
        "work_id": video.work_id,
        "video": {"bucket": video.bucket, "key": video.key, "etag": video.etag},
        "people": people_documents(video),
        "coverage": dict(video.coverage),
        "duration_s": video.duration_s,
        "uploaded_s": video.uploaded_s,
        "recognised_s": video.finished_s,
        "gallery": video.gallery,
        "kept": video.kept,
        "corrected": video.corrected,
        **({"error": error} if video.status == "error" else {}),
    }


def encoding_of(name: str, number: int) -> Encodings:
    """An encoding of a person; those of different people are far apart."""
    rng = np.random.default_rng([number if not name else 0, *name.encode()])
    row = rng.standard_normal(DLIB.size)
    return row * 1.4 / np.linalg.norm(row)


def faces_of(video: IndexedVideo) -> StoredFaces:
    """One stored face for each person of the video."""
    people = sorted(video.people, key=lambda each: each.first_s)
    count = len(people)
    rows = [encoding_of(each.name, each.number) for each in people]
    return StoredFaces(
        etag=video.etag,
        space=DLIB,
        facts=SearchFacts(
            tuple(sorted({each.first_s for each in people})), (), video.duration_s, 1, 1, 1, 1, None
        ),
        names=tuple(each.name for each in video.people),
        times_s=np.array([each.first_s for each in people], np.float64),
        boxes=np.tile(np.array([[10, 60, 60, 10]], np.int32), (count, 1)),
        qualities=np.tile(np.array([QUALITY]), (count, 1)),
        problems=np.zeros(count, np.uint8),
        followed=np.zeros(count, np.bool_),
        rows=np.arange(count, dtype=np.int32),
        persons=np.array([each.number for each in people], np.int32),
        tracks=np.arange(count, dtype=np.int32),
        encodings=np.array(rows, np.float32).reshape(count, DLIB.size),
        pictured=np.zeros(0, np.int32),
        jpegs=(),
    )


def store_report(store: ObjectStore, video: IndexedVideo) -> None:
    """Write the report, and the stored faces if the video has any."""
    body = json.dumps(report_of(video)).encode()
    store.write(REPORTS, report_key(video.key), body, "application/json", {})
    if video.kept != "none":
        faces = render_faces(faces_of(video))
        store.write(REPORTS, faces_key(video.key), faces, "application/octet-stream", {})
