"""The looks of `AvVideo.key_frames` are close enough together, show the right pictures, and are
cheap."""

from __future__ import annotations

from itertools import count, pairwise
from pathlib import Path

import numpy as np
import pytest
from support.ffmpeg import H264, ffmpeg, moving_card
from support.odd_videos import stamped_video

from rollcall.core.types import Pixels, VideoLimits
from rollcall.video.av_video import AvVideo, open_video
from rollcall.video.opening import AnyPacket
from rollcall.video.packet_decoder import PacketDecoder
from rollcall.video.read_ahead import ReadAhead

LIMITS = VideoLimits(3600, 1 << 22)
STEP_S = 2.0
SECONDS = 15
FRAME_S = 1 / 25

X265 = "-c:v libx265 -preset ultrafast -x265-params log-level=none"
ENCODINGS = {
    "as-long-as-a-step.mp4": f"{H264} -x264-params keyint=50:scenecut=0",
    "short.mp4": f"{H264} -g 12",
    "longer.mp4": f"{H264} -x264-params keyint=52:scenecut=0",
    "longer.mkv": f"{H264} -x264-params keyint=52:scenecut=0",
    "longer.ts": f"{H264} -x264-params keyint=52:scenecut=0",
    "twice-as-long.mp4": f"{H264} -x264-params keyint=130:scenecut=0",
    "one.mp4": f"{H264} -x264-params keyint=infinite:scenecut=0",
    "one.mkv": f"{H264} -x264-params keyint=infinite:scenecut=0",
    "one.ts": f"{H264} -x264-params keyint=infinite:scenecut=0",
    "open.mp4": f"{H264} -x264-params open-gop=1:keyint=30:bframes=3:scenecut=0",
    "open.ts": f"{H264} -x264-params open-gop=1:keyint=30:bframes=3:scenecut=0",
    "refresh.mp4": f"{H264} -x264-params intra-refresh=1:keyint=40:bframes=0",
    "refresh.ts": f"{H264} -x264-params intra-refresh=1:keyint=40:bframes=0",
    "hevc.mp4": f"{X265}:keyint=40:open-gop=1",
    "hevc.ts": f"{X265}:keyint=40:open-gop=1",
    "mpeg4.avi": "-c:v mpeg4 -g 40",
    "mpeg4.ts": "-c:v mpeg4 -g 40 -bf 2",
    "mpeg2.mpg": "-c:v mpeg2video -g 40 -bf 2",
    "vp9.webm": "-c:v libvpx-vp9 -g 40 -deadline realtime -cpu-used 8",
    "mjpeg.avi": "-c:v mjpeg",
    "h264.flv": f"{H264} -g 40",
    "fragments.mp4": f"{H264} -g 40 -movflags frag_keyframe+empty_moov+default_base_moof",
}
REORDERED_S = 4 * FRAME_S
"""Tolerance for frames before a gap: frames that no other frame refers to are left out."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    for name, options in ENCODINGS.items():
        moving_card(folder / name, options, SECONDS)
    return folder


def every_frame(path: Path) -> dict[float, Pixels]:
    """Return every frame by its time, decoded in order from the first packet."""
    with open(path, "rb") as file, open_video(file, LIMITS) as video:
        video._finder.has_begun = True  # the first frame is not decoded alone
        video._finder.may_seek = False
        times = (n * FRAME_S for n in range(100_000))
        return {round(each.time_s, 3): each.pixels.copy() for each in video.frames(times)}


def looks(path: Path, step_s: float = STEP_S) -> list[tuple[float, Pixels]]:
    with open(path, "rb") as file, open_video(file, LIMITS) as video:
        found = [(each.time_s, each.pixels.copy()) for each in video.key_frames(step_s)]
        assert not video.damaged
        return found


def longest_gap_s(times_s: list[float], end_s: float) -> float:
    return max(later - earlier for earlier, later in pairwise([*times_s, end_s]))


def check(path: Path, step_s: float = STEP_S) -> list[float]:
    """Check the looks at a video whose pictures never stand still and whose clock never jumps.

    Returns the times of the looks.
    """
    everything, found = every_frame(path), looks(path, step_s)
    times_s = [time_s for time_s, _ in found]
    assert round(times_s[0], 3) == min(everything), "the first frame"
    assert longest_gap_s(times_s, max(everything)) <= step_s + FRAME_S
    for time_s, pixels in found:
        assert np.array_equal(pixels, everything[round(time_s, 3)]), f"the picture at {time_s} s"
    return times_s


@pytest.mark.parametrize("name", ENCODINGS)
def test_looks_are_close_enough_and_show_the_right_pictures(whole: Path, name: str) -> None:
    check(whole / name)


@pytest.mark.parametrize(
    "name", ["short.mp4", "one.mp4", "refresh.mp4", "open.ts", "mpeg4.avi", "one.mkv"]
)
def test_looks_at_cut_videos_are_right(whole: Path, tmp_path: Path, name: str) -> None:
    """An editor hides the beginning behind an edit list, and a receiver joins in the middle."""
    trimmed = ffmpeg(f"-ss 1.3 -i '{whole / name}' -c copy", tmp_path / f"trimmed-{name}")
    drop = r"-c copy -copyinkf -bsf:v noise=drop=lt(n\\,20)"
    headless = ffmpeg(f"-i '{whole / name}' {drop}", tmp_path / f"headless-{name}")
    check(trimmed)
    if not name.startswith("one"):  # nothing can be decoded without its only key frame
        check(headless)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[AnyPacket | None]:
    """Record the packets that are decoded from now on."""
    packets: list[AnyPacket | None] = []
    decode = PacketDecoder.decode

    def noting(self: PacketDecoder, packet: AnyPacket | None) -> object:
        packets.append(packet)
        return decode(self, packet)

    monkeypatch.setattr(PacketDecoder, "decode", noting)
    return packets


def pictures(decoded: list[AnyPacket | None]) -> int:
    return sum(packet is not None for packet in decoded)


@pytest.mark.parametrize("rate", ["25", "24000/1001"])
@pytest.mark.parametrize("kind", ["mp4", "mkv", "ts"])
def test_with_x264s_default_key_frames_few_pictures_are_decoded(
    tmp_path: Path, decoded: list[AnyPacket | None], rate: str, kind: str
) -> None:
    """x264's key frames are 250 frames apart: exactly ten seconds at 25 frames a second, and more
    than ten at 23.976. At that rate, each look between two key frames comes soon after the first
    of them."""
    card = f"-f lavfi -i testsrc2=s=64x48:r={rate}:d=65 {H264} -bf 3"
    path = ffmpeg(f"{card} -x264-params keyint=250:scenecut=0", tmp_path / f"a.{kind}")
    times_s = [time_s for time_s, _ in looks(path, 10.0)]
    assert longest_gap_s(times_s, 65.0) <= 10.0 + FRAME_S
    if rate == "25":
        assert times_s == pytest.approx([0, 10, 20, 30, 40, 50, 60], abs=1e-6)
        assert pictures(decoded) <= len(times_s) + 1
    else:
        assert pictures(decoded) < 0.25 * 65 * 24


def test_the_last_key_frame_in_each_step_is_chosen(whole: Path) -> None:
    """Key frames are 0.48 s apart, and a step is two seconds long."""
    times_s = [time_s for time_s, _ in looks(whole / "short.mp4")]
    assert times_s[:4] == pytest.approx([0, 1.92, 3.84, 5.76])


def test_looks_are_right_with_a_variable_frame_rate(tmp_path: Path) -> None:
    pick = r"select='not(mod(n\,7))+lt(mod(n\,50)\,20)'"
    for kind in ("mp4", "mkv"):
        path = moving_card(tmp_path / f"a.{kind}", f"-vf {pick} -vsync vfr {H264} -g 30", 12)
        check(path)


@pytest.mark.parametrize("kind", ["mkv", "mp4"])
def test_pictures_that_stand_still_are_looked_at(tmp_path: Path, kind: str) -> None:
    """The video shows slides for a minute each, and a few short frames between them."""
    stamps = [0, 60_000, 120_000, 120_040, 120_080, 180_000, 240_000]
    path = stamped_video(tmp_path / "a.mkv", stamps, 0)
    if kind == "mp4":
        path = ffmpeg(f"-i '{path}' -c copy", tmp_path / "a.mp4")
    times_s = [time_s for time_s, _ in looks(path, 10.0)]
    assert times_s == pytest.approx([0, 60, 120, 120.08, 180, 240])


def test_looks_are_close_enough_if_the_clock_jumps(tmp_path: Path) -> None:
    """A camera restarts twice."""
    ten_s = range(0, 10_000, 40)
    stamps = [*ten_s, *(7_200_000 + each for each in ten_s), *(14_400_000 + each for each in ten_s)]
    found = looks(stamped_video(tmp_path / "a.mkv", stamps, 0))
    assert longest_gap_s([time_s for time_s, _ in found], 30.0) <= STEP_S + FRAME_S


def test_damage_costs_only_the_pictures_that_refer_to_it(tmp_path: Path) -> None:
    """A key frame and some frames after it are lost, in a group of pictures of two seconds."""
    path = moving_card(tmp_path / "a.ts", f"{H264} -x264-params keyint=50:scenecut=0", SECONDS)
    data = bytearray(path.read_bytes())
    with open(path, "rb") as file, open_video(file, LIMITS) as video:
        keys = [each.pos for each in video._finder._packets if each.is_keyframe]
    start = keys[3]
    data[start + 188 * 2 : start + 188 * 6] = bytes(188 * 4)
    path.write_bytes(data)
    with open(path, "rb") as file, open_video(file, LIMITS) as video:
        times_s = [each.time_s for each in video.key_frames(STEP_S)]
    assert longest_gap_s(times_s, SECONDS) <= 2 * STEP_S + FRAME_S


def test_a_file_that_is_cut_off_ends_early(whole: Path, tmp_path: Path) -> None:
    fast = ffmpeg(f"-i '{whole / 'short.mp4'}' -c copy -movflags +faststart", tmp_path / "a.mp4")
    data = fast.read_bytes()
    fast.write_bytes(data[: len(data) // 2])
    with open(fast, "rb") as file, open_video(file, LIMITS) as video:
        times_s = [each.time_s for each in video.key_frames(STEP_S)]
        assert 3 < video.moving_s < 12
    assert longest_gap_s(times_s, video.moving_s) <= STEP_S + 2 * FRAME_S


def test_the_memory_for_packets_read_ahead_is_limited(
    whole: Path, monkeypatch: pytest.MonkeyPatch, decoded: list[AnyPacket | None]
) -> None:
    """If packets are large, the looks lie closer together instead of filling the memory."""
    monkeypatch.setattr("rollcall.video.read_ahead.MAX_AHEAD_BYTES", 20_000)
    max_bytes = 0
    read = ReadAhead._read

    def noting(self: ReadAhead) -> bool:
        nonlocal max_bytes
        max_bytes = max(max_bytes, self._bytes)
        return read(self)

    monkeypatch.setattr(ReadAhead, "_read", noting)
    for name in ("one.ts", "open.ts"):
        check(whole / name)
    assert 10_000 < max_bytes < 100_000


def every_second(video: AvVideo, first_s: float) -> dict[float, Pixels]:
    return {each.time_s: each.pixels.copy() for each in video.frames(count(first_s, 1.0))}


@pytest.mark.parametrize("name", ["short.mp4", "one.mp4", "open.mp4", "hevc.mp4", "mpeg4.avi"])
@pytest.mark.parametrize("first_s", [1.0, 7.0, 8.0])
def test_a_second_reader_begins_in_the_middle(whole: Path, name: str, first_s: float) -> None:
    found = []
    for start_s in (0.0, first_s):
        with open(whole / name, "rb") as file, open_video(file, LIMITS, whole=True) as video:
            assert video.divisible
            found.append(every_second(video, start_s))
    everything, rest = found
    due = {time_s for time_s in everything if time_s >= first_s - FRAME_S / 2}
    assert {round(each, 6) for each in due} == {round(each, 6) for each in rest}
    for time_s, pixels in rest.items():
        same = min(everything, key=lambda each: abs(each - time_s))
        assert np.array_equal(pixels, everything[same]), time_s


@pytest.mark.parametrize("name", ["one.ts", "mpeg2.mpg", "fragments.mp4", "longer.mkv"])
def test_a_video_without_a_complete_index_is_indivisible(whole: Path, name: str) -> None:
    with open(whole / name, "rb") as file, open_video(file, LIMITS, whole=True) as video:
        assert not video.divisible


def test_still_pictures_make_a_video_indivisible(tmp_path: Path) -> None:
    """`moving_s` leaves out still pictures, so a value of it does not lead to a place in the
    file."""
    slides = stamped_video(tmp_path / "a.mkv", [0, 60_000, 120_000, 120_040], 0)
    path = ffmpeg(f"-i '{slides}' -c copy", tmp_path / "a.mp4")
    with open(path, "rb") as file, open_video(file, LIMITS, whole=True) as video:
        assert not video.divisible
