"""Files that are not videos, and unusual videos: each gets the documented answer."""

from __future__ import annotations

import os
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from support.home import IN, Home, answer, make_home
from support.odd_videos import stamped_video, with_duration
from support.videos import paint_frame, paint_video

from rollcall.core.errors import VideoTooSlow
from rollcall.core.protocols import Video, VideoFile
from rollcall.core.types import DetectedFace, Pixels, VideoLimits, VideoRef
from rollcall.function.function_service import FunctionService
from rollcall.recognition import recogniser as recognition
from rollcall.video.av_video import open_video

PLAYLIST = b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nother.mp4\n#EXT-X-ENDLIST\n"
CONCAT = b"ffconcat version 1.0\nfile 'other.mp4'\n"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        os.urandom(100_000),
        b"<!doctype html><html><body>502 Bad Gateway</body></html>",
        PLAYLIST,
        CONCAT,
        b"PK\x03\x04" + bytes(1000),
        b"\x00\x00\x00\x18ftypmp42" + bytes(1000),
    ],
    ids=["empty", "random", "html", "playlist", "concat", "archive", "mp4 header alone"],
)
def test_a_file_that_is_not_a_video_is_refused(home: Home, content: bytes) -> None:
    assert answer(home, content) == (422, "not_a_video")


def test_a_picture_with_a_videos_name_is_refused(home: Home) -> None:
    """FFmpeg would open the picture as a video of one frame."""
    _, jpeg = cv2.imencode(".jpg", paint_frame(["red"]))
    assert answer(home, jpeg.tobytes()) == (422, "not_a_video")


def test_a_name_without_a_videos_extension_is_refused(home: Home, tmp_path: Path) -> None:
    video = paint_video(tmp_path / "a.mp4", ["red"])
    assert answer(home, video, "notes.txt") == (422, "not_a_video")


def test_a_video_without_its_index_is_refused(home: Home, tmp_path: Path) -> None:
    whole = paint_video(tmp_path / "a.mp4", ["red"]).read_bytes()
    assert answer(home, whole[: len(whole) // 2]) == (422, "not_a_video")


def test_the_beginning_of_a_video_that_is_cut_off_is_used(home: Home, tmp_path: Path) -> None:
    """A Matroska file can be read without its index, so the frames before the cut are good."""
    whole = paint_video(tmp_path / "a.mkv", ["red"], frames_each=60).read_bytes()
    assert answer(home, whole[: len(whole) // 2], "a.mkv") == (200, "recognised")


def test_a_tiny_video_has_no_face(home: Home, tmp_path: Path) -> None:
    video = paint_video(tmp_path / "a.mp4", [], width=16, height=16)
    assert answer(home, video) == (200, "no_face")


def test_a_single_frame_is_enough(home: Home, tmp_path: Path) -> None:
    video = paint_video(tmp_path / "a.mp4", ["red"], frames_each=1)
    assert answer(home, video) == (200, "recognised")


@pytest.mark.parametrize("extension", ["avi", "mkv", "mov", "ts", "mpg", "flv", "mp4"])
def test_every_usual_container_is_read(home: Home, tmp_path: Path, extension: str) -> None:
    path = tmp_path / f"a.{extension}"
    fourcc = cv2.VideoWriter.fourcc(*("FLV1" if extension == "flv" else "mp4v"))
    if extension in ("mpg", "ts"):
        fourcc = cv2.VideoWriter.fourcc(*"mpg2")
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, fourcc, 25, (160, 96))
    for _ in range(10):
        writer.write(paint_frame(["red"]))
    writer.release()
    assert answer(home, path, path.name) == (200, "recognised")


def test_a_long_video_is_refused(tmp_path: Path) -> None:
    video = paint_video(tmp_path / "a.mp4", ["red"], frames_each=30)
    assert answer(make_home(MAX_VIDEO_S="2"), video) == (413, "too_long")


def test_a_video_with_too_many_pixels_is_refused(tmp_path: Path) -> None:
    video = paint_video(tmp_path / "a.mp4", ["red"])
    assert answer(make_home(MAX_VIDEO_PX="15000"), video) == (413, "too_large")


def test_a_video_that_is_too_long_is_refused_even_without_a_duration(tmp_path: Path) -> None:
    """The header has no duration, so the length is known only from the frames."""
    video = paint_video(tmp_path / "a.mkv", [], frames_each=40)
    hidden = video.read_bytes().replace(b"\x44\x89\x88", b"\xec\x81\x88")
    assert answer(make_home(MAX_VIDEO_S="2", SCAN="timeline"), hidden, "a.mkv")[0] == 413


def test_good_videos_after_bad_ones_are_recognised(home: Home, tmp_path: Path) -> None:
    service = FunctionService(lambda: home.pipeline)
    home.put("bad.mp4", b"bad")
    home.put("good.mp4", paint_video(tmp_path / "a.mp4", ["red"]))
    statuses = []
    for key in ("bad.mp4", "good.mp4", "bad.mp4", "good.mp4"):
        body = b'{"bucket": "%s", "key": "%s"}' % (IN.encode(), key.encode())
        statuses.append(service.answer(body).status)
    assert statuses == [422, 200, 422, 200]


def test_a_rotated_video_is_turned_upright(tmp_path: Path) -> None:
    """A phone's portrait clip has landscape frames and a matrix that says how to turn them."""
    plain = paint_video(tmp_path / "a.mp4", ["red"]).read_bytes()
    turned = tmp_path / "turned"
    turned.write_bytes(_rotate_90(plain))
    with open(turned, "rb") as file, open_video(file, VideoLimits(60, 1 << 20)) as video:
        frame = next(video.frames([0.0]))
    assert frame.pixels.shape == (160, 96, 3)
    rows, columns = np.nonzero(frame.pixels[..., 0] > 200)
    assert rows.mean() < 80, "the red square was on the left, so it is on top now"
    assert columns.mean() > 48


def _rotate_90(mp4: bytes) -> bytes:
    """Set the track's matrix (ISO/IEC 14496-12, tkhd) to a quarter turn clockwise."""
    start = mp4.index(b"tkhd") + 4 + 40
    one, minus_one, unit = (n.to_bytes(4, "big", signed=True) for n in (65536, -65536, 1 << 30))
    zero = bytes(4)
    matrix = zero + one + zero + minus_one + zero + zero + zero + zero + unit
    return mp4[:start] + matrix + mp4[start + len(matrix) :]


def people_of(home: Home, key: str) -> list[tuple[str, float]]:
    people = home.pipeline.run(VideoRef(IN, key))["people"]
    return [(person["name"], person["first_seen_s"]) for person in people]


@pytest.mark.parametrize("scan", ["identify", "timeline"])
def test_a_recording_with_jittered_stamps_is_searched_by_its_stamps(
    tmp_path: Path, scan: str
) -> None:
    """FFmpeg reports 1000 frames a second. If frames were counted at that rate, only one frame
    would be searched."""
    home = make_home(SCAN=scan)
    stamps = [n * 33 + (n * 7919) % 20 for n in range(600)]
    home.put("a.mkv", stamped_video(tmp_path / "a.mkv", stamps, red_from_ms=12_000))
    ((name, first_seen_s),) = people_of(home, "a.mkv")
    assert name == "alice"
    assert 11.9 <= first_seen_s <= 13.1


@pytest.mark.parametrize("factor", [0.5, 0.05, 3.0])
def test_a_wrong_duration_does_not_hide_anybody(tmp_path: Path, factor: float) -> None:
    home = make_home(MAX_VIDEO_S="3000")
    video = stamped_video(tmp_path / "a.mkv", range(0, 600_000, 500), red_from_ms=400_000)
    home.put("a.mkv", with_duration(video, factor))
    report = home.pipeline.run(VideoRef(IN, "a.mkv"))
    (person,) = report["people"]
    assert person["name"] == "alice"
    assert 399 <= person["first_seen_s"] <= 600


def test_a_video_that_takes_longer_than_the_limit_of_a_call_is_refused(
    tmp_path: Path,
) -> None:
    home = make_home(SCAN="timeline", MAX_CALL_S="1")
    home.put("a.mkv", stamped_video(tmp_path / "a.mkv", range(0, 600_000, 1000), 10**9))
    engine = home.recogniser.engine
    detect = engine.detect
    engine.detect = lambda pixels: (time.sleep(0.2), detect(pixels))[1]  # type: ignore[method-assign]
    with pytest.raises(VideoTooSlow, match="MAX_CALL_S"):
        home.pipeline.run(VideoRef(IN, "a.mkv"))


def test_a_small_video_gets_little_processor_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a file of a few kilobytes could keep a replica busy for MAX_CALL_S."""
    monkeypatch.setattr(recognition, "CPU_S", 0.3)
    home = make_home(MAX_CALL_S="60")
    home.put("a.mkv", stamped_video(tmp_path / "a.mkv", range(0, 600_000, 500), 10**9))
    home.recogniser.engine.detect = burn_processor_time  # type: ignore[method-assign]
    with pytest.raises(VideoTooSlow, match="processor time"):
        home.pipeline.run(VideoRef(IN, "a.mkv"))


def burn_processor_time(pixels: Pixels) -> tuple[DetectedFace, ...]:
    until_s = time.thread_time() + 0.1
    while time.thread_time() < until_s:
        pass
    return ()


def test_decoding_gets_the_same_processor_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []
    home = make_home(MAX_CALL_S="60")
    opened = home.recogniser._open_video

    def note(file: VideoFile, *, cpu_s: float, **others: Any) -> AbstractContextManager[Video]:
        asked.append(cpu_s)
        return opened(file, cpu_s=cpu_s, **others)

    home.recogniser._open_video = note
    home.put("a.mp4", paint_video(tmp_path / "a.mp4", ["red"]))
    home.pipeline.run(VideoRef(IN, "a.mp4"))
    assert asked == [pytest.approx(recognition.CPU_S, abs=0.1)]
