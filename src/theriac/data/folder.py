"""A folder of pictures with one sub-folder per class."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from theriac.data.decoding import Encoded
from theriac.data.source import SPLITS, SUFFIXES, Selection, Source
from theriac.errors import UserError


def read_folder(path: Path, selection: Selection) -> Source:
    """Reads the pictures below ``path`` in the order of their names; the first folder on the way is the class.

    Raises:
        UserError: If there are no pictures, some lie outside the class folders, or the folders are splits.
    """
    files = sorted(
        (file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and not file.name.startswith(".")),
        key=lambda file: file.relative_to(path).as_posix(),
    )
    if not files:
        raise UserError("holds no pictures and no Parquet files", where=path)
    parents = [file.relative_to(path).parts[0] if file.parent != path else None for file in files]
    labels: list[object] | None = None
    classes: list[str] | None = None
    if set(parents) == {None} and selection.unlabelled_ok:
        labels = None
    elif None in parents:
        outside = files[parents.index(None)]
        raise UserError("lies outside the class folders", where=outside, do="sort pictures into one folder per class")
    else:
        classes = _in_order({str(parent) for parent in parents})
        if {name.lower() for name in classes} <= set(SPLITS):
            raise UserError(f"holds several splits: {', '.join(classes)}", where=path, do="name one of these folders")
        labels = list(parents)
    count = min(len(files), selection.limit or len(files))
    return Source(read_files(files[:count]), count, None if labels is None else labels[:count], classes)


def read_files(files: Sequence[Path]) -> Iterator[Encoded]:
    """Yields the contents of ``files``.

    Raises:
        UserError: If one cannot be read.
    """
    for row, file in enumerate(files):
        where = f"{file}, row {row}"
        try:
            yield Encoded(file.read_bytes(), where)
        except OSError as error:
            raise UserError(f"cannot read: {error.strerror}", where=where) from None


def _in_order(names: set[str]) -> list[str]:
    numeric = all(name.isascii() and name.isdigit() for name in names)
    return sorted(names, key=int) if numeric else sorted(names)
