"""NumPy archives: an array of images and an array of labels."""

import zipfile
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from theriac.data.decoding import check_memory
from theriac.data.labels import ANOTHER_COLUMN, LABEL_NAMES
from theriac.data.source import IMAGE_NAMES, Selection, Source
from theriac.errors import UserError


def read_arrays(path: Path, selection: Selection) -> Source:
    """Reads an ``.npz`` file with images [n, h, w, c], [n, c, h, w] or [n, h, w] and integer or text labels [n].

    Images are uint8, or floats in [0, 1].

    Raises:
        UserError: If the archive is damaged or would run code, an array is missing, or shapes or types do not fit.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            check_memory(sum(member.file_size for member in archive.infolist()), str(path))
        with np.load(path, allow_pickle=False) as arrays:
            image = selection.image_column(arrays.files, (*IMAGE_NAMES, "x", "x_train", "data", "arr_0"), path)
            label = selection.label_column(arrays.files, (*LABEL_NAMES, "y_train", "arr_1"), path)
            images = np.atleast_1d(arrays[image])[: selection.limit]
            labels = None if label is None else np.atleast_1d(arrays[label])[: selection.limit]
    except (OSError, ValueError, EOFError, MemoryError, zipfile.BadZipFile, KeyError) as error:
        raise UserError(f"is not a readable NumPy archive: {error}", where=path) from None
    if labels is not None and (labels.shape != images.shape[:1] or labels.dtype.kind not in "iuU"):
        what = f"labels are {labels.dtype} {list(labels.shape)}, need {images.shape[:1]} integers or text"
        raise UserError(what, where=path, do=ANOTHER_COLUMN)
    return Source(_to_tensor(images, path), len(images), None if labels is None else labels.tolist())


def _to_tensor(images: NDArray[np.generic], path: Path) -> Tensor:
    if images.ndim == 3:
        images = images[:, None]
    elif images.ndim == 4 and images.shape[3] in (1, 3) and images.shape[1] not in (1, 3):
        images = np.moveaxis(images, 3, 1)
    if images.ndim != 4 or images.shape[1] not in (1, 3) or min(images.shape[2:]) < 1:
        raise UserError(f"images have shape {list(images.shape)}", where=path, do="store [n, h, w, 3]")
    if images.dtype.kind == "f":
        if not (np.isfinite(images).all() and 0 <= images.min(initial=0) <= images.max(initial=0) <= 1):
            raise UserError("float images must lie in [0, 1]", where=path, do="scale them, or store uint8")
        images = np.round(images.astype(np.float32) * 255).astype(np.uint8)
    if images.dtype != np.uint8:
        raise UserError(f"images are {images.dtype}", where=path, do="store uint8, or floats in [0, 1]")
    return torch.from_numpy(np.ascontiguousarray(images)).expand(-1, 3, -1, -1).contiguous()
