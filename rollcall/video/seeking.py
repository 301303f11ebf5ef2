"""Seeks to key frames, even in containers where FFmpeg's seek may end between two key frames.

`FrameFinder` uses this module to skip parts of a video. All stamps here are in ticks of the track's
time base.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import dropwhile

import av
from av.video.stream import VideoStream

from rollcall.video.opening import HAS_KEY_INDEX, AnyPacket, packets_of

SEARCH_BACK_S = 10.0
"""How many seconds before the target the search for a key frame begins. In most videos key frames
are at most about 10 s apart: x264's default is 250 frames."""

SEEK_MARGIN_S = 2.0
"""In an MPEG stream, a seek aims this long before the key frame. Such a seek goes by clock
references and decoding stamps, which differ from the stamps at which frames are shown."""


def packets_from_key(
    container: av.container.InputContainer,
    stream: VideoStream,
    demuxer: str,
    target: int,
    start: int,
) -> Iterator[AnyPacket] | None:
    """Seek to the last key frame that is not after `target`, and return the packets from there on.

    `start` is the stamp of the video's first frame. Returns None if FFmpeg cannot seek. Then the
    caller continues where it was.
    """
    if demuxer in HAS_KEY_INDEX:
        return _sought(container, stream, target)
    key = _last_key(container, stream, target, start)
    packets = _sought(container, stream, key - int(SEEK_MARGIN_S / _tick_s(stream)))
    if packets is None:
        return None
    return dropwhile(lambda packet: not _is_key_from(packet, key), packets)


def _sought(
    container: av.container.InputContainer, stream: VideoStream, stamp: int
) -> Iterator[AnyPacket] | None:
    try:
        container.seek(stamp, stream=stream)
    except av.FFmpegError:
        return None
    return packets_of(container, stream)


def _last_key(
    container: av.container.InputContainer, stream: VideoStream, target: int, start: int
) -> int:
    """Return the stamp of the last key frame that is not after `target`.

    A seek in an MPEG stream may lead to any packet. So packets are read from some seconds before
    the target. If there is no key frame among them, the search is repeated from further back.
    """
    back = int(SEARCH_BACK_S / _tick_s(stream))
    while True:
        packets = _sought(container, stream, target - back)
        if packets is None:
            return target
        key: int | None = None
        for packet in packets:
            if packet.pts is not None and packet.pts > target:
                break
            if packet.is_keyframe and packet.pts is not None:
                key = packet.pts
        if key is not None or target - back <= start:
            return start if key is None else key
        back *= 2


def _tick_s(stream: VideoStream) -> Fraction:
    return stream.time_base or Fraction(1, 1000)


def _is_key_from(packet: AnyPacket, stamp: int) -> bool:
    return packet.is_keyframe and (packet.pts is None or packet.pts >= stamp)
