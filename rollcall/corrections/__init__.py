"""Corrections: what people say about faces, and how the past follows."""
