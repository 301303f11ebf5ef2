#!/usr/bin/env python3
"""Run the worker: receive events from a queue, call the Lambda, and write results to files."""

import sys

from rollcall.cli.missing_packages import explain_missing_packages

with explain_missing_packages():
    from rollcall.cli.worker_command import main

if __name__ == "__main__":
    sys.exit(main())
