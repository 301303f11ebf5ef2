"""A video whose frames come from a decoder's child process."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import repeat
from typing import Any

from rollcall.core.protocols import VideoFile
from rollcall.core.types import Frame
from rollcall.video.child_answers import VideoFacts, parse_lengths, parse_seconds
from rollcall.video.decoder import Decoder
from rollcall.video.wire import Message


class DecodedVideo:
    """Implements `rollcall.core.protocols.Video`.

    The pixels of a frame are valid until the caller asks for the next frame; those of a kept frame,
    until the caller asks for the next kept frame. A caller uses either `frames` or `key_frames`,
    never both.

    Every method that waits for the child may raise NotAVideo, VideoTooLarge, VideoTooLong,
    VideoTooSlow, DecoderCrashed, DecoderUnavailable, or an error from fetching the video's bytes.
    """

    def __init__(
        self, decoder: Decoder, file: VideoFile, facts: VideoFacts, *, whole: bool
    ) -> None:
        self.damaged = False
        self.duration_s, self.moving_s = facts.duration_s, facts.moving_s
        self.track, self.tracks = facts.track, facts.tracks
        self.divisible = facts.divisible
        self._decoder = decoder
        self._file = file
        self._whole = whole
        self._slots = facts.slots
        self._unanswered = 0
        """Number of `next` requests whose answer has not come yet, or is still in `_early`."""
        self._early: deque[Message] = deque()
        """Answers to `next` that came before the answer to `kept` or `cut`."""
        self._is_over = False

    def frames(self, times_s: Iterable[float]) -> Iterator[Frame]:
        """Yield, for each time, the first frame that is not before it.

        In a video that was opened as `whole`, the child decodes the next frames while the caller
        works with this one.
        """
        return self._frames(iter(times_s), self._slots if self._whole else 1)

    def key_frames(self, step_s: float) -> Iterator[Frame]:
        """Yield frames of the whole video, at most `step_s` apart. The child decodes ahead."""
        self._decoder.ask({"key_frames": step_s})
        return self._frames(repeat(0.0), self._slots)

    def kept_frame(self, after_s: float, before_s: float) -> Frame | None:
        """Return a frame between two times, for a second look.

        Both times must lie between the last two frames that the caller got. Frames that the child
        has decoded ahead do not count.
        """
        kept = self._ask_out_of_turn("kept", after_s, before_s)
        return None if kept is None else self._decoder.frame(kept)

    def cut_between(self, after_s: float, before_s: float) -> float | None:
        """Return the time of the cut between two times; None unless there is exactly one cut.

        The same rule as for `kept_frame` applies to the times.
        """
        cut_s = self._ask_out_of_turn("cut", after_s, before_s)
        return None if cut_s is None else self._decoder.parse(parse_seconds, cut_s)

    def _ask_out_of_turn(self, question: str, after_s: float, before_s: float) -> Any:
        """Return the answer to a question that the child answers before it decodes further.

        Returns None if the child keeps no frames, or has already closed the video.
        """
        if not self._whole or self._decoder.is_idle:
            return None
        self._decoder.ask({question: [after_s, before_s]})
        while question not in (message := self._decoder.answer(self._file)):
            # The child was about to answer `next` when it read the question.
            self._early.append(message)
            self._decoder.parse(self._check_early, len(self._early))
        return message[question]

    def _check_early(self, count: int) -> None:
        if count > self._unanswered:
            raise ValueError("it sent more frames than were asked for")

    def _frames(self, times: Iterator[float], ahead: int) -> Iterator[Frame]:
        while (frame := self._next(times, ahead)) is not None:
            yield frame

    def _next(self, times: Iterator[float], ahead: int) -> Frame | None:
        """Return the next frame, with up to `ahead` requests pending; None after the last frame."""
        while self._unanswered < ahead and not self._is_over:
            time_s = next(times, None)
            if time_s is None:
                break
            self._decoder.ask({"next": time_s})
            self._unanswered += 1
        if not self._unanswered or self._is_over:
            return None
        message = self._early.popleft() if self._early else self._decoder.answer(self._file)
        self._unanswered -= 1
        self.damaged = bool(message.get("damaged"))
        if "over" not in message:
            return self._decoder.frame(message)
        self._is_over = True
        lengths = self._decoder.parse(parse_lengths, message["over"])
        self.moving_s, self.duration_s = lengths
        return None
