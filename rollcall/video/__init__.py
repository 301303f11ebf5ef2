"""Reads frames of video files, with FFmpeg in a child process that the kernel limits.

Start reading at `DecoderPool` (`pool.py`): it opens a video in a child and yields a `DecodedVideo`.
In the child, `AvVideo` (`av_video.py`) finds the frames. `video_files.py` provides the bytes of the
video, and `wire.py` lists the messages between the two processes.

Three terms are used throughout. A frame is "looked at" when the caller searches it for faces. A
"key frame" can be decoded without other frames. A frame's "stamp" is its time as the file states
it, in ticks; `rollcall.core.media_clock` turns stamps into seconds.
"""
