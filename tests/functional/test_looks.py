"""Frames that are reached by seeks are the same pictures as when the whole video is decoded.

Each encoding is tried as a whole file, trimmed by an editor, and without its beginning.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
import pytest
from support.ffmpeg import H264, ffmpeg, moving_card
from support.needs import classroom_folder

from rollcall.core.types import Pixels, VideoLimits
from rollcall.video.av_video import open_video

LIMITS = VideoLimits(3600, 1 << 22)
TIMES_S = [0.0, 0.5, 1.0, 3.0, 7.5, 8.0, 13.3, 14.0, 99.0]
SECONDS = 15
FRAME_S = 1 / 25

X265 = "-c:v libx265 -preset ultrafast -x265-params log-level=none"
ENCODINGS = {
    "plain.mp4": f"{H264} -g 50",
    "open-gop.mp4": f"{H264} -g 50 -x264-params open-gop=1:bframes=3:scenecut=0",
    "pyramid.mkv": f"{H264} -g 50 -x264-params b-pyramid=normal:bframes=8:b-adapt=0",
    "refresh.mp4": f"{H264} -x264-params intra-refresh=1:keyint=50:bframes=0:repeat-headers=1",
    "plain.ts": f"{H264} -g 50 -x264-params repeat-headers=1",
    "open-gop.ts": f"{H264} -x264-params open-gop=1:keyint=50:scenecut=0:repeat-headers=1",
    "refresh.ts": f"{H264} -x264-params intra-refresh=1:keyint=50:bframes=0:repeat-headers=1",
    "plain.mpg": f"{H264} -g 50 -f mpeg",
    "hevc.mp4": f"{X265}:keyint=50:open-gop=1",
    "hevc.ts": f"{X265}:keyint=50:open-gop=1:repeat-headers=1",
    "radl.mkv": f"{X265}:radl=3:bframes=4:keyint=50:min-keyint=50:open-gop=0:scenecut=0",
    "mpeg4.avi": "-c:v mpeg4 -g 50",
    "mpeg4.ts": "-c:v mpeg4 -g 50 -bf 2",
    "mpeg2.mpg": "-c:v mpeg2video -g 50 -bf 2",
    "mpeg2.ts": "-c:v mpeg2video -g 50 -bf 2 -flags +ilme+ildct",
    "vp9.webm": "-c:v libvpx-vp9 -g 50 -deadline realtime -cpu-used 8",
    "mjpeg.avi": "-c:v mjpeg",
    "fragments.mp4": f"{H264} -g 50 -movflags frag_keyframe+empty_moov+default_base_moof",
}
CUTS = ["whole", "trimmed", "headless"]
"""The whole file; the file cut at 1.2 s as editors do it (an MP4 hides the beginning behind an edit
list); and the file without its first 20 frames, as a receiver that joins a broadcast records it."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    for name, options in ENCODINGS.items():
        moving_card(folder / name, options, SECONDS)
    return folder


def cut(path: Path, folder: Path, how: str) -> Path:
    if how == "whole":
        return path
    if how == "trimmed":
        return ffmpeg(f"-ss 1.2 -i '{path}' -c copy", folder / path.name)
    drop = r"-c copy -copyinkf -bsf:v noise=drop=lt(n\\,20)"
    return ffmpeg(f"-i '{path}' {drop}", folder / path.name)


def every_frame(path: Path) -> dict[float, Pixels]:
    """Return every frame by its time, decoded in order from the first packet."""
    with open(path, "rb") as file, open_video(file, LIMITS) as video:
        video._finder.has_begun = True  # the first frame is not decoded alone
        video._finder.may_seek = False
        times = (n * FRAME_S for n in range(100_000))
        found = {frame.time_s: frame.pixels.copy() for frame in video.frames(times)}
        assert not video.damaged
        return found


def looks(path: Path, times_s: Sequence[float]) -> dict[float, Pixels]:
    with open(path, "rb") as file, open_video(file, LIMITS) as video:
        found = {frame.time_s: frame.pixels.copy() for frame in video.frames(times_s)}
        assert not video.damaged
        return found


@pytest.mark.parametrize("how", CUTS)
@pytest.mark.parametrize("name", ENCODINGS)
def test_seeking_gives_the_same_pictures_as_decoding_everything(
    whole: Path, tmp_path: Path, name: str, how: str
) -> None:
    path = cut(whole / name, tmp_path, how)
    everything, found = every_frame(path), looks(path, TIMES_S)
    assert min(found) == min(everything), "the first frame"
    last_s = max(everything)
    wanted = [time_s for time_s in TIMES_S if time_s <= last_s]
    assert len(found) >= len(set(wanted))
    for time_s, pixels in found.items():
        assert np.array_equal(pixels, everything[time_s]), f"the picture at {time_s} s"
    for time_s in wanted:
        due_s = min(each for each in everything if each >= time_s - FRAME_S)
        assert any(abs(each - due_s) <= 2 * FRAME_S for each in found), f"the look at {time_s} s"


def test_a_cut_file_loses_less_than_five_seconds(whole: Path, tmp_path: Path) -> None:
    """So the test above compares most of the video."""
    for name in ENCODINGS:
        for how in CUTS[1:]:
            folder = tmp_path / how
            folder.mkdir(exist_ok=True)
            found = every_frame(cut(whole / name, folder, how))
            assert len(found) > (SECONDS - 5) * 25, (name, how)


def test_the_first_frame_of_every_real_clip_is_right() -> None:
    for path in sorted((classroom_folder() / "videos").iterdir()):
        with av.open(str(path)) as container:
            plain = next(container.decode(video=0)).to_ndarray(format="rgb24")
        ((_, pixels),) = looks(path, [0.0]).items()
        assert np.array_equal(pixels, plain), path.name
