"""Results of long work, one JSON line each, written when they are known: how a killed run goes on."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from theriac.errors import UserError


def key_of(*parts: Any) -> str:
    """Returns a digest of everything that a result depends on; ``parts`` must be JSON values.

    >>> key_of("scan", {"seed": 0}) == key_of("scan", {"seed": 1})
    False
    """
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


class Journal:
    """Keyed results in a file of JSON lines. A line cut short by a kill is ignored.

    Args:
        path: The file; it need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known: dict[str, Any] = {}
        if path.exists():
            for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
                try:
                    entry = json.loads(line)
                    self._known[entry["key"]] = entry["result"]
                except (ValueError, KeyError, TypeError):
                    continue

    def get(self, key: str) -> Any | None:
        """Returns the result stored under ``key``, or None."""
        return self._known.get(key)

    def put(self, key: str, step: str, result: Any) -> None:
        """Appends a result and makes sure that it is on disk.

        Raises:
            UserError: If it cannot be written; what was written before stays.
        """
        self._known[key] = result
        append(self.path, json.dumps({"key": key, "step": step, "result": result}, allow_nan=False))


def append(path: Path, line: str) -> None:
    """Appends a line to a file, on a line of its own even if the last was cut short, and makes sure that it is there.

    Raises:
        UserError: If it cannot be written; what was written before stays.
    """
    line += "\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab+") as file:
            if file.tell() and (file.seek(-1, os.SEEK_END), file.read(1))[1] != b"\n":
                line = "\n" + line  # the last run was killed in the middle of a line
            file.write(line.encode())
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        what = f"cannot write: {error.strerror or error}"
        raise UserError(what, where=path, do="free some space, then run the same again to go on") from None
