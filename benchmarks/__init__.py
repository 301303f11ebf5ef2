"""Measures Rollcall and a reference flow, in one run on one machine.

`make bench` runs all sections (`report.py` lists them); `make bench ONLY=clips,memory` runs some.
`activation_ranges.py`, `face_quality.py`, `face_sizes.py` and `strangers.py` are separate scripts.
Some constants of `rollcall` were chosen from their output.
"""
