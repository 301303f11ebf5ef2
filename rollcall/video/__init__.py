"""Frames of video files: FFmpeg through PyAV, in a child process with limits."""
