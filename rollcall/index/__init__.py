"""The index: who appeared when, in all videos. It can be rebuilt from the reports."""
