#!/usr/bin/env python3
"""Write student records to DynamoDB."""

import sys

from rollcall.cli.missing_packages import explain_missing_packages

with explain_missing_packages():
    from rollcall.cli.students import main

if __name__ == "__main__":
    sys.exit(main())
