"""Lets the function's modules say `from rollcall import ...`.

`configuration.copy` puts the package beside this file, as `function/rollcall`; importing it under
that name too would make a second copy of every class, and `except` would stop matching.
"""

import os
import sys

sys.path.append(os.path.dirname(__file__))
