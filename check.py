#!/usr/bin/env python3
"""Compare the results in the output bucket with a mapping."""

import sys

from rollcall.cli.missing_packages import explain_missing_packages

with explain_missing_packages():
    from rollcall.cli.check import main

if __name__ == "__main__":
    sys.exit(main())
