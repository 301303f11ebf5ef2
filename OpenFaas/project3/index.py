"""Entry point for gunicorn in the image of the Dockerfile. The template has its own index.py."""

# Importing this package has made `rollcall` importable (see __init__.py).
from rollcall.function.python3_http import create_app

from .handler import handle

app = create_app(handle)
