#!/usr/bin/env python3
"""Upload a folder of videos to the input bucket."""

import sys

from rollcall.cli.missing_packages import explain_missing_packages

with explain_missing_packages():
    from rollcall.cli.workload import main

if __name__ == "__main__":
    sys.exit(main())
