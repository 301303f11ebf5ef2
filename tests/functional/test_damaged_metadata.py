"""No picture is lost because of broken metadata, and broken pictures are still left out."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from support.ffmpeg import H264, ffmpeg, moving_card, with_units

from rollcall.core.types import VideoLimits
from rollcall.video.av_video import open_video
from rollcall.video.pool import DecoderPool
from rollcall.video.video_files import WholeFile

LIMITS = VideoLimits(60, 1 << 20)
FRAMES = 50

TEXT = b"CAMERA-METADATA-" * 4 + b"\x80"
MESSAGES = {
    "user data that is cut off": bytes([5, 0xFF, 0x20]) + TEXT,
    "user data without its name": bytes([5, 3]) + b"abc\x80",
    "captions that are cut off": bytes([4, 0xFF, 0x10]) + TEXT,
    "picture timing that is cut off": bytes([1, 0x20]) + b"\xff" * 4 + b"\x80",
    "a buffering period of no sequence": bytes([0, 1, 1, 0x80]),
    "nothing but fill bytes": b"\xff" * 30,
    "an unknown kind": bytes([200, 50, 1, 2, 3]),
}
X265 = "-c:v libx265 -preset ultrafast -x265-params log-level=none:keyint=25:bframes=0"
STREAMS = {
    "plain.h264": f"{H264} -g 25 -bf 0",
    "refresh.h264": f"{H264} -x264-params intra-refresh=1:keyint=25:repeat-headers=1:bframes=0",
    "plain.hevc": X265,
}


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bare")
    for name, options in STREAMS.items():
        moving_card(folder / name, options, FRAMES / 25)
    return folder


def is_h264_picture(unit: bytes) -> bool:
    return unit[0] & 31 in (1, 5)


def is_hevc_picture(unit: bytes) -> bool:
    return unit[0] >> 1 & 63 < 32


def frames_of(path: Path) -> tuple[int, bool]:
    """Return how many frames are decoded, and whether any part was damaged."""
    times, damaged = shown_times(path)
    return len(times), damaged


def contained(bare_stream: bytes, folder: Path, name: str, extension: str) -> Path:
    (folder / name).write_bytes(bare_stream)
    path = folder / f"a.{extension}"
    return ffmpeg(f"-fflags +genpts -r 25 -i '{folder / name}' -c copy", path)


@pytest.mark.parametrize("extension", ["mp4", "ts", "mkv"])
@pytest.mark.parametrize("message", MESSAGES)
@pytest.mark.parametrize("name", ["plain.h264", "refresh.h264"])
def test_broken_metadata_does_not_cost_h264_pictures(
    bare: Path, tmp_path: Path, name: str, message: str, extension: str
) -> None:
    unit = b"\x06" + MESSAGES[message]
    spoilt = with_units(bare / name, unit, is_h264_picture, after=False)
    assert frames_of(contained(spoilt, tmp_path, name, extension)) == (FRAMES, False)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("message", MESSAGES)
def test_broken_metadata_does_not_cost_hevc_pictures(
    bare: Path, tmp_path: Path, message: str, after: bool
) -> None:
    unit = (b"\x50\x01" if after else b"\x4e\x01") + MESSAGES[message]
    spoilt = with_units(bare / "plain.hevc", unit, is_hevc_picture, after=after)
    assert frames_of(contained(spoilt, tmp_path, "a.hevc", "mp4")) == (FRAMES, False)


def test_a_broken_picture_beside_broken_metadata_is_still_damage(
    bare: Path, tmp_path: Path
) -> None:
    unit = b"\x06" + MESSAGES["user data that is cut off"]
    spoilt = with_units(bare / "plain.h264", unit, is_h264_picture, after=False)
    film = bytearray(contained(spoilt, tmp_path, "a.h264", "mp4").read_bytes())
    at = film.index(b"mdat") + 3000
    film[at : at + 400] = bytes(400)
    (tmp_path / "b.mp4").write_bytes(film)
    count, damaged = frames_of(tmp_path / "b.mp4")
    assert count < FRAMES
    assert damaged


def shown_wrong(clean: Path, spoilt: Path) -> int:
    """Count the frames of the damaged file that differ from the clean file's at the same time."""
    everything = (n / 25 for n in range(1000))
    with open(clean, "rb") as file, open_video(file, LIMITS) as video:
        right = {round(each.time_s, 3): each.pixels.copy() for each in video.frames(everything)}
    everything = (n / 25 for n in range(1000))
    wrong = 0
    with open(spoilt, "rb") as file, open_video(file, LIMITS) as video:
        for each in video.frames(everything):
            same = np.array_equal(each.pixels, right.get(round(each.time_s, 3)))
            wrong += not same
        assert video.damaged
    return wrong


def test_damage_right_after_a_key_frame_lasts_until_the_next_one(tmp_path: Path) -> None:
    """The decoder returns the key frame only after the damage was noticed."""
    options = "-c:v libx265 -preset ultrafast -x265-params log-level=none:keyint=25"
    clean = moving_card(tmp_path / "clean.mp4", options, 4)
    with av.open(str(clean)) as container:
        packets = [each for each in container.demux(video=0) if each.size]
    follower = packets[1 + next(n for n, each in enumerate(packets) if each.is_keyframe and n)]
    body = bytearray(clean.read_bytes())
    assert follower.pos is not None
    slice_header = follower.pos + 4 + 2  # after the unit's length and its own header
    body[slice_header : slice_header + 4] = b"\xff" * 4
    (tmp_path / "spoilt.mp4").write_bytes(body)
    assert shown_wrong(clean, tmp_path / "spoilt.mp4") == 0


@pytest.mark.parametrize("seed", range(6))
def test_lost_packets_of_a_hevc_broadcast_are_noticed(tmp_path: Path, seed: int) -> None:
    options = (
        "-c:v libx265 -preset ultrafast -x265-params log-level=none:keyint=25:repeat-headers=1"
    )
    clean = moving_card(tmp_path / "clean.ts", options, 4)
    body = clean.read_bytes()
    packet = 188 * (len(body) // 188 * (30 + seed * 5) // 100)
    (tmp_path / "spoilt.ts").write_bytes(body[:packet] + body[packet + 2 * 188 :])
    assert shown_wrong(clean, tmp_path / "spoilt.ts") == 0


def test_a_broken_hevc_picture_beside_metadata_is_refused_in_the_child_too(
    bare: Path, tmp_path: Path
) -> None:
    """In the child, no decoder may start a thread."""
    unit = b"\x4e\x01" + MESSAGES["an unknown kind"]
    film = with_units(bare / "plain.hevc", unit, is_hevc_picture, after=False)
    path = contained(film, tmp_path, "a.hevc", "mp4")
    with av.open(str(path)) as container:
        packets = [each for each in container.demux(video=0) if each.size]
    body, packet = bytearray(path.read_bytes()), packets[3]
    assert packet.pos is not None
    # The picture ends early; the bytes after it become a filler unit.
    picture = packet.pos + 4 + int.from_bytes(bytes(packet)[:4], "big")
    kept_bytes, end = packet.size // 3, packet.pos + packet.size
    body[picture : picture + 4] = kept_bytes.to_bytes(4, "big")
    filler = picture + 4 + kept_bytes
    body[filler : filler + 6] = (end - filler - 4).to_bytes(4, "big") + b"\x4c\x01"
    (tmp_path / "b.mp4").write_bytes(body)
    here = shown_times(tmp_path / "b.mp4")
    assert here[1], "it is damaged"
    pool = DecoderPool(LIMITS)
    file = WholeFile(tmp_path / "b.mp4")
    with pool.open(file, whole=False, max_s=60) as video:
        there = [round(each.time_s, 3) for each in video.frames(n / 25 for n in range(1000))]
        assert (there, video.damaged) == here
    pool.close()


def shown_times(path: Path) -> tuple[list[float], bool]:
    with open(path, "rb") as file, open_video(file, LIMITS) as video:
        times = [round(each.time_s, 3) for each in video.frames(n / 25 for n in range(1000))]
        return times, video.damaged
