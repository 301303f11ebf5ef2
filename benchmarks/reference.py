"""The reference flow with which Rollcall is compared. It does what typical scripts do.

The `ffmpeg` program writes a JPEG for each second, `face_recognition` searches the JPEGs until it
finds a face, and the gallery is a pickle that is read again for every video.
"""

from __future__ import annotations

import pickle
import subprocess
import tempfile
from pathlib import Path

from benchmarks.theirs import face_recognition


def recognise(video: Path, gallery: Path) -> str:
    """Return the first name in the gallery that matches the first face; "" if none matches."""
    with tempfile.TemporaryDirectory() as folder:
        argv = ["ffmpeg", "-loglevel", "error", "-i", str(video), "-r", "1"]
        subprocess.run([*argv, f"{folder}/%03d.jpeg"], check=True, stdin=subprocess.DEVNULL)
        with open(gallery, "rb") as file:
            known = pickle.load(file)  # noqa: S301 - typical scripts do this
        for picture in sorted(Path(folder).iterdir()):
            encodings = face_recognition.face_encodings(
                face_recognition.load_image_file(str(picture))
            )
            if encodings:
                matches = face_recognition.compare_faces(known["encoding"], encodings[0])
                return str(known["name"][matches.index(True)]) if True in matches else ""
    return ""
