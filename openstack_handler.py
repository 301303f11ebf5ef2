#!/usr/bin/env python3
"""Events from a queue in, calls of the Lambda and files of results out."""

import sys

from rollcall.cli.missing_packages import explain_missing_packages

with explain_missing_packages():
    from rollcall.cli.worker_command import main

if __name__ == "__main__":
    sys.exit(main())
