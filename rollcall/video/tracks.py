"""Chooses the video tracks of a file that are worth looking at."""

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
"""Decoders for what cameras, phones, browsers and editors write. FFmpeg has hundreds more, for
games and screen formats of the nineties, and those are where its faults are found."""

PROBED_PACKETS = 500
"""Read to learn which tracks move: tracks are interleaved, so this is some seconds of the file."""


def choose_track(
    container: VideoContainer, number: int, max_px: int
) -> tuple[VideoStream, int, int]:
    """The track to look at as the `number`-th, from 0. Thumbnails come last, and before them tracks
    of more than `max_px` pixels.

    Also its number as players count, from 1, and how many there are. Raises NotAVideo where there
    is no such track.
    """
    tracks = usable_tracks(container.opened)
    order = [each.index for each in tracks]
    if len(tracks) > 1:
        still = still_tracks(container.opened, tracks)
        large = {each.index for each in tracks if each.width * each.height > max_px}
        order.sort(key=lambda index: (index in still, index in large))
        container.reopen()
    if number >= len(order):
        raise NotAVideo(f"the file has no more than {len(order)} video tracks")
    return container.track(order[number]), 1 + sorted(order).index(order[number]), len(order)


def usable_tracks(container: av.container.InputContainer) -> list[VideoStream]:
    """The tracks with pictures that move: FFmpeg's favourite first, then in the file's order.

    A cover picture is not a track to look at. Raises NotAVideo when no track is left.
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


def still_tracks(container: av.container.InputContainer, tracks: Sequence[VideoStream]) -> set[int]:
    """Indexes of the tracks that have a single packet near the file's start: thumbnails.

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
