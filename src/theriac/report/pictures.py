"""Checking pictures before they go into a page."""

import base64
import binascii
import struct
from dataclasses import dataclass

MAX_BYTES = 2_000_000
MAX_SIDE = 4096


@dataclass(frozen=True)
class Shown:
    """A picture that is safe to embed: its data URI and its size in pixels."""

    uri: str
    width: int
    height: int


def embed(png: str | None) -> Shown | None:
    """Returns the base64-encoded PNG ``png`` as a data URI, or ``None`` if it is not a small PNG.

    >>> embed("not base64") is None
    True
    """
    if not png or len(png) > MAX_BYTES * 4 // 3:
        return None
    try:
        data = base64.b64decode(png, validate=True)
    except (binascii.Error, ValueError):
        return None
    if len(data) < 33 or data[:8] != b"\x89PNG\r\n\x1a\n" or data[12:16] != b"IHDR":
        return None
    width, height = struct.unpack(">II", data[16:24])
    if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE):
        return None
    return Shown("data:image/png;base64," + base64.b64encode(data).decode(), width, height)
