"""For gunicorn in the image of the Dockerfile beside this file; the template brings its own."""

# First the package's __init__ makes `rollcall` importable, then this file needs it.
from rollcall.function.python3_http import create_app

from .handler import handle

app = create_app(handle)
