"""A small folder of videos, made from pictures that come inside installed dependencies.

scikit-image brings the astronaut and a cat; the source distribution of `face_recognition` brings
two presidents. One of them is enrolled from one picture and recognised in two others. The other
has a single picture, so his clip shows it mirrored, moved and with noise.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np
from skimage import data

from rollcall.adapters.opencv_photo import read_photo
from rollcall.core.gallery import empty_gallery
from rollcall.core.seams import FaceEngine
from rollcall.core.types import Pixels
from rollcall.enrolment import enrol, save
from rollcall.galleries import FilePlace
from rollcall.local.build_context import REPOSITORY

SOURCE = "face_recognition==1.3.0"
SOURCE_SHA256 = "5e5efdd1686aa566af0d3cc1313b131e4b197657a8ffd03669e6d3fad92705ec"
PICTURES = ("biden.jpg", "obama.jpg", "obama2.jpg", "obama3.jpg")
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
    _fetch_pictures(pictures)
    for name, clip in _clips(pictures).items():
        _write_clip(started / "videos" / name, clip())
    gallery = empty_gallery()
    for name, picture in ENROLLED.items():
        gallery = enrol(gallery, name, [pictures / picture], engine, read_photo)
    save(gallery, FilePlace(started / "encoding"))
    for name in ("mapping", "student_data.json"):
        shutil.copy(REPOSITORY / "data" / name, started / name)
    shutil.rmtree(pictures)
    started.rename(folder)


def _fetch_pictures(folder: Path) -> None:
    """With pip, as a dependency would be; it compares the hash before it looks into the archive."""
    folder.mkdir()
    wanted = folder / "wanted.txt"
    wanted.write_text(f"{SOURCE} --hash=sha256:{SOURCE_SHA256}\n")
    argv = [
        sys.executable,
        *("-m", "pip", "download", "--quiet", "--no-deps", "--no-build-isolation"),
        *("--no-binary", ":all:", "--require-hashes", "--dest", str(folder), "-r", str(wanted)),
    ]
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL)
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as members:
        for member in members:
            name = PurePosixPath(member.name).name
            if member.isfile() and name in PICTURES and "/test_images/" in member.name:
                member.name = name
                members.extract(member, folder, filter="data")


def _clips(pictures: Path) -> dict[str, Clip]:
    """What is to be seen in which clip; `data/mapping` says who."""
    obama2, obama3, biden = (
        read_photo(pictures / name) for name in ("obama2.jpg", "obama3.jpg", "biden.jpg")
    )
    mirrored = np.ascontiguousarray(biden[:, ::-1])
    astronaut = np.ascontiguousarray(_picture(data.astronaut)[:220])
    cat = np.ascontiguousarray(_picture(data.chelsea))
    return {
        "cat.mp4": lambda: _move(cat),
        "late.mp4": lambda: _one_after_the_other(cat, obama2),
        "lecture_1.mp4": lambda: _move(obama2),
        "lecture_2.mp4": lambda: _move(obama3),
        "lecture_3.mp4": lambda: _move(mirrored),
        "stranger.mp4": lambda: _move(astronaut),
        "two_people.mp4": lambda: _move(_side_by_side(obama3, mirrored)),
    }


def _picture(load: Any) -> Pixels:
    """scikit-image's loaders have no types."""
    return np.asarray(load(), dtype=np.uint8)


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
