"""Works out how long the content of a video track is, even if the header is wrong.

Headers are wrong in real files: a camera's clock jumps by hours, a slide show shows a picture for
minutes, and a recording that was stopped claims a length that it never reached. The true length
decides whether `AvVideo` refuses a video, and how far apart the searched frames are.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import av
from av.video.stream import VideoStream

from rollcall.core.media_clock import MediaClock
from rollcall.video.opening import VideoContainer, packets_of

MIN_BYTES_PER_S = 2000.0
"""If a file has fewer bytes per claimed second, its length is measured. Even a still picture with
sound needs more, and a file whose header claims hours too much has less."""

MIN_FRAMES_RATIO = 0.8
"""If an MP4 has fewer frames than this fraction of (frame rate x duration), its length is measured:
either pictures stand still, or the clock jumps. Measuring an MP4 only reads its index."""

REORDERED_PACKETS = 32
"""Number of packets that are held back to sort their stamps. Packets come in decoding order, and
H.264 and HEVC reorder at most 16 frames."""


class ContentLength(NamedTuple):
    """The length in both counts of `MediaClock`, in seconds, and the number of clock jumps."""

    time_s: float
    moving_s: float
    jumps: int = 0


def read_length(
    container: VideoContainer, stream: VideoStream, frame_s: float, max_s: float
) -> ContentLength:
    """Return the header's length if it is credible, or else the measured length.

    The length is 0 if the header gives none. Measuring opens the file again, so `stream` must not
    be used afterwards. `frame_s` is the duration of a frame.
    """
    claimed_s = _claimed_s(container.opened, stream)
    if not _claims_too_much(container.opened, stream, claimed_s, max_s):
        return ContentLength(claimed_s, claimed_s)
    length = measure(container.opened, stream, frame_s, max_s)
    container.reopen()
    return length


def measure(
    container: av.container.InputContainer, stream: VideoStream, frame_s: float, max_s: float
) -> ContentLength:
    """Measure the length by the packets' stamps, without decoding anything.

    Stops early after more than `max_s` seconds. Reads packets, so the container has to be opened
    again afterwards.
    """
    tick_s = float(stream.time_base or 0.001)
    clock = MediaClock(frame_s)
    for stamp in _in_order(_stamps(container, stream)):
        if clock.advance(stamp * tick_s) > max_s:
            break
    end_s, moving_s = max(0.0, clock.time_s), max(0.0, clock.moving_s)
    return ContentLength(end_s + frame_s, moving_s + frame_s, clock.jumps)


def _claimed_s(container: av.container.InputContainer, stream: VideoStream) -> float:
    """Return the seconds that the header claims; 0 if it gives no length."""
    tick_s = float(stream.time_base or 0.001)
    if container.format.name.startswith("matroska"):
        # Matroska's duration counts from time zero, and not from the first frame.
        end_s = (container.duration or 0) / av.time_base
        start_s = _first_stamp(stream) * tick_s
        return end_s - start_s if 0 < start_s < end_s else end_s
    if stream.duration:
        return max(0.0, stream.duration * tick_s)
    return max(0.0, (container.duration or 0) / av.time_base)


def _claims_too_much(
    container: av.container.InputContainer, stream: VideoStream, claimed_s: float, max_s: float
) -> bool:
    """Whether the claimed length has to be measured before it is believed."""
    if claimed_s > max_s:
        return True
    if stream.frames:
        return stream.frames < MIN_FRAMES_RATIO * claimed_s * float(stream.base_rate or 0)
    return container.size < MIN_BYTES_PER_S * claimed_s


def _stamps(container: av.container.InputContainer, stream: VideoStream) -> Iterator[int]:
    if stream.frames and len(stream.index_entries) >= stream.frames:
        # The index of an MP4 lists every frame, so the file itself need not be read.
        yield from (entry.timestamp for entry in stream.index_entries)
        return
    for packet in packets_of(container, stream):
        stamp = packet.pts if packet.pts is not None else packet.dts
        if stamp is not None:
            yield stamp


def _first_stamp(stream: VideoStream) -> int:
    if stream.start_time is not None:
        return stream.start_time
    # As soon as a Matroska file is open, its index holds the first key frame.
    entries = stream.index_entries
    return entries[0].timestamp if len(entries) else 0


def _in_order(stamps: Iterable[int]) -> Iterator[int]:
    waiting: list[int] = []
    for stamp in stamps:
        heapq.heappush(waiting, stamp)
        if len(waiting) > REORDERED_PACKETS:
            yield heapq.heappop(waiting)
    yield from sorted(waiting)
