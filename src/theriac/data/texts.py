"""Opening texts: JSON lines, Parquet, CSV, TSV or plain lines, with named columns."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from theriac.data.labels import to_numbers
from theriac.data.parquet import shards
from theriac.data.table import read_rows
from theriac.data.text import LONGEST, TextData, Tokenizer, tokenised
from theriac.errors import UserError
from theriac.files import fetch
from theriac.manifest import sha256_of

TEXT_NAMES = ("text", "prompt", "sentence", "content", "statement", "question", "input")
LABEL = "label"
TABLES = (".jsonl", ".csv", ".tsv")


def open_texts(
    path: str | Path,
    tokenizer: Tokenizer,
    *,
    text: str | None = None,
    label: str | None = None,
    completion: str | None = None,
    words: int = 10,
    longest: int = LONGEST,
    limit: int | None = None,
    revision: str | None = None,
) -> TextData:
    """Reads texts and turns them into tokens; row i is the i-th row of the source.

    Args:
        path: JSON lines, CSV, TSV, Parquet (or a folder of its shards) or lines of plain text: local, ``hf://…`` or any
            URL that fsspec opens.
        tokenizer: Of the model that is to read them.
        text: Column of the texts; found by usual names if None.
        label: Column of labels, integers or text; one called ``label`` is taken if there is one, and otherwise all
            labels are 0.
        completion: Column of answers, whose first words are added to the text.
        words: How many of them.
        longest: Tokens that a text is cut off after.
        limit: How many rows to read, from the first on.
        revision: Revision of an ``hf://`` repository.

    Raises:
        UserError: If something is missing, damaged or empty; the message names file and row.
    """
    if longest < 1 or words < 0 or (limit is not None and limit < 1):
        raise UserError("longest and limit must be at least 1, words not negative", where=path)
    local = fetch(path, revision).path
    rows = _read(local, [name for name in (text, label, completion) if name], limit)
    if not rows:
        raise UserError("holds no texts", where=path)
    columns = list(rows[0])
    column = _column(columns, text, TEXT_NAMES, "text", local)
    texts = _texts(rows, column, local)
    if completion is not None:
        ends = _texts(rows, _column(columns, completion, (), "completion", local), local)
        texts = [" ".join([start, *end.split()[:words]]) for start, end in zip(texts, ends, strict=True)]
    labels = None
    if label is not None or LABEL in columns:
        name = _column(columns, label, (LABEL,), "label", local)
        labels, _ = to_numbers([row.get(name) for row in rows], None, str(local))
    return tokenised(texts, tokenizer, labels, longest=longest, name=local.name, sha256=sha256_of(local))


def _read(path: Path, columns: Sequence[str], limit: int | None) -> list[dict[str, object]]:
    suffix = path.suffix.lower()
    if suffix in TABLES:
        return read_rows(path)[:limit]
    if suffix == ".parquet" or path.is_dir():
        return _read_parquet(path, columns, limit)
    if suffix != ".txt":
        do = f"give a file that ends in .parquet, .txt, {', '.join(TABLES)}"
        raise UserError("is no form of texts that is known here", where=path, do=do)
    try:
        with path.open(encoding="utf-8-sig") as file:
            lines = [line.strip() for line in file]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"is not readable as text: {error}", where=path) from None
    rows: list[dict[str, object]] = [{"text": line} for line in lines if line]
    return rows[:limit]


def _read_parquet(path: Path, columns: Sequence[str], limit: int | None) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for file in shards(path):
        try:
            table = pq.ParquetFile(file)
            names = table.schema_arrow.names
            wanted = [name for name in names if name in (*columns, *TEXT_NAMES, LABEL)] or names
            for batch in table.iter_batches(columns=wanted):
                rows += batch.to_pylist()
                if limit is not None and len(rows) >= limit:
                    return rows[:limit]
        except (pa.ArrowException, OSError) as error:
            raise UserError(f"is not readable as Parquet: {str(error).splitlines()[0]}", where=file) from None
    return rows


def _column(columns: Sequence[str], wanted: str | None, likely: Sequence[str], what: str, where: Path) -> str:
    name = wanted or next((name for name in likely if name in columns), None)
    if name is None or name not in columns:
        problem = f"cannot tell which column holds the {what}s" if name is None else f"no column {name!r}"
        raise UserError(problem, where=where, do=f"choose the {what} column from: {', '.join(columns)}")
    return name


def _texts(rows: Sequence[dict[str, object]], column: str, where: Path) -> list[str]:
    for number, row in enumerate(rows):
        value = row.get(column)
        if not isinstance(value, str) or not value.strip():
            raise UserError(f"no text in {column!r}", where=f"{where}, row {number}", do="choose another text column")
    return [str(row[column]) for row in rows]
