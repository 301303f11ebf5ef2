"""The child keeps the frames between two searched frames ("looks"), in case one is needed later."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count, pairwise
from pathlib import Path

import numpy as np
import pytest
from support.ffmpeg import H264, moving_card
from support.odd_videos import stamped_video

from rollcall.core.errors import DecoderCrashed
from rollcall.core.types import Pixels, VideoLimits
from rollcall.video.av_video import open_video
from rollcall.video.kept_frames import MAX_KEPT
from rollcall.video.pool import DecoderPool
from rollcall.video.process_limits import MAX_KEPT_BYTES
from rollcall.video.video_files import WholeFile
from rollcall.video.wire import LARGE_PX, SLOTS

LIMITS = VideoLimits(3600, 1 << 21)
SECONDS = 8


@pytest.fixture(scope="module")
def pool() -> Iterator[DecoderPool]:
    pool = DecoderPool(LIMITS)
    yield pool
    pool.close()


@pytest.fixture(scope="module")
def card(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("card")
    return moving_card(folder / "a.mp4", f"{H264} -bf 2 -g 50", SECONDS)


def every_frame(path: Path) -> dict[float, Pixels]:
    times = (n / 25 for n in count())
    with open(path, "rb") as file, open_video(file, LIMITS) as video:
        return {round(each.time_s, 3): each.pixels.copy() for each in video.frames(times)}


def test_kept_frames_show_the_right_pictures(pool: DecoderPool, card: Path) -> None:
    """Kept frames are available at every look, even the last, however far the child has decoded
    ahead. Frames that no other frame refers to are not kept, so kept frames are up to 0.12 s
    apart."""
    everything = every_frame(card)
    asked = 0
    with pool.open(WholeFile(card), whole=True, max_s=60) as video:
        last_s = None
        for look in video.frames(count(0.0, 1.0)):
            pixels = look.pixels.copy()
            if last_s is not None:
                for part in (0.5, 0.25, 0.75):
                    wanted_s = last_s + part * (look.time_s - last_s)
                    kept = video.kept_frame(wanted_s - 0.2, wanted_s + 0.2)
                    assert kept is not None
                    assert kept.time_s == pytest.approx(wanted_s, abs=0.07)
                    assert np.array_equal(kept.pixels, everything[round(kept.time_s, 3)])
                    asked += 1
            assert np.array_equal(look.pixels, pixels), "a kept frame does not overwrite a look"
            last_s = look.time_s
        after_the_end = video.kept_frame(last_s - 1, last_s)
        assert after_the_end is not None
    assert asked == 3 * (SECONDS - 1)


def test_kept_frames_do_not_overwrite_frames_decoded_ahead(pool: DecoderPool, card: Path) -> None:
    everything = every_frame(card)
    times_s = []
    with pool.open(WholeFile(card), whole=True, max_s=60) as video:
        for look in video.frames(count(0.0, 0.5)):
            for _ in range(SLOTS + 1):
                video.kept_frame(look.time_s - 0.5, look.time_s)
            assert np.array_equal(look.pixels, everything[round(look.time_s, 3)])
            times_s.append(look.time_s)
    assert len(times_s) == 2 * SECONDS
    assert all(0.3 < later - earlier < 0.7 for earlier, later in pairwise(times_s))


def test_no_frame_is_kept_between_neighbours_or_before_the_start(
    pool: DecoderPool, card: Path
) -> None:
    with pool.open(WholeFile(card), whole=True, max_s=60) as video:
        looks = video.frames(count(0.0, 1.0))
        first_s = next(looks).time_s
        assert video.kept_frame(first_s, first_s + 0.001) is None
        for _ in looks:
            pass
        assert video.kept_frame(-2.0, -1.0) is None


def test_frames_are_kept_only_if_the_whole_video_is_decoded(pool: DecoderPool, card: Path) -> None:
    with pool.open(WholeFile(card), whole=False, max_s=60) as video:
        list(video.frames([0.0, 1.0]))
        assert video.kept_frame(0.0, 1.0) is None


def test_kept_frames_have_the_right_times_if_the_clock_jumps(tmp_path: Path) -> None:
    """The camera restarts after two seconds with a clock that is an hour ahead."""
    stamps = [*range(0, 2000, 40), *range(3_600_000, 3_602_000, 40)]
    path = stamped_video(tmp_path / "a.mkv", stamps, 0)
    kept_s = []
    with (
        open(path, "rb") as file,
        open_video(file, LIMITS, whole=True, kept_bytes=1 << 20) as video,
    ):
        for look in video.frames(count(0.0, 0.5)):
            kept = video.kept_frame(look.time_s - 0.5, look.time_s)
            kept_s += [kept.time_s] if kept else []
    assert kept_s == pytest.approx([0.24, 0.76, 1.24, 1.76, 2.24, 2.76, 3.24], abs=0.1)


@pytest.mark.parametrize("kept_bytes", [0, 500_000, MAX_KEPT_BYTES])
def test_the_memory_for_kept_frames_is_limited(card: Path, kept_bytes: int) -> None:
    with (
        open(card, "rb") as file,
        open_video(file, LIMITS, whole=True, kept_bytes=kept_bytes) as video,
    ):
        for look in video.frames(count(0.0, 1.0)):
            kept = video._kept._kept
            assert len(kept) <= MAX_KEPT
            used = sum(plane.buffer_size for each in kept for plane in each.frame.planes)
            assert used <= kept_bytes
            assert not kept_bytes or kept[-1].time_s >= look.time_s - 0.1
        video.release()
        assert not kept


def test_fewer_large_pictures_are_decoded_ahead(tmp_path: Path) -> None:
    """Otherwise the frames between looks that are decoded ahead might not fit into the memory."""
    path = moving_card(tmp_path / "a.mp4", f"-vf scale=1920:1080 {H264}", 2)
    limits = VideoLimits(60, 1920 * 1088)
    assert limits.pixels > LARGE_PX
    pool = DecoderPool(limits)
    with pool.open(WholeFile(path), whole=True, max_s=60) as video:
        looks = video.frames(count(0.0, 0.2))
        next(looks)
        assert video._unanswered < SLOTS - 1
        assert sum(1 for _ in looks) == 9
        assert video.kept_frame(1.6, 1.8) is not None
    pool.close()


def test_the_child_gives_key_frames(pool: DecoderPool, card: Path) -> None:
    for _ in range(2):  # the second time, the same child is used
        with pool.open(WholeFile(card), whole=False, max_s=60) as video:
            times_s = [look.time_s for look in video.key_frames(3.0)]
        assert times_s == pytest.approx([0, 2, 4, 6])
        assert not video.damaged


def test_a_child_is_used_again_if_not_all_key_frames_are_read(
    pool: DecoderPool, card: Path
) -> None:
    with pool.open(WholeFile(card), whole=False, max_s=60) as video:
        pid = video._decoder._process.pid
        next(video.key_frames(1.0))
    with pool.open(WholeFile(card), whole=True, max_s=60) as video:
        assert video._decoder._process.pid == pid
        assert video.divisible
        times_s = [each.time_s for each in video.frames([4.0, 5.0])]
    assert times_s == pytest.approx([4, 5], abs=0.1)


@pytest.mark.parametrize(
    "answer",
    [
        b'{"kept": 1}\n',
        b'{"kept": {"frame": 0, "slot": 9, "height": 1, "width": 1}}\n',
        b'{"frame": 0, "slot": 0, "height": 1, "width": 1}\n' * 9,
    ],
)
def test_a_child_that_sends_nonsense_about_kept_frames_is_ended(card: Path, answer: bytes) -> None:
    pool = DecoderPool(LIMITS)

    def ask_once() -> None:
        with pool.open(WholeFile(card), whole=True, max_s=60) as video:
            next(video.frames([0.0]))
            video._decoder.wire._buffer = answer
            video.kept_frame(0.0, 1.0)

    with pytest.raises(DecoderCrashed):
        ask_once()
    pool.close()
