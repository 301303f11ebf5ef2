"""How long the content of a video track is, also where the header cannot be believed."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator

import av
from av.video.stream import VideoStream

from rollcall.adapters.video.opening import packets_of
from rollcall.core.media_clock import MediaClock

MIN_BYTES_PER_S = 2000.0
"""A file with fewer bytes for each second that its header claims is measured: even a still
picture takes more with sound beside it, and a claim that is too long by hours takes less."""

MIN_FRAMES_PER_S = 1.0
"""A track with fewer frames for each second that its header claims is measured."""

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


def claims_too_much(
    container: av.container.InputContainer, stream: VideoStream, claimed_s: float, max_s: float
) -> bool:
    """Whether the header's duration has to be measured before it is believed."""
    if claimed_s > max_s:
        return True
    if stream.frames:
        return stream.frames < MIN_FRAMES_PER_S * claimed_s
    return container.size < MIN_BYTES_PER_S * claimed_s


def measure(
    container: av.container.InputContainer, stream: VideoStream, frame_s: float, max_s: float
) -> tuple[float, int]:
    """Seconds of content, and how often its clock jumps, by the packets' own stamps.

    Nothing is decoded. It ends early once there is more than `max_s`. Reads packets, so the
    container has to be opened again afterwards.
    """
    tick_s = float(stream.time_base or 0.001)
    clock = MediaClock(frame_s)
    time_s = 0.0
    for stamp in _in_order(_stamps(container, stream)):
        time_s = clock.at(stamp * tick_s)
        if time_s > max_s:
            break
    return time_s + frame_s, clock.jumps


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
