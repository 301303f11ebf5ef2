"""How long the content of a video track is, also where the header cannot be believed."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import av
from av.video.stream import VideoStream

from rollcall.core.media_clock import MediaClock
from rollcall.video.opening import packets_of

MIN_BYTES_PER_S = 2000.0
"""A file with fewer bytes for each second that its header claims is measured: even a still
picture takes more with sound beside it, and a claim that is too long by hours takes less."""

MIN_FRAME_SHARE = 0.8
"""An MP4 with fewer frames than this share of its rate times its duration holds pictures for long,
or its clock jumps. It is measured, which only takes its index."""

REORDERED_PACKETS = 32
"""Packets come in decoding order. Their stamps are in order again after this many (H.264 and HEVC
reorder 16 frames at most)."""


def claimed_s(container: av.container.InputContainer, stream: VideoStream) -> float:
    """Seconds as the header claims them; 0 where it says nothing.

    Matroska's duration counts from time zero of its clock, not from the first frame.
    """
    tick_s = float(stream.time_base or 0.001)
    if container.format.name.startswith("matroska"):
        end_s = (container.duration or 0) / av.time_base
        start_s = _first_stamp(stream) * tick_s
        return end_s - start_s if 0 < start_s < end_s else end_s
    if stream.duration:
        return max(0.0, stream.duration * tick_s)
    return max(0.0, (container.duration or 0) / av.time_base)


class ContentLength(NamedTuple):
    """Seconds as `MediaClock` counts them, and how often the clock jumps."""

    time_s: float
    moving_s: float
    jumps: int = 0


def claims_too_much(
    container: av.container.InputContainer, stream: VideoStream, claimed_s: float, max_s: float
) -> bool:
    """Whether the header's duration has to be measured before it is believed."""
    if claimed_s > max_s:
        return True
    if stream.frames:
        return stream.frames < MIN_FRAME_SHARE * claimed_s * float(stream.base_rate or 0)
    return container.size < MIN_BYTES_PER_S * claimed_s


def measure(
    container: av.container.InputContainer, stream: VideoStream, frame_s: float, max_s: float
) -> ContentLength:
    """The length by the packets' own stamps. Nothing is decoded.

    It ends early once there is more than `max_s`. Reads packets, so the container has to be opened
    again afterwards.
    """
    tick_s = float(stream.time_base or 0.001)
    clock = MediaClock(frame_s)
    for stamp in _in_order(_stamps(container, stream)):
        if clock.at(stamp * tick_s) > max_s:
            break
    end_s, moving_s = max(0.0, clock.time_s), max(0.0, clock.moving_s)
    return ContentLength(end_s + frame_s, moving_s + frame_s, clock.jumps)


def _stamps(container: av.container.InputContainer, stream: VideoStream) -> Iterator[int]:
    """From the frame index of an MP4, which is complete; from the packets of other files."""
    if stream.frames and len(stream.index_entries) >= stream.frames:
        yield from (entry.timestamp for entry in stream.index_entries)
        return
    for packet in packets_of(container, stream):
        stamp = packet.pts if packet.pts is not None else packet.dts
        if stamp is not None:
            yield stamp


def _first_stamp(stream: VideoStream) -> int:
    """Matroska's index holds the first key frame once the file is open."""
    if stream.start_time is not None:
        return stream.start_time
    entries = stream.index_entries
    return entries[0].timestamp if len(entries) else 0


def _in_order(stamps: Iterable[int]) -> Iterator[int]:
    waiting: list[int] = []
    for stamp in stamps:
        heapq.heappush(waiting, stamp)
        if len(waiting) > REORDERED_PACKETS:
            yield heapq.heappop(waiting)
    yield from sorted(waiting)
