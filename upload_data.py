#!/usr/bin/env python3
"""Load student records into DynamoDB."""

import sys

from rollcall.start import explain_missing_packages

with explain_missing_packages():
    from rollcall.tools.students import main

if __name__ == "__main__":
    sys.exit(main())
