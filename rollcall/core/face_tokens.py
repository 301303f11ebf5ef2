"""Tokens of unknown faces, by which a form names a face after the people got other numbers.

A token is a digest of the face's mean encoding, from which the encoding cannot be computed. It
stays the same while the face is seen in the same looks, whatever happens to the other people of the
video.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # numpy is slow to load, and the index is also read without it
    import numpy as np
    from numpy.typing import NDArray

    from rollcall.core.types import Encodings

TOKEN_BYTES = 8


def mean_encoding(encodings: Encodings) -> NDArray[np.float32]:
    """The mean of encodings of shape (n, size), rounded to the half precision of the index."""
    mean: NDArray[np.float32] = encodings.mean(axis=0).astype("float16").astype("float32")
    return mean


def face_token(mean: NDArray[np.float32]) -> str:
    """The token, 16 hexadecimal digits, of a face with this mean encoding."""
    return stored_token(mean.astype("<f2").tobytes())


def stored_token(mean: bytes) -> str:
    """The token of a mean encoding in the form of the index, little-endian half precision."""
    return hashlib.blake2b(mean, digest_size=TOKEN_BYTES).hexdigest()
