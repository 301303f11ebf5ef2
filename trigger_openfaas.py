#!/usr/bin/env python3
"""Receive bucket notifications, and call the OpenFaaS function for each video."""

import sys

from rollcall.cli.missing_packages import explain_missing_packages

with explain_missing_packages():
    from rollcall.cli.trigger_command import main

if __name__ == "__main__":
    sys.exit(main())
