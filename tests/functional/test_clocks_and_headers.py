"""The length of a video comes from its content, whatever its time stamps and headers say."""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from support.ffmpeg import H264, ffmpeg
from support.home import IN, answer, make_home
from support.videos import paint_video

from rollcall.core.types import VideoLimits, VideoRef
from rollcall.video.av_video import open_video

LIMITS = VideoLimits(14_400, 1 << 20)
SECONDS = 6


@pytest.fixture(scope="module")
def late(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of six seconds in which alice appears after three."""
    folder = tmp_path_factory.mktemp("late")
    plain = paint_video(folder / "painted.mp4", [], ["red"], frames_each=30)
    return ffmpeg(f"-i '{plain}' {H264} -crf 10 -g 10 -bf 2", folder / "late.mp4")


def check(path: Path, **settings: str) -> None:
    """Assert that alice is found at three seconds and the length is six seconds."""
    for scan in ("identify", "timeline"):
        home = make_home(SCAN=scan, **settings)
        home.put(path.name, path)
        (person,) = home.pipeline.run(VideoRef(IN, path.name))["people"]
        assert person["name"] == "alice"
        assert person["first_seen_s"] == pytest.approx(3, abs=0.6)
    with open(path, "rb") as file, open_video(file, LIMITS) as video:
        assert video.duration_s == pytest.approx(SECONDS, abs=0.5)
        last = [frame.time_s for frame in video.frames([0.0, 5.5])][-1]
        assert last == pytest.approx(5.5, abs=0.3)


@pytest.mark.parametrize("offset_s", [3600, 20_000, 1_000_000])
@pytest.mark.parametrize("extension", ["mkv", "ts", "flv", "mov"])
def test_time_stamps_may_start_late(
    late: Path, tmp_path: Path, extension: str, offset_s: int
) -> None:
    options = f"-i '{late}' -c copy -copyts -output_ts_offset {offset_s}"
    check(ffmpeg(options, tmp_path / f"a.{extension}"))


@pytest.mark.parametrize("offset_s", [50_000, 3600, -1000, 0])
@pytest.mark.parametrize("extension", ["ts", "mpg"])
def test_two_joined_recordings_are_one_video(
    late: Path, tmp_path: Path, extension: str, offset_s: int
) -> None:
    """After a restart, a camera continues with other time stamps."""
    codec = "-c:v mpeg2video -q:v 2 -g 10" if extension == "mpg" else "-c copy"
    start_s, restart_s = max(0, -offset_s), max(0, offset_s)
    options = f"-t 3 -i '{late}' {codec} -output_ts_offset {start_s}"
    first = ffmpeg(options, tmp_path / f"first.{extension}")
    options = f"-ss 3 -i '{late}' {codec} -output_ts_offset {restart_s}"
    second = ffmpeg(options, tmp_path / f"second.{extension}")
    joined = tmp_path / f"joined.{extension}"
    joined.write_bytes(first.read_bytes() + second.read_bytes())
    home = make_home(SCAN="identify")
    home.put(joined.name, joined)
    (person,) = home.pipeline.run(VideoRef(IN, joined.name))["people"]
    assert person["name"] == "alice"
    assert person["first_seen_s"] == pytest.approx(3, abs=0.6)


@pytest.mark.parametrize("jump_s", [900, 3600, 20_000])
@pytest.mark.parametrize("extension", ["mp4", "mkv"])
def test_time_stamps_may_jump_when_a_camera_sets_its_clock(
    late: Path, tmp_path: Path, extension: str, jump_s: int
) -> None:
    stamps = rf"-vf setpts=if(gt(N\,3)\,PTS+{jump_s}/TB\,PTS) -fps_mode passthrough"
    filters = stamps.replace("\\", "\\\\")
    check(ffmpeg(f"-i '{late}' {filters} {H264} -crf 10 -bf 2", tmp_path / f"a.{extension}"))


def absurd_mp4(film: bytes) -> bytes:
    """Multiply the length by 100,000 in every header field that states it."""
    body = bytearray(film)
    for name, offset in ((b"mvhd", 20), (b"tkhd", 24), (b"mdhd", 20)):
        at = body.index(name) + offset
        (duration,) = struct.unpack(">I", body[at : at + 4])
        struct.pack_into(">I", body, at, min(0xFFFFFFFE, duration * 100_000))
    return bytes(body)


def test_an_absurd_length_in_an_mp4_is_ignored(late: Path, tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(absurd_mp4(late.read_bytes()))
    check(tmp_path / "a.mp4")


@pytest.mark.parametrize(("extension", "name"), [("mkv", b"\x44\x89\x88"), ("flv", b"duration\0")])
@pytest.mark.parametrize("factor", [600, 100_000])
def test_an_absurd_length_in_other_headers_is_ignored(
    late: Path, tmp_path: Path, extension: str, name: bytes, factor: int
) -> None:
    body = bytearray(ffmpeg(f"-i '{late}' -c copy", tmp_path / f"a.{extension}").read_bytes())
    at = body.index(name) + len(name)
    (duration,) = struct.unpack(">d", body[at : at + 8])
    struct.pack_into(">d", body, at, duration * factor)
    (tmp_path / f"a.{extension}").write_bytes(body)
    check(tmp_path / f"a.{extension}")


def test_an_absurd_length_in_an_avi_is_ignored(late: Path, tmp_path: Path) -> None:
    body = bytearray(ffmpeg(f"-i '{late}' -c:v mpeg4 -q:v 2", tmp_path / "a.avi").read_bytes())
    for name, offset in ((b"avih", 8 + 16), (b"strh", 8 + 32)):
        struct.pack_into("<I", body, body.index(name) + offset, 0x7FFFFFFF)
    (tmp_path / "a.avi").write_bytes(body)
    check(tmp_path / "a.avi")


@pytest.mark.parametrize("extension", ["mp4", "mkv", "ts", "avi"])
def test_max_video_s_limits_the_length_of_the_content(tmp_path: Path, extension: str) -> None:
    plain = paint_video(tmp_path / "plain.mp4", ["red"], frames_each=60)
    codec = "-c:v mpeg4" if extension == "avi" else f"{H264} -g 10"
    path = ffmpeg(f"-i '{plain}' {codec}", tmp_path / f"a.{extension}")
    assert answer(make_home(MAX_VIDEO_S="3"), path, path.name) == (413, "too_long")
    assert answer(make_home(MAX_VIDEO_S="7"), path, path.name) == (200, "recognised")


def short_visit(folder: Path, seconds: int, start_s: int, end_s: int) -> Path:
    """A video of an empty room at a camera's bit rate; alice is there from `start_s` to `end_s`."""
    scenes = [([], start_s), (["red"], end_s - start_s), ([], seconds - end_s)]
    parts = []
    for number, (faces, length_s) in enumerate(scenes):
        path = paint_video(folder / f"{number}.mp4", faces, frames_each=length_s * 10)
        parts.append(f"file '{path}'\n")
    (folder / "parts.txt").write_text("".join(parts))
    noise = "noise=alls=12:allf=t"
    options = f"-f concat -safe 0 -i '{folder / 'parts.txt'}' -vf {noise} {H264} -g 20 -b:v 400k"
    return ffmpeg(options, folder / "visit.mp4")


Visit = Callable[[int, int, int], Path]
"""`short_visit` with a cache, so that each video is made only once."""


@pytest.fixture(scope="module")
def visit(tmp_path_factory: pytest.TempPathFactory) -> Visit:
    return cache(
        lambda seconds, start_s, end_s: short_visit(
            tmp_path_factory.mktemp("visit"), seconds, start_s, end_s
        )
    )


SCANS_AND_STAYS = [("identify", 4), ("auto", 11)]
"""For each scan, the seconds that alice is in a video of a minute. Looks must not be farther apart
than that."""


def names(path: Path, scan: str) -> list[str]:
    home = make_home(SCAN=scan)
    home.put(path.name, path)
    return [person["name"] for person in home.pipeline.run(VideoRef(IN, path.name))["people"]]


@pytest.mark.parametrize(("scan", "stay_s"), SCANS_AND_STAYS)
@pytest.mark.parametrize("extension", ["mp4", "mkv"])
def test_after_a_jump_looks_are_still_close_enough(
    visit: Visit, tmp_path: Path, extension: str, scan: str, stay_s: int
) -> None:
    film = visit(60, 10, 10 + stay_s)
    stamps = r"-vf setpts=if(gt(N\\,50)\\,PTS+900/TB\\,PTS) -fps_mode passthrough"
    path = ffmpeg(f"-i '{film}' {stamps} {H264} -g 20 -b:v 400k", tmp_path / f"jump.{extension}")
    assert names(path, scan) == ["alice"]


@pytest.mark.parametrize(("scan", "stay_s"), SCANS_AND_STAYS)
@pytest.mark.parametrize("extension", ["ts", "mpg"])
def test_after_a_restart_looks_are_still_close_enough(
    visit: Visit, tmp_path: Path, extension: str, scan: str, stay_s: int
) -> None:
    film = visit(60, 10, 10 + stay_s)
    codec = "-c:v mpeg2video -b:v 800k -g 20 -r 25" if extension == "mpg" else "-c copy"
    first = ffmpeg(f"-t 20 -i '{film}' {codec}", tmp_path / f"a.{extension}")
    options = f"-ss 20 -i '{film}' {codec} -output_ts_offset 3600"
    second = ffmpeg(options, tmp_path / f"b.{extension}")
    joined = tmp_path / f"joined.{extension}"
    joined.write_bytes(first.read_bytes() + second.read_bytes())
    assert names(joined, scan) == ["alice"]


@pytest.mark.parametrize("hold_s", [30, 90, 400])
@pytest.mark.parametrize("extension", ["mp4", "mkv"])
def test_every_picture_of_a_slide_show_is_searched(
    tmp_path: Path, extension: str, hold_s: int
) -> None:
    """Each picture is shown for `hold_s` seconds, and alice is on the second one."""
    pictures = paint_video(tmp_path / "painted.mp4", [], ["red"], [], [], frames_each=1)
    stamps = f"-vf settb=1/1000,setpts=N*{hold_s}/TB -fps_mode passthrough -enc_time_base 1/1000"
    path = ffmpeg(f"-i '{pictures}' {stamps} {H264} -crf 10", tmp_path / f"a.{extension}")
    home = make_home()
    home.put(path.name, path)
    (person,) = home.pipeline.run(VideoRef(IN, path.name))["people"]
    assert (person["name"], person["first_seen_s"]) == ("alice", pytest.approx(hold_s, abs=0.1))


@pytest.fixture(scope="module", params=[600, 10_000])
def few_key_frames(
    request: pytest.FixtureRequest, visit: Visit, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A video of five minutes with one key frame per minute, or with a single one."""
    parameters = f"-x264-params keyint={request.param}:scenecut=0:repeat-headers=1"
    options = f"-i '{visit(300, 270, 285)}' {H264} {parameters} -b:v 400k"
    return ffmpeg(options, tmp_path_factory.mktemp("few") / "few.mp4")


@pytest.mark.parametrize("extension", ["ts", "mp4", "mkv"])
def test_key_frames_may_be_far_apart(few_key_frames: Path, tmp_path: Path, extension: str) -> None:
    """Cameras that save bandwidth write one key frame per minute, or only one at the start."""
    path = ffmpeg(f"-i '{few_key_frames}' -c copy", tmp_path / f"far.{extension}")
    assert names(path, "auto") == ["alice"]
