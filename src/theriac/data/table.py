"""A table (CSV, TSV or JSON lines) of picture files and their labels."""

import csv
import json
from pathlib import Path

from theriac.data.folder import read_files
from theriac.data.labels import LABEL_NAMES
from theriac.data.source import PATH_NAMES, Selection, Source
from theriac.errors import UserError


def read_table(path: Path, selection: Selection) -> Source:
    """Reads the pictures that the rows of ``path`` name; relative names start at the table's folder.

    Raises:
        UserError: If the table is damaged or empty, a column is missing, or a picture is absent.
    """
    rows = read_rows(path)[: selection.limit]
    if not rows:
        raise UserError("holds no rows", where=path)
    columns = list(rows[0])
    image = selection.image_column(columns, PATH_NAMES, path)
    label = selection.label_column(columns, LABEL_NAMES, path)
    files = []
    for number, row in enumerate(rows):
        place = row.get(image)
        if not isinstance(place, str) or not place or "\0" in place:
            raise UserError("names no picture", where=f"{path}, row {number}")
        file = path.parent / place
        if not file.is_file():
            raise UserError(f"no such picture: {place}", where=f"{path}, row {number}")
        files.append(file)
    labels = None if label is None else [row.get(label) for row in rows]
    return Source(read_files(files), len(files), labels, files=[path, *files])


def read_rows(path: Path) -> list[dict[str, object]]:
    """Returns the rows of a CSV, TSV or JSON-lines file; the delimiter of the former is found by its header.

    Raises:
        UserError: If it cannot be read as one.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            if path.suffix.lower() == ".jsonl":
                rows = [json.loads(line) for line in file if line.strip()]
                if not all(isinstance(row, dict) for row in rows):
                    raise UserError("holds a line that is not a JSON object", where=path)
                return rows
            header = file.readline()
            file.seek(0)
            delimiter = max("\t;,", key=header.count)
            return list(csv.DictReader(file, delimiter=delimiter, restkey="(more)", restval=None))
    except (OSError, UnicodeDecodeError, ValueError, csv.Error, RecursionError) as error:
        raise UserError(f"is not a readable table: {error}", where=path) from None
