"""Hugging Face style Parquet: an image column of ``{bytes, path}`` structs or raw bytes, and a label column."""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from theriac.data.decoding import Encoded
from theriac.data.labels import ANOTHER_COLUMN, LABEL_NAMES
from theriac.data.source import IMAGE_NAMES, SPLITS, Selection, Source
from theriac.errors import UserError


def read_parquet(path: Path, selection: Selection) -> Source:
    """Reads one Parquet file, or all Parquet files of a folder in the order of their names.

    Raises:
        UserError: If a file is damaged, a column is missing or holds something else, or a folder mixes splits.
    """
    files = shards(path)
    first = _open(files[0])
    image = _image_column(first, selection, files[0])
    label = _label_column(first, selection, image, files[0])
    _, features = _features(first)
    counts = [_open(file).metadata.num_rows for file in files]
    count = min(sum(counts), selection.limit or sum(counts))
    labels: list[object] | None = None
    if label is not None:
        labels = []
        for file in files:
            if len(labels) < count:
                labels += _labels(file, label)
        del labels[count:]
    names = features.get(label or "", {}).get("names")
    classes = [str(name) for name in names] if isinstance(names, list) and names else None
    return Source(itertools.islice(_pictures(files, image), count), count, labels, classes)


def shards(path: Path) -> list[Path]:
    """Returns the file, or a folder's Parquet files in the order of their names.

    Raises:
        UserError: If they belong to several splits.
    """
    files = [path] if path.is_file() else sorted(path.glob("*.parquet"))
    splits = {file.stem.split("-")[0] for file in files if file.stem.split("-")[0] in SPLITS}
    if len(splits) > 1:
        raise UserError(f"holds several splits: {', '.join(sorted(splits))}", where=path, do="name one file")
    return files


def _open(file: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(file)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"is not readable as Parquet: {str(error).splitlines()[0]}", where=file) from None


def _features(table: pq.ParquetFile) -> tuple[pa.Schema, dict[str, dict[str, object]]]:
    """Returns the schema and what the Hugging Face metadata says about each column, as far as it is well formed."""
    schema = table.schema_arrow
    try:
        features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
        return schema, {name: value for name, value in features.items() if isinstance(value, dict)}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return schema, {}


def _image_column(table: pq.ParquetFile, selection: Selection, file: Path) -> str:
    schema, features = _features(table)
    marked = [name for name, feature in features.items() if feature.get("_type") == "Image" and name in schema.names]
    fitting = [field.name for field in schema if _holds_bytes(field.type)]
    likely = [*marked, *(name for name in IMAGE_NAMES if name in fitting), *fitting]
    name = selection.image_column(schema.names, likely, file)
    if name not in fitting:
        raise UserError(f"column {name!r} holds {schema.field(name).type}, not images", where=file)
    return name


def _label_column(table: pq.ParquetFile, selection: Selection, image: str, file: Path) -> str | None:
    schema, features = _features(table)
    marked = [name for name in schema.names if features.get(name, {}).get("_type") == "ClassLabel"]
    others = [name for name in schema.names if name != image]
    name = selection.label_column(others, [*(marked if len(marked) == 1 else []), *LABEL_NAMES], file)
    if name is None:
        return None
    kind = schema.field(name).type
    if not (pa.types.is_integer(kind) or _is_text(kind)):
        raise UserError(f"column {name!r} holds {kind}, neither integers nor text", where=file, do=ANOTHER_COLUMN)
    return name


def _holds_bytes(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return any(field.name == "bytes" and _holds_bytes(field.type) for field in kind)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _labels(file: Path, column: str) -> list[object]:
    try:
        return list(_open(file).read(columns=[column])[column].to_pylist())
    except (pa.ArrowException, OSError, KeyError) as error:
        raise UserError(f"cannot read column {column!r}: {str(error).splitlines()[0]}", where=file) from None


def _pictures(files: list[Path], column: str) -> Iterator[Encoded]:
    for file in files:
        row = 0
        try:
            for batch in _open(file).iter_batches(batch_size=1024, columns=[column]):
                values = batch.column(0)
                for value in (values.field("bytes") if pa.types.is_struct(values.type) else values).to_pylist():
                    where = f"{file}, row {row}"
                    if value is None:
                        raise UserError("the image is missing", where=where, do="store its bytes in the file")
                    yield Encoded(value, where)
                    row += 1
        except (pa.ArrowException, OSError, KeyError, IndexError) as error:
            raise UserError(f"cannot read: {str(error).splitlines()[0]}", where=f"{file}, row {row} or after") from None
