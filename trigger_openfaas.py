#!/usr/bin/env python3
"""Bucket notifications in, calls of the OpenFaaS function out."""

import sys

from rollcall.cli.missing_packages import explain_missing_packages

with explain_missing_packages():
    from rollcall.cli.trigger_command import main

if __name__ == "__main__":
    sys.exit(main())
