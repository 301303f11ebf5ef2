"""The wire between the service and its decoder's child process: JSON, one message a line.

Messages go through two pipes. They are JSON and not pickle, because a child that a hostile video
has taken over must not be able to run code in the parent. Pictures are too large for a pipe: the
child writes them into the slots of a shared block of memory, and can fill some slots while the
parent searches the picture in another one. The parent sends each video once, as an open file
descriptor through a socket.

The parent (`decoder.py`, `decoded_video.py`) sends:

    {"open": true, "bytes", "complete", "cpu_s", "track", "whole"}    and the file's descriptor
    {"next": time_s}                    the next frame that is not before this time
    {"key_frames": step_s}              from now on `next` means the next frame of `key_frames`
    {"kept": [after_s, before_s]}       a kept frame between two times
    {"cut": [after_s, before_s]}        the time of a cut between two times
    {"have": [start, end]}              the answer to `need`: the file has this range of bytes now
    {"close": true}                     close the video

The child (`child.py`) sends:

    {"ready": true}                     once, when its libraries are loaded
    {"video": [duration_s, moving_s, track, tracks, divisible, slots]}    the answer to `open`
    {"frame": time_s, "slot", "height", "width", "damaged"}               the answer to `next`
    {"over": [moving_s, duration_s], "damaged"}    the answer to `next` after the last frame
    {"kept": {"frame", ...} or null}  and  {"cut": time_s or null}
    {"need": [start, end]}              bytes that the parent has to fetch before decoding goes on
    {"end": true}                       the answer to `close`
    {"error": code, "message"}          instead of any other answer; it ends the video

The parent may send up to `slots` requests `next` before the answers come, so that the child decodes
ahead. The child answers `kept` and `cut` before any `next` that is still waiting.
"""

from __future__ import annotations

import json
import os
import select
import time
from typing import Any

SLOTS = 4
"""Buffer size between decoder and detector. It evens out seconds that take longer than others."""

SLOTS_WHEN_LARGE = 2
LARGE_PX = 1280 * 800
"""Of frames with more than LARGE_PX pixels, only SLOTS_WHEN_LARGE are decoded ahead, because the
child also keeps the frames between them for `kept`."""

KEPT_SLOT = SLOTS
"""The slot that is reserved for kept frames. So a kept frame overwrites neither the frame that the
parent is using nor the frames that were decoded ahead."""

ALL_SLOTS = SLOTS + 1

CHANNELS = 3
"""Bytes per pixel: red, green, blue."""

MAX_MESSAGE_BYTES = 1 << 16

Message = dict[str, Any]


class PeerGone(Exception):
    """The other side has ended, or it sent something that is not a message."""


class PeerSlow(Exception):
    """The other side has not answered, or not read, in time."""


class Wire:
    """One side's ends of the two pipes, as file descriptors."""

    def __init__(self, incoming: int, outgoing: int) -> None:
        self._incoming = incoming
        self._outgoing = outgoing
        self._buffer = b""

    def send(self, message: Message, deadline_s: float | None = None) -> None:
        """Send a message. If the pipe is full and non-blocking, wait until the deadline.

        The deadline is a point of `time.monotonic`. Raises PeerGone or PeerSlow.
        """
        data = json.dumps(message).encode() + b"\n"
        while data:
            try:
                data = data[os.write(self._outgoing, data) :]
            except BlockingIOError:
                self._await_room(deadline_s)
            except OSError as error:
                raise PeerGone(str(error)) from error

    def _await_room(self, deadline_s: float | None) -> None:
        left_s = None if deadline_s is None else max(0.0, deadline_s - time.monotonic())
        if not select.select([], [self._outgoing], [], left_s)[1]:
            raise PeerSlow

    def has_more(self) -> bool:
        """Whether something has arrived that `receive` has not returned yet."""
        return b"\n" in self._buffer or bool(select.select([self._incoming], [], [], 0)[0])

    def receive(self, deadline_s: float | None = None) -> Message:
        """Return the next message, waiting for it until the deadline (`time.monotonic`).

        Raises PeerGone or PeerSlow.
        """
        # The deadline counts even if a message is already there: otherwise a child that floods us
        # with messages could keep us here.
        if deadline_s is not None and time.monotonic() > deadline_s:
            raise PeerSlow
        while b"\n" not in self._buffer:
            self._buffer += self._read(deadline_s)
            if len(self._buffer) > MAX_MESSAGE_BYTES:
                raise PeerGone("it sent a message without an end")
        line, _, self._buffer = self._buffer.partition(b"\n")
        try:
            message = json.loads(line)
        except (RecursionError, ValueError) as error:
            raise PeerGone("it sent a message that is not JSON") from error
        if not isinstance(message, dict):
            raise PeerGone("it sent a message that is not an object")
        return message

    def _read(self, deadline_s: float | None) -> bytes:
        if deadline_s is not None:
            left_s = max(0.0, deadline_s - time.monotonic())
            if not select.select([self._incoming], [], [], left_s)[0]:
                raise PeerSlow
        try:
            data = os.read(self._incoming, MAX_MESSAGE_BYTES)
        except OSError as error:
            raise PeerGone(str(error)) from error
        if not data:
            raise PeerGone("the pipe is closed")
        return data
