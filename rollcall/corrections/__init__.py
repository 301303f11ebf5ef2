"""Corrections: verdicts about faces, and the earlier results that change with them."""
