#!/usr/bin/env python3
"""Events from a queue in, calls of the Lambda and files of results out."""

import sys

from rollcall.start import explain_missing_packages

with explain_missing_packages():
    from rollcall.tools.worker import main

if __name__ == "__main__":
    sys.exit(main())
