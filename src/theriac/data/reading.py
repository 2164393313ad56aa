"""Opening labelled images, whatever form they are stored in."""

import os
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from theriac.data.arrays import read_arrays
from theriac.data.decoding import decode_all, resize
from theriac.data.folder import read_folder
from theriac.data.images import ImageData
from theriac.data.labels import to_numbers
from theriac.data.parquet import read_parquet
from theriac.data.source import Selection, Source
from theriac.data.table import read_table
from theriac.errors import UserError
from theriac.files import fetch, sha256_file
from theriac.manifest import merkle_root, sha256_of

TABLES = (".csv", ".tsv", ".jsonl")


def open_images(
    path: str | Path,
    *,
    label: str | None = None,
    image: str | None = None,
    size: int | None = None,
    revision: str | None = None,
    limit: int | None = None,
    unlabelled_ok: bool = False,
) -> ImageData:
    """Reads labelled images; row i is the i-th row of the source.

    The source is Hugging Face style Parquet (a file, or a folder of shards in the order of their names), a folder with
    one sub-folder per class (sorted by path) or with a ``metadata.csv`` or ``metadata.jsonl``, a CSV, TSV or JSON-lines
    table of picture files and labels, or a NumPy ``.npz`` archive. Grey images become RGB.

    Args:
        path: Local path, ``hf://datasets/owner/name/file`` or any fsspec URL (see ``theriac.files.fetch``).
        label: Column or array of the labels; found by type and usual names when None.
        image: Column or array of the images (in a table: of their paths); found like ``label``.
        size: Side of the square that all images are resized to; when None, images keep their size, and where sizes
            differ, all are resized to the most common one.
        revision: Revision of an ``hf://`` repository.
        limit: How many rows to read, from the first on.
        unlabelled_ok: Whether data without labels are welcome; they get the one class "unlabelled".

    Returns:
        The images; ``sha256`` is the digest of the file or folder (of a table: with every picture that it names).

    Raises:
        UserError: If something is missing, damaged, hostile or inconsistent; the message names file and row.
    """
    for option, value in (("size", size), ("limit", limit)):
        if value is not None and value < 1:
            raise UserError(f"must be at least 1, got {value}", where=option)
    local = fetch(path, revision).path
    selection = Selection(label, image, limit, unlabelled_ok)
    source = _source(local, selection)
    if not source.count:
        raise UserError("holds no images", where=path)
    stored = ["unlabelled"] * source.count if source.labels is None else source.labels
    labels, classes = to_numbers(stored, source.classes, str(path))
    digest = _digest(source.files) if source.files else sha256_of(local)
    if isinstance(source.pictures, Tensor):
        images = source.pictures if size is None else resize(source.pictures, size)
    else:
        images = decode_all(source.pictures, source.count, size)
    return ImageData(images, labels, classes, local.name, digest)


def _source(path: Path, selection: Selection) -> Source:
    suffix = path.suffix.lower()
    if path.is_dir():
        tables = [path / f"metadata{suffix}" for suffix in TABLES if (path / f"metadata{suffix}").is_file()]
        if any(path.glob("*.parquet")):
            return read_parquet(path, selection)
        return read_table(tables[0], selection) if tables else read_folder(path, selection)
    if suffix == ".parquet":
        return read_parquet(path, selection)
    if suffix in TABLES:
        return read_table(path, selection)
    if suffix == ".npz":
        return read_arrays(path, selection)
    do = f"give a folder, or a file ending in .parquet, .npz, {', '.join(TABLES)}"
    raise UserError("is no form of image data that is known here", where=path, do=do)


def _digest(files: Sequence[Path]) -> str:
    top = files[0].parent
    return merkle_root((os.path.relpath(file, top), file.stat().st_size, sha256_file(file)) for file in files)
