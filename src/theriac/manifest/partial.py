"""What of a folder was hashed already, noted beside the manifest that is being built: a killed run goes on from it."""

import json
import os
import re
import time
from pathlib import Path
from typing import Self

from theriac.errors import UserError
from theriac.manifest.record import MAX_LINE
from theriac.manifest.walking import Found, State

SETTLED_NS = 2_000_000_000
"""A file changed less than this before it was read is not noted: within a tick of the clock it could change again
without a trace. Two seconds is the coarsest clock of a file system in use."""

_FORMAT = "theriac-manifest-partial"
_STATE = ("size", "inode", "mtime_ns", "ctime_ns")
_FIELDS = ["path", "sha256", *_STATE]


class Partial:
    """The notes about one folder. Use it as a context manager. Without a path it knows and notes nothing.

    Args:
        path: Where the notes are kept; whoever can write there can make the result wrong.
        top: The folder that is hashed.

    Raises:
        UserError: If ``path`` cannot be written, or holds something else.
    """

    def __init__(self, path: Path | None, top: Path) -> None:
        self._path, self._handle = path, -1
        self._known: dict[str, tuple[State, str]] = {}
        if path is None:
            return
        status = top.stat()
        header = _line({"format": _FORMAT, "version": 1, "folder": [status.st_dev, status.st_ino]})
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            self._begin(path, header)
        except OSError as error:
            self.__exit__()
            raise UserError(f"cannot write: {error.strerror}", where=path, do="choose another place") from None
        except UserError:
            self.__exit__()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._handle >= 0:
            os.close(self._handle)

    def __bool__(self) -> bool:
        """Whether anything is known."""
        return bool(self._known)

    def digest(self, found: Found) -> str | None:
        """Returns the SHA-256 of a file that is known and was not touched since, else None."""
        state, digest = self._known.get(found.path, (None, None))
        return digest if state == found.state else None

    def note(self, batch: list[Found], digests: list[str]) -> None:
        """Notes files with their digests at once."""
        if self._path is None:
            return
        settled = time.time_ns() - SETTLED_NS
        lines = [
            _line({"path": found.path, "sha256": digest, **dict(zip(_STATE, found.state, strict=True))})
            for found, digest in zip(batch, digests, strict=True)
            if found.state[3] < settled
        ]
        try:
            os.write(self._handle, b"".join(lines))  # cut off by a full disk, the last line is dropped when read
        except OSError as error:
            raise UserError(f"cannot write: {error.strerror}", where=self._path, do="free some space") from None

    def _begin(self, path: Path, header: bytes) -> None:
        """Reads what is known; drops what a kill cut off, and everything if it is about another folder."""
        with os.fdopen(os.dup(self._handle), "rb") as file:
            first = file.readline(MAX_LINE)
            if _FORMAT.encode() not in first and not header.startswith(first):
                raise UserError("is not what an unfinished run left", where=path, do="remove it or name another file")
            sound = len(first)
            while first == header and (line := file.readline(MAX_LINE)) and (known := _parsed(line)):
                self._known[known[0]] = known[1:]
                sound += len(line)
        if first == header:
            os.truncate(self._handle, sound)
        else:
            os.truncate(self._handle, 0)
            os.write(self._handle, header)


def _line(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _parsed(line: bytes) -> tuple[str, State, str] | None:
    try:
        value = json.loads(line) if line.endswith(b"\n") else None
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict) or list(value) != _FIELDS:
        return None
    path, digest, *numbers = value.values()
    if any(type(number) is not int for number in numbers) or not isinstance(path, str):
        return None
    if not isinstance(digest, str) or not re.fullmatch(r"[0-9a-f]{64}", digest):
        return None
    return path, (numbers[0], numbers[1], numbers[2], numbers[3]), digest
