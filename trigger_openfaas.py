#!/usr/bin/env python3
"""Bucket notifications in, calls of the OpenFaaS function out."""

import sys

from rollcall.start import explain_missing_packages

with explain_missing_packages():
    from rollcall.tools.trigger import main

if __name__ == "__main__":
    sys.exit(main())
