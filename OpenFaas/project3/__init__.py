"""Makes `from rollcall import ...` work in the function's modules.

`configuration.copy` puts the package beside this file, as `function/rollcall`. If it were imported
as `function.rollcall`, every class would exist twice, and `except` would no longer match.
"""

import os
import sys

sys.path.append(os.path.dirname(__file__))
