"""In files with several video tracks, the track with moving pictures and faces is used.

The report says which track was used, and how many were searched.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import pytest
from support.ffmpeg import H264, ffmpeg, moving_card
from support.home import IN, make_home
from support.videos import paint_frame, paint_video

from rollcall.core.errors import NotAVideo
from rollcall.core.types import VideoRef


def run(path: Path, scan: str = "identify") -> tuple[list[str], dict[str, Any]]:
    home = make_home(SCAN=scan)
    home.put(path.name, path)
    answer = home.pipeline.run(VideoRef(IN, path.name))
    report = json.loads(home.store.read("reports", f"{path.name}.json", 1 << 20))
    assert report["coverage"] == answer["coverage"]
    tracks = {name: value for name, value in answer["coverage"].items() if "track" in name}
    return [person["name"] for person in answer["people"]], tracks


def coverage_of(track: int, tracks: int, searched: int) -> dict[str, int]:
    return {"video_track": track, "video_tracks": tracks, "video_tracks_searched": searched}


@pytest.fixture
def camera(tmp_path: Path) -> Path:
    painted = paint_video(tmp_path / "painted.mp4", ["red"], frames_each=30)
    return ffmpeg(f"-i '{painted}' {H264} -crf 10 -g 50", tmp_path / "camera.mp4")


@pytest.fixture
def slides(tmp_path: Path) -> Path:
    return moving_card(tmp_path / "slides.mp4", f"-vf hue=s=0 {H264} -g 50")


def joined(output: Path, *files: Path, options: str = "") -> Path:
    inputs = " ".join(f"-i '{each}'" for each in files)
    maps = " ".join(f"-map {number}:v" for number in range(len(files)))
    return ffmpeg(f"{inputs} {maps} -c copy {options}", output)


@pytest.mark.parametrize("scan", ["identify", "timeline"])
@pytest.mark.parametrize("extension", ["mp4", "mkv", "ts"])
def test_the_track_with_faces_is_used(
    tmp_path: Path, camera: Path, slides: Path, extension: str, scan: str
) -> None:
    path = joined(tmp_path / f"a.{extension}", slides, camera)
    assert run(path, scan) == (["alice"], coverage_of(2, 2, 2))
    path = joined(tmp_path / f"b.{extension}", camera, slides)
    assert run(path, scan)[0] == ["alice"]


def test_a_person_who_appears_late_on_the_second_track_is_found(
    tmp_path: Path, slides: Path
) -> None:
    late = paint_video(tmp_path / "late.mp4", [], ["red"], frames_each=20)
    assert run(joined(tmp_path / "a.mp4", slides, late)) == (["alice"], coverage_of(2, 2, 2))


@pytest.mark.parametrize("faces", [[], ["blue"]])
def test_a_thumbnail_is_searched_last(tmp_path: Path, camera: Path, faces: list[str]) -> None:
    """That is so even if the thumbnail is the default track, and even if it shows a person."""
    frame = paint_frame(faces, 1920, 1080)
    still = tmp_path / "thumb.jpg"
    cv2.imwrite(str(still), frame)
    options = "-disposition:v:0 default -disposition:v:1 0"
    path = joined(tmp_path / "a.mkv", still, camera, options=options)
    assert run(path) == (["alice"], coverage_of(2, 2, 1))


def test_all_tracks_are_searched_if_none_shows_a_face(tmp_path: Path, slides: Path) -> None:
    assert run(joined(tmp_path / "a.mp4", slides, slides)) == ([], coverage_of(1, 2, 2))


def test_no_more_than_three_tracks_are_searched(tmp_path: Path, slides: Path, camera: Path) -> None:
    names, coverage = run(joined(tmp_path / "a.mkv", slides, slides, slides, camera))
    assert (names, coverage) == ([], coverage_of(1, 4, 3))


def test_a_track_that_cannot_be_decoded_is_left_out(
    tmp_path: Path, camera: Path, slides: Path
) -> None:
    film = bytearray(joined(tmp_path / "a.mp4", slides, camera).read_bytes())
    at = film.index(b"avcC") + 12
    film[at : at + 24] = bytes(24)
    (tmp_path / "a.mp4").write_bytes(film)
    assert run(tmp_path / "a.mp4") == (["alice"], coverage_of(2, 2, 1))


def test_a_file_without_a_track_that_can_be_decoded_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"\0\0\0\x20ftypisom" + bytes(100))
    with pytest.raises(NotAVideo):
        run(path)


def test_a_track_within_the_limits_comes_before_one_that_is_too_large(
    tmp_path: Path, camera: Path
) -> None:
    large = moving_card(tmp_path / "large.mp4", f"-vf scale=1280:720 {H264}")
    path = joined(tmp_path / "a.mp4", large, camera)
    home = make_home(MAX_VIDEO_PX="20000")
    home.put(path.name, path)
    answer = home.pipeline.run(VideoRef(IN, path.name))
    assert [person["name"] for person in answer["people"]] == ["alice"]
