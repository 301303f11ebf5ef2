"""Puts the video tracks of a file into the order in which they are searched.

Some files have several video tracks: a lecture's camera and its slides, or a film and its
thumbnail. The recogniser searches the first track, and the next one only if it has found no face.
"""

from __future__ import annotations

from collections.abc import Sequence

import av
from av.video.stream import VideoStream

from rollcall.core.errors import NotAVideo
from rollcall.video.opening import VideoContainer, packets_of

_DELIVERY = "h264 hevc av1 libdav1d vp8 vp9 libvpx libvpx-vp9 vp3 theora vp6 vp6f"
_OLDER = "mpeg1video mpeg2video mpeg4 msmpeg4 msmpeg4v1 msmpeg4v2 mjpeg h261 h263 h263i"
_WINDOWS_AND_FLASH = "vc1 wmv1 wmv2 wmv3 flv svq1 svq3 cinepak"
_EDITING = "prores dnxhd dvvideo ffv1 huffyuv rawvideo"
CODECS = frozenset(" ".join((_DELIVERY, _OLDER, _WINDOWS_AND_FLASH, _EDITING)).split())
"""The decoders that are allowed, for the formats that cameras, phones, browsers and editors write.
FFmpeg has hundreds of others, for games and screen formats of the nineties, and its security faults
are often found in those."""

PROBED_PACKETS = 500
"""How many packets are read to find out which tracks are thumbnails. Tracks are interleaved, so
these packets cover a few seconds of the file."""


def choose_track(
    container: VideoContainer, number: int, max_px: int
) -> tuple[VideoStream, int, int]:
    """Return the track that is searched in the position `number`, counted from 0.

    Thumbnails come last, and tracks of more than `max_px` pixels come just before them. The second
    value is the track's number in the file's order, counted from 1, and the third is the number of
    tracks. Raises NotAVideo if there is no such track.
    """
    tracks = usable_tracks(container.opened)
    order = [each.index for each in tracks]
    if len(tracks) > 1:
        still = thumbnail_indexes(container.opened, tracks)
        large = {each.index for each in tracks if each.width * each.height > max_px}
        order.sort(key=lambda index: (index in still, index in large))
        container.reopen()
    if number >= len(order):
        raise NotAVideo(f"the file has only {len(order)} usable video tracks")
    return container.track(order[number]), 1 + sorted(order).index(order[number]), len(order)


def usable_tracks(container: av.container.InputContainer) -> list[VideoStream]:
    """Return the tracks that can be decoded: FFmpeg's choice first, the others in file order.

    Cover pictures are left out. Raises NotAVideo if no track is left.
    """
    cover = av.stream.Disposition.attached_pic
    tracks = [each for each in container.streams.video if not each.disposition & cover]
    if not tracks:
        raise NotAVideo("the file has no video track; does it hold only sound?")
    usable = [each for each in tracks if _codec_of(each) in CODECS]
    if not usable:
        raise NotAVideo(
            f"the video's codec is {_codec_of(tracks[0])}; convert it to H.264 and upload it again"
        )
    best = container.streams.best("video")
    return sorted(usable, key=lambda each: (each is not best, each.index))


def thumbnail_indexes(
    container: av.container.InputContainer, tracks: Sequence[VideoStream]
) -> set[int]:
    """Return the indexes of thumbnails: tracks with at most one packet near the file's start.

    Reads packets, so the container has to be opened again afterwards.
    """
    first_seen = set[int]()
    waiting = {each.index for each in tracks}
    for number, packet in enumerate(packets_of(container, *tracks)):
        if packet.stream_index in first_seen:
            waiting.discard(packet.stream_index)
        first_seen.add(packet.stream_index)
        if not waiting or number == PROBED_PACKETS:
            break
    return waiting


def _codec_of(stream: VideoStream) -> str:
    return stream.codec_context.name if stream.codec_context else "an unknown one"
