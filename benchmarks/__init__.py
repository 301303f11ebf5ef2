"""Rollcall beside a reference, measured in one run."""
