"""Encoded pictures to one tensor: in parallel, in order, and wary of hostile files."""

import io
import itertools
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from theriac.errors import UserError

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")  # plain rasters: no format that starts a program
MOST_PIXELS = 50_000_000
CHUNK = 1024


@dataclass(frozen=True)
class Encoded:
    """One picture as it is stored: its bytes, and the file and row to name when something is wrong with it."""

    content: bytes
    where: str


def decode_all(pictures: Iterable[Encoded], count: int, size: int | None) -> Tensor:
    """Decodes ``count`` pictures into one uint8 tensor [count, 3, h, w], in order.

    Args:
        pictures: The encoded pictures.
        count: How many there are, at least one.
        size: Side of the square that all are resized to; without it, the most common size of the first thousand.

    Raises:
        UserError: If a picture is not one, is cut off, or is too large, or all do not fit into memory.
    """
    images: Tensor | None = None
    done = 0
    with ThreadPoolExecutor(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None) as pool:
        for chunk in _chunks(pictures):
            arrays = list(pool.map(decode, chunk))
            if images is None:
                h, w = (size, size) if size else Counter(array.shape[:2] for array in arrays).most_common(1)[0][0]
                check_memory(count * 3 * h * w, chunk[0].where)
                images = torch.empty(count, 3, h, w, dtype=torch.uint8)
            fitted = np.stack([_fit(array, *images.shape[-2:]) for array in arrays])
            images[done : done + len(fitted)] = torch.from_numpy(fitted).permute(0, 3, 1, 2)
            done += len(fitted)
    if images is None or done != count:
        raise RuntimeError(f"expected {count} pictures, got {done}")
    return images


def decode(picture: Encoded) -> NDArray[np.uint8]:
    """Returns the pixels [h, w, 3] of one picture; transparency is dropped, and only the first frame is read.

    Raises:
        UserError: If it is not a picture, is cut off, or has too many pixels.
    """
    try:
        with Image.open(io.BytesIO(picture.content), formats=FORMATS) as image:
            if image.width * image.height > MOST_PIXELS:
                raise UserError(f"{image.width}x{image.height} pixels are too many", where=picture.where)
            if image.mode.startswith("I;16"):
                grey = (np.asarray(image) >> 8).astype(np.uint8)
                return np.repeat(grey[:, :, None], 3, axis=2)
            if image.mode in ("I", "F"):
                raise UserError("has 32 bits per channel", where=picture.where, do="store it with 8 bits")
            return np.asarray(image.convert("RGB"))
    except UserError:
        raise
    except Exception as error:  # on damaged files Pillow raises nearly anything
        what = "is not a picture" if isinstance(error, UnidentifiedImageError) else f"is damaged: {error}"
        raise UserError(what, where=picture.where, do="repair or remove it") from None


def resize(images: Tensor, size: int) -> Tensor:
    """Resizes uint8 images [n, 3, h, w] to [n, 3, size, size], bilinear with antialiasing."""
    if images.shape[-2:] == (size, size):
        return images
    resized = torch.empty(len(images), 3, size, size, dtype=torch.uint8)
    for start in range(0, len(images), CHUNK):
        part = slice(start, start + CHUNK)
        resized[part] = F.interpolate(images[part], size=(size, size), mode="bilinear", antialias=True)
    return resized


def check_memory(needed: int, where: str) -> None:
    """Raises ``UserError`` if an array of ``needed`` bytes cannot fit into this machine's memory."""
    present = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > present:
        what = f"the images need {needed / 2**30:,.0f} GiB, this machine has {present / 2**30:,.0f}"
        raise UserError(what, where=where, do="read them smaller, or fewer of them")


def _fit(array: NDArray[np.uint8], h: int, w: int) -> NDArray[np.uint8]:
    if array.shape[:2] == (h, w):
        return array
    return np.asarray(Image.fromarray(array).resize((w, h), Image.Resampling.BILINEAR))


def _chunks(pictures: Iterable[Encoded]) -> Iterator[list[Encoded]]:
    iterator = iter(pictures)
    while chunk := list(itertools.islice(iterator, CHUNK)):
        yield chunk
