"""Bucket notifications in, function calls out; an inbox on disk between them."""
