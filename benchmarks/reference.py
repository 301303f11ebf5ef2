"""The flow that Rollcall is compared with, in the manner of course projects.

ffmpeg writes one JPEG a second, `face_recognition` looks at each until there is a face, and the
gallery is a pickle that is read again for every video.
"""

from __future__ import annotations

import pickle
import subprocess
import tempfile
from pathlib import Path

from benchmarks.theirs import face_recognition


def recognise(video: Path, gallery: Path) -> str:
    """The name of the first face's nearest identity; empty when there is none."""
    with tempfile.TemporaryDirectory() as folder:
        argv = ["ffmpeg", "-loglevel", "error", "-i", str(video), "-r", "1"]
        subprocess.run([*argv, f"{folder}/%03d.jpeg"], check=True, stdin=subprocess.DEVNULL)
        with open(gallery, "rb") as file:
            known = pickle.load(file)  # noqa: S301 - the point of the comparison
        for picture in sorted(Path(folder).iterdir()):
            encodings = face_recognition.face_encodings(
                face_recognition.load_image_file(str(picture))
            )
            if encodings:
                matches = face_recognition.compare_faces(known["encoding"], encodings[0])
                return str(known["name"][matches.index(True)]) if True in matches else ""
    return ""
